//! The worker agent: does jobs by running a command (or calling an endpoint of this host), so that
//! any program becomes a worker. `quorate work QUEUE -- COMMAND…` is this.
//!
//! # The contract with the command
//!
//! The command is an argument vector from the agent's configuration: never a shell, never from the
//! payload. It runs in a directory of its own that is removed afterwards, and finds in its environment:
//!
//! | Variable | |
//! |---|---|
//! | `WORK_ITEM_FILE` | file with the payload |
//! | `WORK_INPUT_DIR` | the job's inputs as files, named by the last segment of their address (`INDEX-NAME` when two are alike) |
//! | `WORK_OUTPUT_DIR` | files left here are stored as blobs when it exits with 0; `result.json` (up to 64 KiB) becomes the result, without spaces between its tokens |
//! | `WORK_PROGRESS_FILE` | lines `done/total unit message`, JSON objects, or ffmpeg's `-progress` |
//! | `WORK_CHECKPOINT_DIR` | files left here are saved while it runs and when it ends without success; the next attempt finds them |
//! | `WORK_MANIFEST_FILE` | for the join of a batch: one JSON line for each child, by index |
//! | `WORK_FENCING_TOKEN` | larger than that of every earlier attempt of the job |
//! | `WORK_JOB_ID`, `WORK_ATTEMPT`, `WORK_QUEUE`, `WORK_BATCH_ID`, `WORK_BATCH_INDEX` | as they say; the last two for jobs of batches |
//! | `TRACEPARENT` | the W3C trace context of the enqueuer, if it gave one |
//!
//! It exits with 0 when it is done, 75 to ask for another attempt, 65 when no attempt can succeed;
//! anything else is a failed attempt. Exit code, signal and the last 4 KiB it printed are reported.
//!
//! When it must stop (the lease was lost, the job was cancelled, the agent shuts down) its whole
//! process group gets SIGTERM and, a grace later or when the lease's trust ends, SIGKILL. What runs in
//! the group when the command has ended is killed; nothing of it outlives the agent, see
//! [`supervisor`].

mod attempt;
mod blobs;
mod board;
mod checkpoint;
mod files;
mod http;
mod process;
mod progress;
pub mod supervisor;
mod workdir;

pub use blobs::{BlobError, Blobs};
pub use board::Display;
pub use process::{Exit, Helper};

use crate::machine::{Lease, Settlement};
use crate::queue::Queue;
use crate::worker::{Context, Handler, Report, Worker};
use async_trait::async_trait;
use board::Board;
use http::Endpoint;
use quorate_core::error::Error;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use workdir::AgentDir;

/// What is done with a job.
#[derive(Clone, Debug)]
pub enum Task {
    /// Runs this argument vector.
    Command(Vec<OsString>),
    /// Posts the payload to this endpoint: `http://localhost:PORT/PATH`. 2xx completes with the body
    /// as the result, 429 and 503 retry, other 4xx are dead letters, everything else fails.
    Http(String),
}

/// How an agent works.
#[derive(Clone, Debug)]
pub struct Config {
    /// The queue.
    pub queue: String,
    /// Name that lists and attempts show.
    pub worker: String,
    /// What is done.
    pub task: Task,
    /// Jobs at a time.
    pub slots: usize,
    /// Length of leases instead of the queue's setting.
    pub lease: Option<Duration>,
    /// Under it each attempt has its directory.
    pub work_dir: PathBuf,
    /// The blob store, `file:///path`. Without one, jobs have neither inputs nor outputs.
    pub blobs: Option<String>,
    /// A join's command finds the files of the children in `WORK_INPUT_DIR`, as `INDEX-NAME`.
    pub fetch_children: bool,
    /// JSON pointer (RFC 6901) into the payload to the number of frames, for ffmpeg's progress.
    pub progress_total: Option<String>,
    /// How long a shutdown may take altogether. Running jobs go on until what is left is `grace` and a
    /// moment for their last checkpoint.
    pub drain: Duration,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// What people see.
    pub display: Display,
    /// How the supervisor is started; this very program if `None`.
    pub helper: Option<Helper>,
}

impl Config {
    /// With the defaults: one slot, the queue's leases, 30 s for a shutdown, 5 s of them for a command
    /// that was told to stop.
    pub fn new(queue: impl Into<String>, task: Task) -> Self {
        Self {
            queue: queue.into(),
            worker: crate::worker::default_name(),
            task,
            slots: 1,
            lease: None,
            work_dir: std::env::temp_dir().join("quorate-work"),
            blobs: None,
            fetch_children: true,
            progress_total: None,
            drain: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            display: Display::default(),
            helper: None,
        }
    }
}

/// Why an agent did not start. Nothing was leased. Always a matter of its configuration: exit code
/// [`StartError::EXIT_CODE`].
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such command.
    #[error("the command {0:?} was not found; give its path, or check PATH")]
    NoCommand(OsString),
    /// It is no program.
    #[error(
        "the command {0} cannot be executed; make it executable (chmod +x), or name its interpreter first"
    )]
    NotExecutable(PathBuf),
    /// The argument vector is empty.
    #[error("no command was given; put it after --")]
    EmptyCommand,
    /// The endpoint cannot be used.
    #[error("the endpoint {url:?} cannot be used: {why}; use http://localhost:PORT/PATH")]
    Endpoint {
        /// As configured.
        url: String,
        /// Why not.
        why: String,
    },
    /// The work directory cannot be used.
    #[error("the work directory {path}: {error}; choose one that this user may write to")]
    WorkDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The blob store cannot be used.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The supervisor cannot be started.
    #[error("this program cannot find itself to supervise commands: {0}")]
    Helper(io::Error),
    /// Another setting is wrong.
    #[error("{0}")]
    Setting(#[from] Error),
}

impl StartError {
    /// EX_CONFIG of sysexits.h.
    pub const EXIT_CODE: u8 = 78;
}

/// What the attempts of a command share.
#[derive(Debug)]
struct Setup {
    argv: Vec<OsString>,
    helper: Helper,
    dir: AgentDir,
    blobs: Option<Blobs>,
    fetch_children: bool,
    progress_total: Option<String>,
    grace: Duration,
}

impl Setup {
    /// The number of frames that the payload promises.
    fn total_of(&self, payload: &[u8]) -> Option<f64> {
        let pointer = self.progress_total.as_deref()?;
        let payload: serde_json::Value = serde_json::from_slice(payload).ok()?;
        payload.pointer(pointer)?.as_f64()
    }
}

/// Works until `shutdown` is cancelled and the drain is over. Everything that can be checked is
/// checked before anything is leased.
pub async fn run(
    queue: &Queue,
    config: Config,
    shutdown: CancellationToken,
) -> Result<Report, StartError> {
    let handler: Arc<dyn Handler> = match &config.task {
        Task::Http(url) => Arc::new(HttpHandler {
            endpoint: Endpoint::new(url)?,
            board: Board::new(config.display),
        }),
        Task::Command(argv) => Arc::new(CommandHandler {
            setup: setup(&config, argv)?,
            board: Board::new(config.display),
        }),
    };
    let mut worker = Worker::new(queue, &config.queue)
        .name(config.worker)
        .slots(config.slots)
        .drain(config.drain.saturating_sub(config.grace + STOP_MARGIN))
        // The engine drops a handler after its grace; the handler's own kill comes first.
        .grace(config.grace + STOP_MARGIN)
        .shutdown(shutdown);
    if let Some(lease) = config.lease {
        worker = worker.lease(lease);
    }
    Ok(worker.run_handler(handler).await?)
}

/// From SIGKILL to the last checkpoint.
const STOP_MARGIN: Duration = Duration::from_secs(3);

fn setup(config: &Config, argv: &[OsString]) -> Result<Setup, StartError> {
    let (command, args) = argv.split_first().ok_or(StartError::EmptyCommand)?;
    let mut full = vec![find(command)?.into_os_string()];
    full.extend_from_slice(args);
    let helper = match &config.helper {
        Some(helper) => helper.clone(),
        None => Helper::own().map_err(StartError::Helper)?,
    };
    Ok(Setup {
        argv: full,
        helper,
        dir: AgentDir::create(&config.work_dir)?,
        blobs: config.blobs.as_deref().map(Blobs::open).transpose()?,
        fetch_children: config.fetch_children,
        progress_total: config.progress_total.clone(),
        grace: config.grace,
    })
}

/// The absolute path of a command: it runs in another directory than the agent.
fn find(command: &OsStr) -> Result<PathBuf, StartError> {
    let path = Path::new(command);
    let is_path = path.components().count() > 1;
    let candidates: Vec<PathBuf> = if is_path {
        vec![path.to_owned()]
    } else {
        let dirs = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&dirs)
            .map(|dir| dir.join(path))
            .collect()
    };
    let mut found = None;
    for candidate in candidates {
        let Ok(meta) = candidate.metadata() else {
            continue;
        };
        if meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
            return std::path::absolute(&candidate)
                .map_err(|_| StartError::NoCommand(command.to_owned()));
        }
        found = found.or(Some(candidate));
    }
    Err(match found {
        Some(path) => StartError::NotExecutable(path),
        None => StartError::NoCommand(command.to_owned()),
    })
}

struct CommandHandler {
    setup: Setup,
    board: Board,
}

#[async_trait]
impl Handler for CommandHandler {
    async fn handle(&self, lease: Lease, context: Context) -> Settlement {
        attempt::run(&self.setup, &self.board, lease, context).await
    }
}

struct HttpHandler {
    endpoint: Endpoint,
    board: Board,
}

#[async_trait]
impl Handler for HttpHandler {
    async fn handle(&self, lease: Lease, context: Context) -> Settlement {
        let entry = self.board.begin(context.slot(), &lease);
        let settlement = self.endpoint.call(&lease, &context).await;
        entry.end(match &settlement {
            Settlement::Complete { .. } => "done",
            Settlement::Fail { .. } => "failed",
            Settlement::Release => "given back",
        });
        settlement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_before_anything_is_leased_or_the_start_fails() {
        assert!(find(OsStr::new("sh")).unwrap().is_absolute());
        assert!(find(OsStr::new("/bin/sh")).unwrap().is_absolute());
        let gone = find(OsStr::new("no-such-command-anywhere")).unwrap_err();
        assert!(matches!(gone, StartError::NoCommand(_)), "{gone}");
        let gone = find(OsStr::new("/no/such/command")).unwrap_err();
        assert!(matches!(gone, StartError::NoCommand(_)), "{gone}");
        let plain = find(OsStr::new("/etc/passwd")).unwrap_err();
        assert!(matches!(plain, StartError::NotExecutable(_)), "{plain}");
        assert_eq!(StartError::EXIT_CODE, 78);
    }
}
