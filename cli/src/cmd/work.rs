//! `quorate work`: the worker agent.

use crate::connect;
use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::parse;
use clap::Args;
use quorate_core::runtime::settings::WorkFlags;
use quorate_core::runtime::telemetry::{self, Destination};
use quorate_core::runtime::{Pattern, Settings, Shutdown};
use quorate_core::types::Name;
use quorate_work_queue::agent::{self, Display, Task};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Be a worker: run a command, or call an endpoint of this host, for each job of a queue
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate work resize -- sh -c 'convert \"$WORK_INPUT_DIR\"/* -resize 50% \"$WORK_OUTPUT_DIR/small.png\"'
  quorate work transcode --slots 2 --blobs file:///srv/blobs -- ./transcode.sh
  quorate work mail --http http://localhost:8080/jobs

The command finds WORK_ITEM_FILE (the payload), WORK_INPUT_DIR, WORK_OUTPUT_DIR, WORK_PROGRESS_FILE,
WORK_CHECKPOINT_DIR, WORK_FENCING_TOKEN, WORK_JOB_ID and WORK_ATTEMPT in its environment, for the join of a batch
also WORK_MANIFEST_FILE. Exit 0 completes the job, 75 retries it, 65 makes it a dead letter; anything else is a
failed attempt. The command is never run by a shell unless it names one.")]
pub(crate) struct Work {
    /// The queue
    #[arg(value_parser = parse::name)]
    queue: Name,
    /// The command and its arguments
    #[arg(
        last = true,
        value_name = "COMMAND",
        required_unless_present = "http",
        conflicts_with = "http"
    )]
    command: Vec<OsString>,
    /// Post each payload to this endpoint of this host instead
    #[arg(long, value_name = "URL")]
    http: Option<String>,
    /// Jobs at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    slots: u32,
    /// Length of leases instead of the queue's setting; shorter finds a dead worker sooner
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    lease: Option<Duration>,
    /// Name of this worker, for people; host name and process id by default
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where each attempt has its directory; in the system's directory for temporary files by default
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Between SIGTERM and SIGKILL for a command that must stop
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    kill_grace: Duration,
    /// JSON pointer into the payload to the number of frames, for the progress that ffmpeg writes
    #[arg(long, value_name = "POINTER")]
    progress_total: Option<String>,
    /// Do not fetch the files of a batch's jobs for its join; the manifest names them all the same
    #[arg(long)]
    no_fetch_children: bool,
    #[command(flatten)]
    flags: WorkFlags,
}

impl Work {
    pub(crate) fn run(self, context: Context) -> Outcome {
        let settings = Settings::load(Pattern::WorkQueue, &self.flags.values)?;
        telemetry::init(&settings, Destination::Stderr)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Temporary, format!("cannot start: {error}")))?;
        runtime.block_on(self.work(&settings, context))
    }

    async fn work(self, settings: &Settings, context: Context) -> Outcome {
        let shutdown = Shutdown::on_signals().map_err(|error| {
            Failure::new(
                Exit::Temporary,
                format!("cannot watch for signals: {error}"),
            )
        })?;
        let queue = connect::queue(settings)?;
        let config = self.config(settings);
        context
            .output
            .note(format!("working on {} as {}", config.queue, config.worker));
        let report = agent::run(&queue, config, shutdown.token())
            .await
            .map_err(|error| Failure::config(error.to_string()))?;
        context.output.note(format!(
            "{} completed, {} failed, {} given back, {} not recorded",
            report.completed, report.failed, report.released, report.lost
        ));
        Ok(())
    }

    fn config(self, settings: &Settings) -> agent::Config {
        let task = match self.http {
            Some(url) => Task::Http(url),
            None => Task::Command(self.command),
        };
        let mut config = agent::Config::new(self.queue.as_str(), task);
        config.slots = self.slots as usize;
        config.lease = self.lease;
        config.grace = self.kill_grace;
        config.drain = settings.shutdown_grace_ms.duration();
        config.blobs = settings.blobs.as_ref().map(|url| url.0.clone());
        config.fetch_children = !self.no_fetch_children;
        config.progress_total = self.progress_total;
        config.display = Display::Auto;
        if let Some(name) = self.name {
            config.worker = name;
        }
        if let Some(dir) = self.work_dir {
            config.work_dir = dir;
        }
        config
    }
}
