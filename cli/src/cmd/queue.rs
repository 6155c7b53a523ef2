//! `quorate queue`: queues, their settings, and what an operator does to them.

use crate::confirm::confirm;
use crate::connect::Remote;
use crate::context::Context;
use crate::errors::Outcome;
use crate::paging;
use crate::parse;
use crate::view::{QueueDocument, Queues};
use clap::{Args, Subcommand};
use quorate_core::error::Code;
use quorate_core::runtime::settings::ClientFlags;
use quorate_core::types::Name;
use quorate_work_queue::machine::{Answer, Command as Op, Query, Settings, limits};

/// Look at queues, change their settings, pause, purge, redrive
#[derive(Debug, Args)]
pub(crate) struct Queue {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all queues
    #[command(after_help = "Example:\n  quorate queue list")]
    List(List),
    /// Show one queue: settings, counts by state, age of the oldest ready job
    #[command(after_help = "Example:\n  quorate queue get transcode -o json")]
    Get(One),
    /// Create a queue or change settings; what is not named stays as it is
    #[command(
        after_help = "Example:\n  quorate queue set transcode --lease 1m --max-attempts 3 --stall 5m"
    )]
    Set(Box<Set>),
    /// Hand out no more work; leases that are held go on
    #[command(after_help = "Example:\n  quorate queue pause transcode")]
    Pause(One),
    /// Hand out work again
    #[command(after_help = "Example:\n  quorate queue resume transcode")]
    Resume(One),
    /// Cancel all jobs that wait
    #[command(after_help = "Example:\n  quorate queue purge transcode --yes")]
    Purge(Sure),
    /// Make dead jobs ready again
    #[command(after_help = "Example:\n  quorate queue redrive transcode --max 10")]
    Redrive(Redrive),
    /// Delete a queue that holds no job in progress or waiting
    #[command(after_help = "Example:\n  quorate queue delete transcode --yes")]
    Delete(Sure),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct One {
    /// The queue
    #[arg(value_parser = parse::name)]
    queue: Name,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Sure {
    /// The queue
    #[arg(value_parser = parse::name)]
    queue: Name,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Redrive {
    /// The queue
    #[arg(value_parser = parse::name)]
    queue: Name,
    /// At most so many jobs
    #[arg(long, value_name = "N", default_value_t = limits::REDRIVE_MAX, value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::REDRIVE_MAX)))]
    max: u32,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Set {
    /// The queue
    #[arg(value_parser = parse::name)]
    queue: Name,
    /// Length of a lease that asks for no other
    #[arg(long, value_name = "TIME", value_parser = parse::millis)]
    lease: Option<u64>,
    /// Take a lease away whose progress does not change for so long; 0 is never
    #[arg(long, value_name = "TIME", value_parser = parse::millis)]
    stall: Option<u64>,
    /// Failed attempts before a job is dead
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// Delay after the first failure; doubles with each
    #[arg(long, value_name = "TIME", value_parser = parse::millis)]
    backoff_initial: Option<u64>,
    /// Longest delay after a failure
    #[arg(long, value_name = "TIME", value_parser = parse::millis)]
    backoff_max: Option<u64>,
    /// Jobs that wait or run, at the most
    #[arg(long, value_name = "N")]
    max_jobs: Option<u64>,
    /// Bytes of their payloads, at the most
    #[arg(long, value_name = "BYTES", value_parser = parse::bytes)]
    max_bytes: Option<u64>,
    /// How long completed and cancelled jobs are kept
    #[arg(long, value_name = "TIME", value_parser = parse::millis)]
    retention: Option<u64>,
    #[command(flatten)]
    client: ClientFlags,
}

impl Queue {
    pub(crate) fn run(self, context: Context) -> Outcome {
        context.block_on(async {
            match self.command {
                Command::List(args) => list(args, context).await,
                Command::Get(args) => {
                    let remote = Remote::open(&args.client)?;
                    show(&remote, &args.queue, context).await
                }
                Command::Set(args) => set(*args, context).await,
                Command::Pause(args) => pause(args, true, context).await,
                Command::Resume(args) => pause(args, false, context).await,
                Command::Purge(args) => purge(args, context).await,
                Command::Redrive(args) => redrive(args, context).await,
                Command::Delete(args) => delete(args, context).await,
            }
        })
    }
}

async fn list(args: List, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    let queues = paging::queues(&remote, limits::QUEUES_MAX).await?;
    if queues.is_empty() {
        context
            .output
            .note("There is no queue yet; one comes into being with its first job.");
    }
    context.output.print(&Queues {
        items: queues.into_iter().map(QueueDocument::from).collect(),
    })
}

async fn show(remote: &Remote, queue: &Name, context: Context) -> Outcome {
    let view = remote.queue(queue).await?;
    context.output.print(&QueueDocument::from(view))
}

async fn set(args: Set, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    let queue = args.queue.clone();
    // Settings are replaced as a whole; start from what is in force.
    let mut settings = match remote.ask(Query::Queue { queue }).await {
        Ok(Answer::Queue(view)) => view.settings,
        Ok(_) => return Err(crate::connect::unexpected()),
        Err(error) if error.code == Code::NotFound => Settings::default(),
        Err(error) => return Err(error.into()),
    };
    args.apply(&mut settings);
    let queue = args.queue.clone();
    remote.execute(Op::Configure { queue, settings }).await?;
    show(&remote, &args.queue, context).await
}

impl Set {
    fn apply(&self, settings: &mut Settings) {
        fn put<T: Copy>(to: &mut T, from: Option<T>) {
            if let Some(value) = from {
                *to = value;
            }
        }
        put(&mut settings.lease_ms, self.lease);
        put(&mut settings.stall_ms, self.stall);
        put(&mut settings.max_attempts, self.max_attempts);
        put(&mut settings.backoff_initial_ms, self.backoff_initial);
        put(&mut settings.backoff_max_ms, self.backoff_max);
        put(&mut settings.max_jobs, self.max_jobs);
        put(&mut settings.max_bytes, self.max_bytes);
        put(&mut settings.retention_ms, self.retention);
    }
}

async fn pause(args: One, paused: bool, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    let queue = args.queue.clone();
    remote.execute(Op::Pause { queue, paused }).await?;
    show(&remote, &args.queue, context).await
}

async fn purge(args: Sure, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    let counts = remote.queue(&args.queue).await?.counts;
    let waiting = counts.ready + counts.delayed;
    confirm(
        context,
        args.yes,
        &format!("Cancel the {waiting} waiting jobs of {}?", args.queue),
    )?;
    let queue = args.queue.clone();
    let count = remote.count(Op::Purge { queue }).await?;
    context.output.note(format!("{count} jobs cancelled"));
    show(&remote, &args.queue, context).await
}

async fn redrive(args: Redrive, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    let (queue, max) = (args.queue.clone(), args.max);
    let count = remote.count(Op::Redrive { queue, max }).await?;
    context.output.note(format!("{count} jobs are ready again"));
    show(&remote, &args.queue, context).await
}

async fn delete(args: Sure, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    confirm(
        context,
        args.yes,
        &format!("Delete the queue {} and its finished jobs?", args.queue),
    )?;
    let queue = args.queue.clone();
    remote.execute(Op::DeleteQueue { queue }).await?;
    context.output.note(format!("{} is deleted", args.queue));
    Ok(())
}
