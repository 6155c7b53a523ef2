//! `quorate sidecar`: the API next to an application, in front of a cluster elsewhere.

use crate::context::container;
use crate::errors::Outcome;
use clap::{Args, Subcommand};
use quorate_core::runtime::settings::ServeFlags;
use quorate_core::runtime::{Pattern, Settings, Spec, run};
use quorate_work_queue::server;

/// Run a sidecar: the API of a pattern on this host, in front of a cluster elsewhere
#[derive(Debug, Args)]
pub(crate) struct Sidecar {
    #[command(subcommand)]
    pattern: Fronted,
}

#[derive(Debug, Subcommand)]
enum Fronted {
    WorkQueue(WorkQueue),
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
        let Fronted::WorkQueue(args) = self.pattern;
        let settings = Settings::load(Pattern::WorkQueue, &args.flags.values)?;
        container(settings, |settings, shutdown| {
            let spec = Spec::new(Pattern::WorkQueue, "sidecar", server::VERSION);
            run(spec, settings, shutdown, server::sidecar)
        })
    }
}
