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
use crate::errors::{Failure, Outcome};
use clap::{Args, Subcommand};

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
    #[command(hide = true)]
    Schedule(NotBuilt),
    #[command(hide = true)]
    Doctor(NotBuilt),
}

/// A command that the interface names and this version does not have.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct NotBuilt {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

impl NotBuilt {
    fn refuse(what: &str, instead: &str) -> Outcome {
        Err(Failure::usage(format!(
            "{what} is not built yet: {instead}"
        )))
    }
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
            Self::Schedule(_) => NotBuilt::refuse(
                "a schedule",
                "let cron call `quorate submit --dedupe` with the tick in the key, so that no tick counts twice",
            ),
            Self::Doctor(_) => NotBuilt::refuse(
                "the doctor",
                "`quorate cluster status` and `quorate config show` tell most of it",
            ),
        }
    }
}
