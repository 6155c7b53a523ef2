//! `quorate election get|list|watch|check`: looking.

use crate::connect;
use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::parse;
use crate::view::{ChangeDocument, ElectionDocument, Elections, UnknownDocument};
use clap::Args;
use futures::StreamExt as _;
use quorate_core::runtime::settings::ClientFlags;
use quorate_core::types::{FencingToken, Name};
use quorate_leader_election::machine::limits;
use quorate_leader_election::service::Observed;

/// Show one election: who leads, its fencing token, its candidates
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  quorate election get planner -o json")]
pub(super) struct Get {
    /// The election
    #[arg(value_parser = parse::name)]
    election: Name,
    #[command(flatten)]
    client: ClientFlags,
}

impl Get {
    pub(super) async fn run(self, context: Context) -> Outcome {
        let election = connect::election(&self.client)?;
        let view = election.get(self.election.as_str()).await?;
        context.output.print(&ElectionDocument::from(view))
    }
}

/// List all elections
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  quorate election list --prefix shard-")]
pub(super) struct List {
    /// Only names that begin so
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    #[command(flatten)]
    client: ClientFlags,
}

impl List {
    pub(super) async fn run(self, context: Context) -> Outcome {
        let election = connect::election(&self.client)?;
        let (mut items, mut after) = (Vec::new(), None);
        while items.len() < limits::ELECTIONS_MAX {
            let (page, more) = election.list(&self.prefix, after).await?;
            after = page.last().map(|last| last.election.clone());
            items.extend(page.into_iter().map(Into::into));
            if !more || after.is_none() {
                break;
            }
        }
        if items.is_empty() {
            context
                .output
                .note("There is no such election; one comes into being with its first candidate.");
        }
        context.output.print(&Elections { items })
    }
}

/// Show an election and then what happens to it, until Ctrl-C
///
/// Says `unknown` when the cluster has not been heard of for 1.5 s: what was shown last may not stand any longer.
/// Once it is known again, what happened meanwhile comes first, and then the election as it is.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  quorate election watch planner")]
pub(super) struct Watch {
    /// The election; it need not exist yet
    #[arg(value_parser = parse::name)]
    election: Name,
    #[command(flatten)]
    client: ClientFlags,
}

impl Watch {
    pub(super) async fn run(self, context: Context) -> Outcome {
        let election = connect::election(&self.client)?;
        let mut observed = election.observe(self.election.as_str()).await?;
        while let Some(observed) = observed.next().await {
            match observed? {
                Observed::State(view) => {
                    context.output.print_next(&ElectionDocument::from(view))?;
                }
                Observed::Change(change) => {
                    context.output.print_next(&ChangeDocument::from(&*change))?;
                }
                Observed::Unknown => {
                    let unknown = UnknownDocument::now(&self.election);
                    context.output.print_next(&unknown)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a fencing token is that of the present leadership; exits 1 if not
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  quorate election check planner 1882375692746755")]
pub(super) struct Check {
    /// The election
    #[arg(value_parser = parse::name)]
    election: Name,
    /// The token
    #[arg(value_name = "TOKEN")]
    token: u64,
    #[command(flatten)]
    client: ClientFlags,
}

impl Check {
    pub(super) async fn run(self, context: Context) -> Outcome {
        let election = connect::election(&self.client)?;
        let token = FencingToken(self.token);
        if election.check(self.election.as_str(), token).await? {
            context.output.note("current");
            return Ok(());
        }
        Err(Failure::new(
            Exit::Refused,
            format!("{token} is not the token of the present leadership"),
        ))
    }
}
