//! `quorate bench`: how fast, on this machine.

mod scatter;

use crate::bench::{self, Amount, JOBS_MAX, PAYLOAD_MIN, Plan};
use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::measure::told_to_stop;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use quorate_work_queue::machine::limits;
use std::path::PathBuf;
use std::time::Duration;

/// Most jobs in flight of a run: connections × in flight on each. With --http each is a connection,
/// and a server holds 1024.
const FLYING_MAX: u32 = 8_192;
const FLYING_HTTP_MAX: u32 = 2_048;
/// Longest enqueue phase.
const TIME_MAX: Duration = Duration::from_secs(300);
/// Rate of the load while leaders are killed.
const RATE_DEFAULT: u32 = 10_000;

/// Measure speed and recovery on this machine
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    WorkQueue(Box<WorkQueue>),
    Election(Election),
    Scatter(scatter::Scatter),
}

/// Measure leader election on a cluster of its own: three nodes as separate processes, synced, on loopback
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate bench election
  quorate bench election --hand-overs 500 --kills 10 -o json

Exits 1 if an application lost its leadership while the coordinator's leader was killed.")]
struct Election {
    /// Nodes of the cluster
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = nodes)]
    nodes: u32,
    /// Graceful hand-overs
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    hand_overs: u32,
    /// Applications killed that lead, beside sidecars that see it
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    exits: u32,
    /// Processes killed that lead, with leases of 2 s
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    deaths: u32,
    /// Kills of the coordinator's leader
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    kills: u32,
    /// Sessions that are renewed
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(0..=45_000))]
    sessions: u32,
    /// Seconds of renewals
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=300))]
    seconds: u32,
    /// Elections of one session of 2 s that is renewed no more, and that another session follows in
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    reassign: u32,
    /// Observers of one election, a hundred a connection
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(0..=50_000))]
    watchers: u32,
    /// Sessions that are held at once, and elections, each with a leader among them
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(0..=45_000))]
    carried_sessions: u32,
    /// See --carried-sessions
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(0..=200_000))]
    carried_elections: u32,
    /// Where the nodes keep their data; the system's directory for temporary files by default
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Put load on a work queue of its own: three nodes as separate processes, synced, on loopback
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate bench work-queue
  quorate bench work-queue --http --seconds 10 -o json
  quorate bench work-queue --kill-leader 10

Every acknowledged job is accounted for; exits 1 if one is lost or doubled.")]
struct WorkQueue {
    /// Nodes of the cluster
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = nodes)]
    nodes: u32,
    /// Plain HTTP/JSON with kept-alive connections, one job a request, instead of the Rust client
    #[arg(long)]
    http: bool,
    /// Client connections; with --http each job in flight has its own
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=512))]
    connections: u32,
    /// Jobs in flight on each
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    inflight: u32,
    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = RangedU64ValueParser::<u32>::new().range(PAYLOAD_MIN as u64..=limits::PAYLOAD_BYTES_MAX as u64))]
    payload: u32,
    /// Jobs to enqueue, then to lease and complete
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=JOBS_MAX / 2))]
    jobs: u64,
    /// Enqueue for so many seconds instead of a number of jobs
    #[arg(long, value_name = "S", conflicts_with = "jobs", value_parser = clap::value_parser!(u64).range(1..=TIME_MAX.as_secs()))]
    seconds: Option<u64>,
    /// Jobs that wait in the queue before anything is measured
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=JOBS_MAX / 4))]
    backlog: u64,
    /// Jobs of the measurement with a single one in flight
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    singles: u64,
    /// Kill the leader (SIGKILL) so many times under load, and show how long service was away
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    kill_leader: u32,
    /// Jobs a second while leaders are killed; 0 is as many as go
    #[arg(long, value_name = "N", default_value_t = RATE_DEFAULT)]
    rate: u32,
    /// Where the nodes keep their data; the system's directory for temporary files by default
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

fn nodes(text: &str) -> Result<u32, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("a cluster has 1, 3 or 5 nodes".to_owned()),
    }
}

impl Bench {
    pub(crate) fn run(self, context: Context) -> Outcome {
        match self.command {
            Command::WorkQueue(args) => args.run(context),
            Command::Election(args) => args.run(context),
            Command::Scatter(args) => args.run(context),
        }
    }
}

impl Election {
    fn run(self, context: Context) -> Outcome {
        if self.kills > 0 && self.nodes == 1 {
            return Err(Failure::usage(
                "--kills needs a cluster that survives it: --nodes 3, or --kills 0",
            ));
        }
        let plan = bench::election::Plan {
            nodes: self.nodes,
            hand_overs: self.hand_overs,
            exits: self.exits,
            deaths: self.deaths,
            kills: self.kills,
            sessions: self.sessions,
            seconds: self.seconds,
            reassign: self.reassign,
            carried_sessions: self.carried_sessions,
            carried_elections: self.carried_elections,
            watchers: self.watchers,
            data_dir: self.data_dir,
        };
        let report = context.block_on(async {
            tokio::select! {
                biased;
                _ = told_to_stop() => Err(Failure::new(Exit::Temporary, "interrupted")),
                report = bench::election::run(&plan, context.output) => report,
            }
        })?;
        context.output.print(&report)?;
        report.verdict()
    }
}

impl WorkQueue {
    fn plan(&self) -> Outcome<Plan> {
        let flying = self.connections * self.inflight;
        let most = if self.http {
            FLYING_HTTP_MAX
        } else {
            FLYING_MAX
        };
        if flying > most {
            return Err(Failure::usage(format!(
                "{flying} jobs in flight are too many, the most is {most}: lower --connections or --inflight"
            )));
        }
        if self.kill_leader > 0 && self.nodes == 1 {
            return Err(Failure::usage(
                "--kill-leader needs a cluster that survives it: --nodes 3",
            ));
        }
        Ok(Plan {
            nodes: self.nodes,
            http: self.http,
            connections: self.connections,
            inflight: self.inflight,
            payload: self.payload,
            amount: match self.seconds {
                Some(seconds) => Amount::Time(Duration::from_secs(seconds)),
                None => Amount::Jobs(self.jobs),
            },
            backlog: self.backlog,
            singles: self.singles,
            kills: self.kill_leader,
            per_second: (self.rate > 0).then_some(self.rate),
            data_dir: self.data_dir.clone(),
        })
    }

    fn run(self, context: Context) -> Outcome {
        let plan = self.plan()?;
        let report = context.block_on(async {
            tokio::select! {
                // Signals first: they are watched for before the first server is started. The servers
                // end as the run is dropped.
                biased;
                _ = told_to_stop() => Err(Failure::new(Exit::Temporary, "interrupted")),
                report = bench::run(&plan, context.output) => report,
            }
        })?;
        context.output.print(&report)?;
        bench::verdict(&report)
    }
}
