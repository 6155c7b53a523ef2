//! `quorate jobs`: what became of jobs.

use crate::connect::Remote;
use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::paging::{self, JobFilter};
use crate::parse::{self, StateArg};
use crate::progress;
use crate::view::{JobDocument, Jobs as JobList};
use clap::{Args, Subcommand};
use quorate_core::runtime::settings::ClientFlags;
use quorate_core::types::Name;
use quorate_work_queue::machine::{Command as Op, JobId, JobView, State};
use std::sync::Arc;
use std::time::Duration;

/// Most jobs that one list shows.
const LIST_MAX: u32 = 1_000_000;
/// Between two looks of `watch`.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// List jobs, look at one, cancel, retry, skip, watch
#[derive(Debug, Args)]
pub(crate) struct Jobs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the jobs of a queue, oldest first
    #[command(after_help = "Example:\n  quorate jobs list transcode --state dead")]
    List(List),
    /// Show all that is known of a job: attempts, reasons, progress, result
    #[command(after_help = "Example:\n  quorate jobs get j10000000000000007")]
    Get(Several),
    /// Cancel jobs; one that runs is told to stop
    #[command(after_help = "Example:\n  quorate jobs cancel j10000000000000007")]
    Cancel(Several),
    /// Make dead jobs ready again, with their attempts counted anew
    #[command(after_help = "Example:\n  quorate jobs retry j10000000000000007")]
    Retry(Several),
    /// Count dead jobs of a batch as final, so that its join goes on without them
    #[command(after_help = "Example:\n  quorate jobs skip j10000000000000007")]
    Skip(Several),
    /// Follow a job until it is final; exits 0 only if it completed
    #[command(after_help = "Example:\n  quorate jobs watch j10000000000000007 && echo done")]
    Watch(One),
}

#[derive(Debug, Args)]
struct List {
    /// The queue
    #[arg(value_parser = parse::name)]
    queue: Name,
    /// Only jobs in this state
    #[arg(long, value_enum)]
    state: Option<StateArg>,
    /// Only jobs with this label
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::label)]
    label: Option<(Arc<str>, Arc<str>)>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(LIST_MAX)))]
    limit: u32,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Several {
    /// The jobs, as `submit` and `jobs list` print them
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobId>,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct One {
    /// The job
    job: JobId,
    #[command(flatten)]
    client: ClientFlags,
}

impl Jobs {
    pub(crate) fn run(self, context: Context) -> Outcome {
        context.block_on(async {
            match self.command {
                Command::List(args) => list(args, context).await,
                Command::Get(args) => {
                    let remote = Remote::open(&args.client)?;
                    show(&remote, &args.jobs, context).await
                }
                Command::Cancel(args) => each(args, |job| Op::CancelJob { job }, context).await,
                Command::Retry(args) => each(args, |job| Op::RetryJob { job }, context).await,
                Command::Skip(args) => each(args, |job| Op::SkipChild { job }, context).await,
                Command::Watch(args) => watch(args, context).await,
            }
        })
    }
}

async fn list(args: List, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    let filter = JobFilter {
        queue: args.queue,
        state: args.state.map(State::from),
        label: args.label,
    };
    let most = args.limit as usize;
    let jobs = paging::jobs(&remote, &filter, most).await?;
    if jobs.len() == most {
        context
            .output
            .note(format!("The first {most} jobs; --limit shows more."));
    }
    context.output.print(&JobList {
        items: jobs.into_iter().map(JobDocument::from).collect(),
    })
}

async fn show(remote: &Remote, jobs: &[JobId], context: Context) -> Outcome {
    for &job in jobs {
        let document = JobDocument::from(remote.job(job).await?);
        if jobs.len() == 1 {
            context.output.print(&document)?;
        } else {
            context.output.print_next(&document)?;
        }
    }
    Ok(())
}

async fn each(args: Several, command: fn(JobId) -> Op, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    for &job in &args.jobs {
        remote
            .execute(command(job))
            .await
            .map_err(|failure| Failure::new(failure.exit, format!("{job}: {failure}")))?;
    }
    show(&remote, &args.jobs, context).await
}

async fn watch(args: One, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    let bar = progress::job_bar(context.output);
    let mut shown = None;
    let view = loop {
        let view = progress::patiently(context.output, || remote.job(args.job)).await?;
        bar.show(&view);
        if context.output.streams() && shown != Some((view.state, view.attempts.len())) {
            shown = Some((view.state, view.attempts.len()));
            context
                .output
                .print_next(&JobDocument::from(view.clone()))?;
        }
        if is_final(&view) {
            break view;
        }
        tokio::time::sleep(WATCH_EVERY).await;
    };
    drop(bar);
    let state = view.state;
    if !context.output.streams() {
        context.output.print(&JobDocument::from(view))?;
    }
    match state {
        State::Completed => Ok(()),
        _ => Err(Failure::silent(Exit::Refused)),
    }
}

fn is_final(view: &JobView) -> bool {
    matches!(
        view.state,
        State::Completed | State::Dead | State::Cancelled
    )
}
