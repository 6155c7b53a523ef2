//! `quorate election resign|transfer`: what operators do.

use crate::connect;
use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::parse;
use crate::view::ElectionDocument;
use clap::Args;
use quorate_core::runtime::settings::ClientFlags;
use quorate_core::types::{FencingToken, Name};
use quorate_leader_election::election::Election;
use quorate_leader_election::machine::{Command, SessionId};
use quorate_leader_election::service::Caller;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at an election that changes hands.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Have the leader give up: its lease is renewed no more and ends at its word or when its time is over
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate election resign planner --reason 'maintenance of its machine'
  quorate election resign planner --session s10006b002be800002 --token 1882375692746755

With --session it speaks for the leader itself, whose leadership ends at once; without, the leader is told, and its
leadership ends when it says that it has stopped, or with its lease. It is passed over then until somebody else has led
or it stands for election anew.")]
pub(super) struct Resign {
    /// The election
    #[arg(value_parser = parse::name)]
    election: Name,
    /// Why, for those who read the log later
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "asked for on the command line"
    )]
    reason: String,
    /// Only if this is the current token
    #[arg(long, value_name = "TOKEN")]
    token: Option<u64>,
    /// The leader's own session
    #[arg(long, value_name = "SESSION", requires = "token")]
    session: Option<String>,
    #[command(flatten)]
    client: ClientFlags,
}

impl Resign {
    pub(super) async fn run(self, context: Context) -> Outcome {
        let handle = connect::election(&self.client)?;
        let token = self.token.map(FencingToken);
        let command = match (&self.session, token) {
            (Some(session), Some(token)) => Command::Resign {
                election: self.election.clone(),
                session: session.parse::<SessionId>()?,
                token,
            },
            _ => Command::Revoke {
                election: self.election.clone(),
                token,
                reason: self.reason.as_str().into(),
            },
        };
        handle
            .service()
            .execute(&Caller::default(), command)
            .await?;
        show(&handle, &self.election, context).await
    }
}

/// Hand leadership over to another candidate: the leader drains and acknowledges first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  quorate election transfer planner app-2 --drain 30s")]
pub(super) struct Transfer {
    /// The election
    #[arg(value_parser = parse::name)]
    election: Name,
    /// The candidate that shall lead
    #[arg(value_parser = parse::name)]
    to: Name,
    /// How long the leader may drain before its lease is revoked
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse::millis)]
    drain: u64,
    /// How long to wait for the end; 0 returns when it is ordered
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse::millis)]
    wait: u64,
    #[command(flatten)]
    client: ClientFlags,
}

impl Transfer {
    pub(super) async fn run(self, context: Context) -> Outcome {
        let handle = connect::election(&self.client)?;
        let drain = Duration::from_millis(self.drain);
        let ordered = handle
            .transfer(self.election.as_str(), self.to.as_str(), drain)
            .await?;
        if !ordered.done && self.wait > 0 {
            context
                .output
                .note(format!("{} drains, {} follows", ordered.from, ordered.to));
            self.wait(&handle).await?;
        }
        show(&handle, &self.election, context).await
    }

    async fn wait(&self, handle: &Election) -> Outcome {
        let end = Instant::now() + Duration::from_millis(self.wait);
        loop {
            let view = handle.get(self.election.as_str()).await?;
            let leader = view.leader.as_deref();
            if leader.is_some_and(|leader| leader.candidate == self.to) {
                return Ok(());
            }
            if !view.candidates.iter().any(|c| c.candidate == self.to) {
                return Err(Failure::new(
                    Exit::Refused,
                    format!("{} is no candidate any more: it was called off", self.to),
                ));
            }
            if Instant::now() >= end {
                return Err(Failure::new(
                    Exit::Temporary,
                    "the leader has not handed over yet; `quorate election watch` shows when it does",
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn show(handle: &Election, election: &Name, context: Context) -> Outcome {
    let view = handle.get(election.as_str()).await?;
    context.output.print(&ElectionDocument::from(view))
}
