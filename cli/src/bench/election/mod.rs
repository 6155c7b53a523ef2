//! `quorate bench election`: how fast leadership changes hands, what a kill costs, how much one cluster
//! carries.
//!
//! Clients are this process, over gRPC like any other. Applications that die are processes of `quorate
//! election exec`, or processes beside a sidecar, killed with SIGKILL.

mod hands;
mod kills;
mod load;
mod reassign;
mod report;
mod watchers;

pub(crate) use report::Report;

use super::nodes::Nodes;
use crate::errors::{Exit, Failure, Outcome};
use crate::measure::{Latency, Summary, TempDir, temp_dir};
use crate::output::Output;
use futures::StreamExt as _;
use quorate_core::error::Error;
use quorate_core::types::Name;
use quorate_leader_election::client::{Client, Config};
use quorate_leader_election::election::Election;
use quorate_leader_election::machine::{Campaign, Command, Liveness, Renewal, Reply, SessionId};
use quorate_leader_election::service::{Caller, ElectionService as _, Observed};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// For anything that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sessions that nothing but the measurement ends.
const LONG_MS: u64 = 3_600_000;
/// Commands under way at once while a measurement is set up.
const SETUP_IN_FLIGHT: usize = 256;
/// Between two looks.
const POLL: Duration = Duration::from_millis(2);

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: u32,
    pub(crate) hand_overs: u32,
    pub(crate) exits: u32,
    pub(crate) deaths: u32,
    pub(crate) kills: u32,
    pub(crate) sessions: u32,
    pub(crate) seconds: u32,
    pub(crate) reassign: u32,
    pub(crate) carried_sessions: u32,
    pub(crate) carried_elections: u32,
    pub(crate) watchers: u32,
    pub(crate) data_dir: Option<PathBuf>,
}

/// Runs the plan.
pub(crate) async fn run(plan: &Plan, output: Output) -> Outcome<Report> {
    output.note(format!("starting {} node(s)", plan.nodes));
    let mut nodes = Nodes::start("leader-election", plan.nodes, plan.data_dir.as_deref()).await?;
    let servers = addresses(&nodes);
    output.note("graceful hand-overs");
    let hand_over = hands::hand_overs(&servers, plan.hand_overs).await?;
    output.note("applications that lead exit beside their sidecars");
    let application_exited = hands::exits(&servers, plan).await?;
    output.note("processes that lead are killed");
    let process_killed = hands::deaths(&servers, plan).await?;
    output.note("renewals");
    let renewals_per_second = load::renewals(&servers, plan).await?;
    output.note("a session with many elections dies");
    let reassigned = reassign::reassign(&servers, plan.reassign).await?;
    output.note("many watch one election");
    let watched = watchers::watch(&nodes, plan.watchers).await?;
    output.note("the coordinator's leader is killed");
    let (coordinator_killed, leaderships_lost) =
        kills::kills(&mut nodes, &servers, plan.kills).await?;
    output.note("many sessions and elections");
    let carried = load::carry(&nodes, &servers, plan).await?;
    Ok(Report {
        nodes: plan.nodes,
        hand_over,
        application_exited,
        process_killed,
        coordinator_killed,
        leaderships_lost,
        sessions: plan.sessions,
        renewals_per_second,
        reassigned,
        watched,
        carried,
    })
}

fn addresses(nodes: &Nodes) -> String {
    let addresses: Vec<String> = nodes.addresses().iter().map(ToString::to_string).collect();
    addresses.join(",")
}

fn late(what: &str) -> Failure {
    Failure::new(
        Exit::Temporary,
        format!("{what} did not happen within {PATIENCE:?}"),
    )
}

async fn within<T>(what: &str, happens: impl Future<Output = T>) -> Outcome<T> {
    tokio::time::timeout(PATIENCE, happens)
        .await
        .map_err(|_| late(what))
}

/// A task that ends with its handle.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn client(servers: &str) -> Outcome<Client> {
    Ok(Client::new(&Config::servers(servers))?)
}

async fn open(client: &Client, ttl_ms: u64) -> Result<SessionId, Error> {
    let command = Command::OpenSession {
        ttl_ms,
        label: "bench".into(),
    };
    match client.execute(&Caller::default(), command).await?.reply {
        Reply::Session(opened) => Ok(opened.session),
        _ => Err(Error::invalid("another answer than a session")),
    }
}

fn unavailable(what: &str) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |error| Failure::new(Exit::Unavailable, format!("{what}: {error}"))
}

/// Carries commands out, many at a time.
async fn execute_all(
    client: &Client,
    commands: impl Iterator<Item = Result<Command, Error>>,
) -> Result<(), Error> {
    let done = futures::stream::iter(commands)
        .map(|command| async move {
            let caller = Caller {
                timeout: PATIENCE,
                ..Caller::default()
            };
            client.execute(&caller, command?).await.map(drop)
        })
        .buffer_unordered(SETUP_IN_FLIGHT);
    let done: Vec<Result<(), Error>> = done.collect().await;
    done.into_iter().collect()
}

fn campaign(election: u32, candidate: &str, session: SessionId) -> Result<Command, Error> {
    Ok(Command::Campaign(Campaign {
        election: Name::new(&format!("bench-{election}"))?,
        candidate: Name::new(candidate)?,
        liveness: Liveness::Session(session),
        priority: 0,
        metadata: "".into(),
    }))
}

/// A rate, rounded down.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and times of a benchmark are far below 2^52"
)]
fn per_second(count: u64, time: Duration) -> u64 {
    (count as f64 / time.as_secs_f64()) as u64
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
