//! `quorate election exec`: a command that runs only while leading.

use crate::connect;
use crate::context::{Context, cannot_start};
use crate::errors::{Exit, Failure, Outcome};
use crate::lead::{self, Ended, Plan};
use crate::parse;
use clap::Args;
use quorate_core::runtime::Shutdown;
use quorate_core::runtime::settings::ClientFlags;
use quorate_core::types::Name;
use std::ffi::OsString;
use std::time::Duration;

/// Run a command only while leading; its exit code is passed on
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate election exec planner -- ./planner
  quorate election exec backup --once --ttl 5s --candidate host-7 -- sh -c 'backup --token $ELECTION_FENCING_TOKEN'

The command starts when this process is elected and finds ELECTION_NAME, ELECTION_CANDIDATE and ELECTION_FENCING_TOKEN
in its environment; pass the token on to what it writes to. Its process group gets SIGTERM before the lease ends, or
when leadership is handed over, and SIGKILL --kill-grace later, in any case before anybody else can be elected; when
leadership is revoked (`quorate election resign`) or taken by force it gets both at once. Then this process stands for
election again (with --once it exits 75). When the command ends by itself, so does this, with its exit code. The command
reads nothing from stdin. It is never run by a shell unless it names one.")]
pub(super) struct Exec {
    /// The election
    #[arg(value_parser = parse::name)]
    election: Name,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Name of this process as a candidate; host name and process id by default
    #[arg(long, value_name = "ID", value_parser = parse::name)]
    candidate: Option<Name>,
    /// Higher is elected first
    #[arg(long, value_name = "N", default_value_t = 0)]
    priority: u32,
    /// Text shown with the candidate, an address for example
    #[arg(long, value_name = "TEXT", default_value = "")]
    metadata: String,
    /// Length of the lease: if this machine dies, somebody else is elected after so long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// Between SIGTERM and SIGKILL; less than a third of the lease
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    kill_grace: Duration,
    /// Exit 75 when leadership is lost instead of standing for election again
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    client: ClientFlags,
}

impl Exec {
    pub(super) fn run(self, context: Context) -> Outcome {
        if self.kill_grace * 3 >= self.ttl {
            return Err(Failure::usage(
                "--kill-grace must be less than a third of --ttl, so that the command is gone before the lease ends",
            ));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| cannot_start(&error))?;
        let ended = runtime.block_on(async {
            let shutdown = Shutdown::on_signals().map_err(|error| cannot_start(&error))?;
            let mut handle = connect::election(&self.client)?.ttl(self.ttl);
            if let Some(id) = &self.candidate {
                handle = handle.candidate(id.as_str())?;
            }
            let plan = Plan {
                election: self.election,
                command: self.command,
                priority: self.priority,
                metadata: self.metadata,
                kill_grace: self.kill_grace,
                once: self.once,
            };
            let ended = lead::run(&handle, &plan, &shutdown, context.output).await;
            handle.close().await;
            ended
        })?;
        match ended {
            Ended::Stopped | Ended::Code(0) => Ok(()),
            // The command's own code, whatever it means.
            Ended::Code(code) => std::process::exit(code),
            Ended::Lost => Err(Failure::new(Exit::Temporary, "leadership was lost")),
        }
    }
}
