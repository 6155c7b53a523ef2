//! `quorate batch`: many jobs and what follows when all are done.

use crate::connect::{Remote, unexpected};
use crate::context::Context;
use crate::errors::Outcome;
use crate::paging;
use crate::parse;
use crate::submit::payload_of;
use crate::view::{BatchDocument, Batches, Children};
use crate::watch::watch_batch;
use clap::{Args, Subcommand, ValueEnum};
use quorate_core::runtime::settings::ClientFlags;
use quorate_core::types::Name;
use quorate_work_queue::machine::{BatchId, Command as Op, NewJob, OnDead, Reply, limits};
use std::sync::Arc;

/// Look at batches, create, seal, cancel, watch
#[derive(Debug, Args)]
pub(crate) struct Batch {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List batches, oldest first
    #[command(after_help = "Example:\n  quorate batch list")]
    List(List),
    /// Show one batch: state, counts, time left
    #[command(after_help = "Example:\n  quorate batch get b10000000000000003")]
    Get(One),
    /// Show the jobs of a batch with their results, by index
    #[command(after_help = "Example:\n  quorate batch results b10000000000000003 -o json")]
    Results(Results),
    /// Create a batch; `submit --batch` creates, fills and seals one in one go
    #[command(
        after_help = "Example:\n  quorate batch create chunks --join films --join-payload '{\"film\":7}'"
    )]
    Create(Create),
    /// Say that all jobs are there, without a gap; the join runs when they are final
    #[command(after_help = "Example:\n  quorate batch seal b10000000000000003 12")]
    Seal(Seal),
    /// Cancel a batch and its jobs
    #[command(after_help = "Example:\n  quorate batch cancel b10000000000000003")]
    Cancel(One),
    /// Follow a batch to its end; exits 0 only if it completed
    #[command(after_help = "Example:\n  quorate batch watch b10000000000000003 && echo done")]
    Watch(One),
}

#[derive(Debug, Args)]
struct List {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct One {
    /// The batch
    batch: BatchId,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Results {
    /// The batch
    batch: BatchId,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = limits::BATCH_JOBS_MAX, value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::BATCH_JOBS_MAX)))]
    limit: u32,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Seal {
    /// The batch
    batch: BatchId,
    /// Number of its jobs
    expected: u32,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Create {
    /// The queue of its jobs
    #[arg(value_parser = parse::name)]
    queue: Name,
    #[command(flatten)]
    spec: Spec,
    #[command(flatten)]
    client: ClientFlags,
}

/// What a new batch is like.
#[derive(Debug, Args)]
pub(super) struct Spec {
    /// Run a job in this queue once all jobs of the batch are final
    #[arg(long, value_name = "QUEUE", value_parser = parse::name)]
    pub(super) join: Option<Name>,
    /// Its payload: JSON, or any text
    #[arg(long, value_name = "PAYLOAD", requires = "join")]
    pub(super) join_payload: Option<String>,
    /// What to do about a job that is dead
    #[arg(long, value_enum, default_value_t = OnDeadArg::Hold)]
    pub(super) on_dead: OnDeadArg,
    /// A second batch with the same key is the first one
    #[arg(long, value_name = "KEY")]
    pub(super) key: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OnDeadArg {
    /// Hold the join until the job is retried or skipped
    Hold,
    /// Join all the same
    Join,
    /// Cancel the batch
    Cancel,
}

impl Spec {
    /// Creates the batch, or finds the one with its key. True if it was there before.
    pub(super) async fn create(&self, remote: &Remote, queue: &Name) -> Outcome<(BatchId, bool)> {
        let join = self.join.clone().map(|queue| {
            let (payload, payload_is_json) =
                payload_of(self.join_payload.as_deref().unwrap_or("{}"));
            let job = NewJob {
                payload,
                payload_is_json,
                ..NewJob::default()
            };
            (queue, job)
        });
        let command = Op::CreateBatch {
            queue: queue.clone(),
            join,
            on_dead: match self.on_dead {
                OnDeadArg::Hold => OnDead::Hold,
                OnDeadArg::Join => OnDead::Join,
                OnDeadArg::Cancel => OnDead::Cancel,
            },
            key: self.key.as_deref().map(Arc::from),
        };
        match remote.execute(command).await? {
            Reply::Batch(batch, existing) => Ok((batch, existing)),
            _ => Err(unexpected()),
        }
    }
}

impl Batch {
    pub(crate) fn run(self, context: Context) -> Outcome {
        context.block_on(async {
            match self.command {
                Command::List(args) => list(args, context).await,
                Command::Get(args) => {
                    let remote = Remote::open(&args.client)?;
                    show(&remote, args.batch, context).await
                }
                Command::Results(args) => results(args, context).await,
                Command::Create(args) => create(args, context).await,
                Command::Seal(args) => seal(args, context).await,
                Command::Cancel(args) => cancel(args, context).await,
                Command::Watch(args) => {
                    let remote = Remote::open(&args.client)?;
                    watch_batch(&remote, args.batch, context).await
                }
            }
        })
    }
}

async fn list(args: List, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    let batches = paging::batches(&remote, args.limit as usize).await?;
    context.output.print(&Batches {
        items: batches.into_iter().map(BatchDocument::from).collect(),
    })
}

async fn show(remote: &Remote, batch: BatchId, context: Context) -> Outcome {
    let view = remote.batch(batch).await?;
    context.output.print(&BatchDocument::from(view))
}

async fn results(args: Results, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    let children = paging::children(&remote, args.batch, args.limit as usize).await?;
    context.output.print(&Children::new(children))
}

async fn create(args: Create, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    let (batch, existing) = args.spec.create(&remote, &args.queue).await?;
    if existing {
        context
            .output
            .note("a batch with this key was there before");
    }
    show(&remote, batch, context).await
}

async fn seal(args: Seal, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    let (batch, expected) = (args.batch, args.expected);
    remote.execute(Op::SealBatch { batch, expected }).await?;
    show(&remote, batch, context).await
}

async fn cancel(args: One, context: Context) -> Outcome {
    let remote = Remote::open(&args.client)?;
    let batch = args.batch;
    remote.execute(Op::CancelBatch { batch }).await?;
    show(&remote, batch, context).await
}
