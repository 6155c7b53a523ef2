//! The commands, one a file. Each has its arguments and a function that carries it out.

mod batch;
mod bench;
mod certs;
mod cluster;
mod completions;
mod config;
mod dev;
mod election;
mod healthcheck;
mod jobs;
mod queue;
mod run;
mod scatter;
mod serve;
mod sidecar;
mod submit;
mod work;

use crate::context::Context;
use crate::errors::Outcome;
use clap::Subcommand;

/// The commands of `quorate`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(serve::Serve),
    Sidecar(sidecar::Sidecar),
    Dev(dev::Dev),
    Work(work::Work),
    Run(run::Run),
    Submit(submit::Submit),
    Queue(queue::Queue),
    Jobs(jobs::Jobs),
    Batch(batch::Batch),
    Election(election::Election),
    Cluster(cluster::Cluster),
    Scatter(scatter::Scatter),
    Bench(bench::Bench),
    Healthcheck(healthcheck::Healthcheck),
    Config(config::Config),
    Completions(completions::Completions),
}

impl Command {
    /// Carries the command out.
    pub(crate) fn run(self, context: Context) -> Outcome {
        match self {
            Self::Serve(serve) => serve.run(),
            Self::Sidecar(sidecar) => sidecar.run(),
            Self::Dev(dev) => dev.run(context),
            Self::Work(work) => work.run(context),
            Self::Run(run) => run.run(),
            Self::Submit(submit) => submit.run(context),
            Self::Queue(queue) => queue.run(context),
            Self::Jobs(jobs) => jobs.run(context),
            Self::Batch(batch) => batch.run(context),
            Self::Election(election) => election.run(context),
            Self::Cluster(cluster) => cluster.run(context),
            Self::Scatter(scatter) => scatter.run(context),
            Self::Bench(bench) => bench.run(context),
            Self::Healthcheck(healthcheck) => healthcheck.run(context),
            Self::Config(config) => config.run(context),
            Self::Completions(completions) => completions.run(),
        }
    }
}
