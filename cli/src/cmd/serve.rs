//! `quorate serve`: a container, as its image runs it.

use crate::context::container;
use crate::errors::Outcome;
use clap::{Args, Subcommand};
use quorate_core::runtime::settings::ServeFlags;
use quorate_core::runtime::{Pattern, Settings, Spec, run};
use quorate_leader_election::server as election;
use quorate_scatter_gather::server as scatter;
use quorate_work_queue::server as queue;

/// Run a server: a replica of a pattern, with its API
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(subcommand)]
    pattern: Served,
}

#[derive(Debug, Subcommand)]
enum Served {
    LeaderElection(LeaderElection),
    WorkQueue(WorkQueue),
    ScatterGather(ScatterGather),
}

/// A root of scatter/gather, or an inner node of a tree
#[derive(Debug, Args)]
#[command(after_help = "Example:
  quorate serve scatter-gather --fanouts-file fanouts.toml

The file is followed: a new version is taken up, a bad one is told and changes nothing. Without a file,
fan-outs are defined by PUT /v1/fanouts/NAME.")]
struct ScatterGather {
    #[command(flatten)]
    flags: ServeFlags,
}

/// A replica of the elections
#[derive(Debug, Args)]
#[command(after_help = "Examples, one node and the first of three:
  quorate serve leader-election --data-dir /var/lib/quorate
  quorate serve leader-election --data-dir /var/lib/quorate --node-id 1 --peer-listen 127.0.0.1:7271 \\
      --peers 1=127.0.0.1:7271,2=127.0.0.1:7281,3=127.0.0.1:7291

SIGTERM drains and exits 0 within the grace; a second one exits at once.")]
struct LeaderElection {
    #[command(flatten)]
    flags: ServeFlags,
}

/// A replica of the work queue
#[derive(Debug, Args)]
#[command(after_help = "Examples, one node and the first of three:
  quorate serve work-queue --data-dir /var/lib/quorate
  quorate serve work-queue --data-dir /var/lib/quorate --node-id 1 --peer-listen 127.0.0.1:7272 \\
      --peers 1=127.0.0.1:7272,2=127.0.0.1:7273,3=127.0.0.1:7274

SIGTERM drains and exits 0 within the grace; a second one exits at once.")]
struct WorkQueue {
    #[command(flatten)]
    flags: ServeFlags,
}

impl Serve {
    pub(crate) fn run(self) -> Outcome {
        match self.pattern {
            Served::LeaderElection(args) => {
                let settings = Settings::load(Pattern::LeaderElection, &args.flags.values)?;
                container(settings, |settings, shutdown| {
                    let spec = Spec::new(Pattern::LeaderElection, "serve", election::VERSION);
                    run(spec, settings, shutdown, election::replica)
                })
            }
            Served::WorkQueue(args) => {
                let settings = Settings::load(Pattern::WorkQueue, &args.flags.values)?;
                container(settings, |settings, shutdown| {
                    let spec = Spec::new(Pattern::WorkQueue, "serve", queue::VERSION);
                    run(spec, settings, shutdown, queue::replica)
                })
            }
            Served::ScatterGather(args) => {
                let settings = Settings::load(Pattern::ScatterGather, &args.flags.values)?;
                container(settings, |settings, shutdown| {
                    let spec = Spec::new(Pattern::ScatterGather, "serve", scatter::VERSION);
                    run(spec, settings, shutdown, scatter::root)
                })
            }
        }
    }
}
