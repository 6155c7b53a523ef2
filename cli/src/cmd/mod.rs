//! The commands, one a file. Each has its arguments and a function that carries it out.

mod batch;
mod cluster;
mod completions;
mod config;
mod healthcheck;
mod jobs;
mod queue;
mod submit;
mod work;

use crate::context::Context;
use crate::errors::Outcome;
use clap::Subcommand;

/// The commands of `quorate`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Work(work::Work),
    Submit(submit::Submit),
    Queue(queue::Queue),
    Jobs(jobs::Jobs),
    Batch(batch::Batch),
    Cluster(cluster::Cluster),
    Healthcheck(healthcheck::Healthcheck),
    Config(config::Config),
    Completions(completions::Completions),
}

impl Command {
    /// Carries the command out.
    pub(crate) fn run(self, context: Context) -> Outcome {
        match self {
            Self::Work(work) => work.run(context),
            Self::Submit(submit) => submit.run(context),
            Self::Queue(queue) => queue.run(context),
            Self::Jobs(jobs) => jobs.run(context),
            Self::Batch(batch) => batch.run(context),
            Self::Cluster(cluster) => cluster.run(context),
            Self::Healthcheck(healthcheck) => healthcheck.run(context),
            Self::Config(config) => config.run(context),
            Self::Completions(completions) => completions.run(),
        }
    }
}
