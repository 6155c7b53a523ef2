//! `quorate scatter`: asking a fan-out, and seeing how its answer came about.

use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::output::{Render, write_out};
use crate::scatter::{Asked, Server};
use crate::table::Table;
use clap::{Args, Subcommand};
use quorate_core::runtime::settings::ClientFlags;
use quorate_core::types::Name;
use serde::Serialize;
use serde_json::Value;
use std::io::Read as _;

/// Ask all shards of a fan-out
#[derive(Debug, Args)]
pub(crate) struct Scatter {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Query(Query),
    Explain(Explain),
}

/// Send a body to every shard and print what they say together
///
/// The merged body goes to stdout as it is. Exit code 1 says that it is partial.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate scatter query search '{\"q\":\"raft\"}'
  quorate scatter query search - < request.json
  quorate scatter query users --key alice")]
struct Query {
    #[command(flatten)]
    ask: Ask,
}

/// Ask the same way and print shard by shard and call by call how the answer came about
#[derive(Debug, Args)]
#[command(after_help = "Example:
  quorate scatter explain search '{\"q\":\"raft\"}'")]
struct Explain {
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct Ask {
    /// The fan-out
    fanout: Name,
    /// The body; - reads it from stdin; nothing sends none
    #[arg(default_value = "")]
    body: String,
    /// Ask only the shard of this key; may be repeated
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// Answer within this time
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
    #[command(flatten)]
    flags: ClientFlags,
}

impl Scatter {
    pub(crate) fn run(self, context: Context) -> Outcome {
        match self.action {
            Action::Query(query) => context.block_on(async {
                let answer = query.ask.send(false).await?;
                write_out(&answer.body)?;
                if answer.complete {
                    return Ok(());
                }
                context.output.note(format!("partial: {}", answer.shards));
                Err(Failure::silent(Exit::Refused))
            }),
            Action::Explain(explain) => context.block_on(async {
                let answer = explain.ask.send(true).await?;
                let account: Value = serde_json::from_slice(&answer.body).map_err(|error| {
                    Failure::new(Exit::Temporary, format!("the account is no JSON: {error}"))
                })?;
                context.output.print(&Explained(account))
            }),
        }
    }
}

impl Ask {
    async fn send(self, explain: bool) -> Outcome<Asked> {
        let body = if self.body == "-" {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|error| Failure::usage(format!("cannot read stdin: {error}")))?;
            bytes
        } else {
            self.body.into_bytes()
        };
        let server = Server::open(&self.flags)?;
        server
            .ask(&self.fanout, body, &self.keys, self.timeout_ms, explain)
            .await
    }
}

/// The account of one request.
#[derive(Serialize)]
#[serde(transparent)]
struct Explained(Value);

impl Render for Explained {
    fn table(&self) -> Table {
        let text = |value: &Value| match value {
            Value::Null => "–".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let shards = rows(&self.0["shards"]);
        let mut table = Table::new(&[
            "SHARD", "CALL", "REPLICA", ">SENT", ">TOOK", "OUTCOME", "WHY",
        ]);
        for (i, shard) in shards.iter().enumerate() {
            let why = [&shard["reason"], &shard["detail"]]
                .into_iter()
                .filter(|v| !v.is_null())
                .map(text)
                .collect::<Vec<_>>()
                .join(": ");
            let elapsed = shard["elapsed_ms"].as_f64().unwrap_or(0.0);
            table.row([
                &text(&shard["shard"]),
                &format!("{} in all", text(&shard["attempts"])),
                &text(&shard["replica"]),
                &"",
                &format!("{elapsed:.1} ms"),
                &text(&shard["outcome"]),
                &why,
            ]);
            let calls = rows(&self.0["explain"]["attempts"]);
            for call in calls.iter().filter(|call| call["index"] == i) {
                let ms = |value: &Value| {
                    value
                        .as_f64()
                        .map_or_else(|| "–".to_owned(), |us| format!("{:.1} ms", us / 1e3))
                };
                table.row([
                    &"",
                    &text(&call["kind"]),
                    &text(&call["replica"]),
                    &ms(&call["sent_us"]),
                    &ms(&call["took_us"]),
                    &text(&call["outcome"]),
                    &call["detail"].as_str().unwrap_or_default(),
                ]);
            }
        }
        table
    }
}
