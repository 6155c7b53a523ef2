//! `quorate sidecar`: the API next to an application, in front of a cluster elsewhere.

use crate::context::container;
use crate::errors::Outcome;
use clap::{Args, Subcommand};
use quorate_core::runtime::settings::ServeFlags;
use quorate_core::runtime::{Pattern, Settings, Spec, run};
use quorate_leader_election::server as election;
use quorate_scatter_gather::server as scatter;
use quorate_work_queue::server as queue;

/// Run a sidecar: the API of a pattern on this host, in front of a cluster elsewhere
#[derive(Debug, Args)]
pub(crate) struct Sidecar {
    #[command(subcommand)]
    pattern: Fronted,
}

#[derive(Debug, Subcommand)]
enum Fronted {
    LeaderElection(LeaderElection),
    WorkQueue(WorkQueue),
    ScatterGather(ScatterGather),
}

/// A gate in front of a leaf of scatter/gather: no more goes in than the leaf can do
#[derive(Debug, Args)]
#[command(after_help = "Example:
  quorate sidecar scatter-gather --upstream http://127.0.0.1:8080

What the leaf cannot take waits a little or is refused at once, so that another replica is asked in time;
what has waited past its deadline never reaches the leaf. GET /v1/gate tells the load.")]
struct ScatterGather {
    #[command(flatten)]
    flags: ServeFlags,
}

/// Elections of the cluster that QUORATE_SERVERS names, for the application beside it
#[derive(Debug, Args)]
#[command(after_help = "Example:
  quorate sidecar leader-election --servers http://election-0.election:7071,http://election-1.election:7071 \\
      --election planner --candidate-id app-1 --app-pid 4711

With --election it stands for that election as --candidate-id by itself, for as long as it has proof that the
application lives: --app-pid, --app-health-url, or an open stream of events.")]
struct LeaderElection {
    #[command(flatten)]
    flags: ServeFlags,
}

/// The work queue of the cluster that QUORATE_SERVERS names
#[derive(Debug, Args)]
#[command(after_help = "Example:
  quorate sidecar work-queue --servers http://queue-0.queue:7072,http://queue-1.queue:7072

The application sees one server on localhost; finding the leader, retries and credentials are the sidecar's.")]
struct WorkQueue {
    #[command(flatten)]
    flags: ServeFlags,
}

impl Sidecar {
    pub(crate) fn run(self) -> Outcome {
        match self.pattern {
            Fronted::LeaderElection(args) => {
                let settings = Settings::load(Pattern::LeaderElection, &args.flags.values)?;
                container(settings, |settings, shutdown| {
                    let spec = Spec::new(Pattern::LeaderElection, "sidecar", election::VERSION);
                    run(spec, settings, shutdown, election::sidecar)
                })
            }
            Fronted::WorkQueue(args) => {
                let settings = Settings::load(Pattern::WorkQueue, &args.flags.values)?;
                container(settings, |settings, shutdown| {
                    let spec = Spec::new(Pattern::WorkQueue, "sidecar", queue::VERSION);
                    run(spec, settings, shutdown, queue::sidecar)
                })
            }
            Fronted::ScatterGather(args) => {
                let settings = Settings::load(Pattern::ScatterGather, &args.flags.values)?;
                container(settings, |settings, shutdown| {
                    let spec = Spec::new(Pattern::ScatterGather, "sidecar", scatter::VERSION);
                    run(spec, settings, shutdown, scatter::gate)
                })
            }
        }
    }
}
