//! `quorate submit`: one job or a million, from arguments, files or stdin.

use super::batch::Spec;
use crate::connect::{Remote, unexpected};
use crate::context::Context;
use crate::errors::{Failure, Outcome};
use crate::output::Render;
use crate::parse;
use crate::submit::chunks::{Chunks, Patience};
use crate::submit::files::hand_over;
use crate::submit::{Item, Jobs, Source, Template};
use crate::table::Table;
use crate::watch::watch_batch;
use clap::Args;
use quorate_core::clock;
use quorate_core::runtime::settings::ClientFlags;
use quorate_core::types::{LogTime, Name};
use quorate_work_queue::machine::{BatchId, Command as Op, JobId, NewJob, Reply};
use serde::Serialize;
use std::sync::Arc;

/// Put jobs into a queue: from arguments, from files, or from stdin
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate submit mail '{\"to\":\"ada@example.org\"}'
  quorate submit transcode --glob 'in/*.mp4' --blobs file:///srv/blobs --template '{\"film\":\"{stem}\"}' --batch --join publish --watch
  seq 100 | quorate submit count --lines --template '{\"n\":\"{item}\"}' --dedupe '{item}'

Placeholders: {index} {item}, of files {path} {name} {stem} {ext} {dir} {size}, of JSON {/a/b}; {{ is a brace.
Files reach the worker as inputs by the blob store (--blobs); those outside it are copied there. Without --template
their payload is {\"name\":…,\"path\":…}.
Up to 1000 jobs go in at once, all or none. More go in one such step after another; --dedupe or --key makes it
safe to run the same command again after a failure.")]
pub(crate) struct Submit {
    /// The queue
    #[arg(value_parser = parse::name)]
    queue: Name,
    /// Payloads, one job each: JSON, or any text
    #[arg(value_name = "PAYLOAD", group = "source")]
    payloads: Vec<String>,
    /// One job for each file that matches; may be given several times
    #[arg(long, value_name = "PATTERN", group = "source")]
    glob: Vec<String>,
    /// One job for each line of stdin
    #[arg(long, group = "source")]
    lines: bool,
    /// One job for each line of stdin, which are JSON documents
    #[arg(long, group = "source")]
    json_lines: bool,
    /// Payload of each job, with placeholders; JSON, or any text
    #[arg(long, value_name = "TEMPLATE")]
    template: Option<String>,

    /// 0 (first) to 15
    #[arg(long, value_name = "N", default_value_t = NewJob::PRIORITY_DEFAULT, value_parser = clap::value_parser!(u8).range(0..=i64::from(NewJob::PRIORITY_MAX)))]
    priority: u8,
    /// Not before so much time has passed
    #[arg(long, value_name = "TIME", value_parser = parse::millis)]
    delay: Option<u64>,
    /// Failed attempts before a job is dead; the queue's setting by default
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// A second job with the same key is the first one; with placeholders
    #[arg(long, value_name = "TEMPLATE")]
    dedupe: Option<String>,
    /// Label of every job; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::label)]
    label: Vec<(Arc<str>, Arc<str>)>,

    /// Make the jobs a batch and seal it; its --key makes the same command again go on with it
    #[arg(long, help_heading = "Batch", conflicts_with = "dedupe")]
    batch: bool,
    #[command(flatten, next_help_heading = "Batch")]
    spec: Spec,
    /// Watch the batch to its end; exits 0 only if it completed
    #[arg(long, requires = "batch", help_heading = "Batch")]
    watch: bool,

    #[command(flatten)]
    client: ClientFlags,
}

impl Submit {
    pub(crate) fn run(self, context: Context) -> Outcome {
        if !self.batch && (self.spec.join.is_some() || self.spec.key.is_some()) {
            return Err(Failure::usage(
                "--join and --key are of batches: add --batch",
            ));
        }
        let source = self.source()?;
        let jobs = self.jobs()?;
        let items = source.items().map_err(Failure::usage)?;
        context.block_on(async move {
            let remote = Remote::open(&self.client)?;
            self.submit(&remote, items, jobs, context).await
        })
    }

    fn source(&self) -> Outcome<Source> {
        if !self.glob.is_empty() {
            return Ok(Source::Files(self.glob.clone()));
        }
        match (self.lines, self.json_lines) {
            (true, _) => Ok(Source::Lines),
            (_, true) => Ok(Source::JsonLines),
            _ if self.payloads.is_empty() => Err(Failure::usage(
                "nothing to submit: give payloads, --glob PATTERN, or --lines or --json-lines with stdin",
            )),
            _ => Ok(Source::Arguments(self.payloads.clone())),
        }
    }

    /// What every item becomes, checked before anything is sent.
    fn jobs(&self) -> Outcome<Jobs> {
        let template = |text: &String| Template::parse(text).map_err(Failure::usage);
        Ok(Jobs {
            template: self.template.as_ref().map(template).transpose()?,
            dedupe: self
                .dedupe
                .as_ref()
                .map(|text| crate::submit::template::Text::parse(text).map_err(Failure::usage))
                .transpose()?,
            like: NewJob {
                priority: self.priority,
                not_before: self.delay.map(|ms| LogTime(clock::wall_ms()).plus_ms(ms)),
                max_attempts: self.max_attempts,
                labels: {
                    let mut labels = self.label.clone();
                    labels.sort();
                    labels
                },
                ..NewJob::default()
            },
        })
    }

    async fn submit(
        self,
        remote: &Remote,
        items: Box<dyn Iterator<Item = Result<Item, String>> + Send>,
        jobs: Jobs,
        context: Context,
    ) -> Outcome {
        let batch = if self.batch {
            let (batch, existing) = self.spec.create(remote, &self.queue).await?;
            if existing {
                context
                    .output
                    .note(format!("batch {batch} was there before: going on with it"));
            }
            Some(batch)
        } else {
            None
        };
        let mut chunks = Chunks::new(items, Patience::default());
        let mut submitted = Submitted {
            batch: batch.map(|batch| batch.to_string()),
            jobs: Vec::new(),
        };
        while let Some(chunk) = chunks.next().await {
            match self.send(remote, chunk, &jobs, batch).await {
                Ok(rows) => submitted.jobs.extend(rows),
                Err(failure) => return Err(self.part_way(&submitted, batch, &failure)),
            }
        }
        self.finish(remote, submitted, batch, context).await
    }

    async fn send(
        &self,
        remote: &Remote,
        chunk: Result<Vec<Item>, String>,
        jobs: &Jobs,
        batch: Option<BatchId>,
    ) -> Outcome<Vec<Row>> {
        let mut items = chunk.map_err(Failure::usage)?;
        hand_over(remote.blobs(), &mut items)
            .await
            .map_err(Failure::config)?;
        let (new, from) = jobs.make(&items, batch).map_err(Failure::usage)?;
        self.enqueue(remote, new, from).await
    }

    async fn enqueue(
        &self,
        remote: &Remote,
        jobs: Vec<NewJob>,
        from: Vec<String>,
    ) -> Outcome<Vec<Row>> {
        let queue = self.queue.clone();
        match remote.execute(Op::Enqueue { queue, jobs }).await? {
            Reply::Enqueued(ids) if ids.len() == from.len() => Ok(ids
                .into_iter()
                .zip(from)
                .map(|((id, duplicate), from)| Row::new(id, duplicate, from))
                .collect()),
            _ => Err(unexpected()),
        }
    }

    async fn finish(
        &self,
        remote: &Remote,
        submitted: Submitted,
        batch: Option<BatchId>,
        context: Context,
    ) -> Outcome {
        let count = submitted.jobs.len();
        let duplicates = submitted.jobs.iter().filter(|row| row.duplicate).count();
        if count == 0 {
            context.output.note("no item, no job");
        }
        if let Some(batch) = batch {
            let expected = u32::try_from(count)
                .map_err(|_| Failure::usage("a batch has at most 1000000 jobs"))?;
            remote.execute(Op::SealBatch { batch, expected }).await?;
        }
        let known = if duplicates > 0 {
            format!(", {duplicates} of them there before")
        } else {
            String::new()
        };
        context
            .output
            .note(format!("{count} job(s) in {}{known}", self.queue));
        match batch {
            Some(batch) if self.watch => watch_batch(remote, batch, context).await,
            _ => context.output.print(&submitted),
        }
    }

    /// A failure after some jobs are in: says so, and how to go on.
    fn part_way(
        &self,
        submitted: &Submitted,
        batch: Option<BatchId>,
        failure: &Failure,
    ) -> Failure {
        let count = submitted.jobs.len();
        if count == 0 && batch.is_none() {
            return Failure::new(failure.exit, failure.message.clone());
        }
        let on = match batch {
            Some(batch) if self.spec.key.is_some() => {
                format!("batch {batch} is not sealed; run the same command again to go on")
            }
            Some(batch) => format!(
                "batch {batch} is not sealed; cancel it with `quorate batch cancel {batch}`"
            ),
            None if self.dedupe.is_some() => {
                "run the same command again: --dedupe keeps them single".to_owned()
            }
            None => "they stay there; submit only the rest".to_owned(),
        };
        Failure::new(
            failure.exit,
            format!("{failure}\n{count} job(s) went in before that: {on}"),
        )
    }
}

/// What went in.
#[derive(Serialize)]
struct Submitted {
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<String>,
    jobs: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    id: String,
    duplicate: bool,
    from: String,
}

impl Row {
    fn new(id: JobId, duplicate: bool, from: String) -> Self {
        Self {
            id: id.to_string(),
            duplicate,
            from,
        }
    }
}

impl Render for Submitted {
    fn table(&self) -> Table {
        let mut table = Table::new(&["JOB", "NEW", "FROM"]);
        for row in &self.jobs {
            let new = if row.duplicate { "no" } else { "yes" };
            table.row([&row.id, &new, &row.from]);
        }
        if let Some(batch) = &self.batch {
            table.below("").below(&format!("batch {batch}"));
        }
        table
    }
}
