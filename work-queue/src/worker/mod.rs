//! Workers: code that does jobs.
//!
//! [`Worker`] runs a closure for each job. Heartbeats, the lease rule, retries of settlements and the
//! graceful shutdown happen by themselves in an engine that the worker agent shares. A job may run
//! more than once (a worker can die after the work and before the outcome is recorded), but exactly
//! one outcome is recorded: make the work idempotent, or pass [`Context::fencing_token`] to what it
//! changes.

mod context;
mod engine;
mod held;
mod job;
pub(crate) mod link;

pub use context::{Context, Stop};
pub use job::{Dead, Fail, Job, JobError, Retry};
pub use tokio_util::sync::CancellationToken;

#[cfg(feature = "agent")]
pub(crate) use context::cut;
pub(crate) use engine::settles::failure;

use crate::machine::{Lease, Settlement, limits};
use crate::queue::Queue;
use async_trait::async_trait;
use bytes::Bytes;
use quorate_core::error::{Code, Error};
use quorate_core::types::Name;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Most jobs of one worker at a time.
pub const SLOTS_MAX: usize = 1_000;

/// What is done with a lease. [`Worker::run`] makes one of a closure; the worker agent is another.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Does the job and says how it ended. Called in a task of its own, at most `slots` at a time.
    /// The future is dropped when the lease's trust ends, or a grace after it was told to stop.
    async fn handle(&self, lease: Lease, context: Context) -> Settlement;
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Recorded as completed.
    pub completed: u64,
    /// Recorded as failed attempts, dead letters included.
    pub failed: u64,
    /// Given back.
    pub released: u64,
    /// Outcomes that could not be recorded: the job was no longer this worker's, or the queue could
    /// not be reached.
    pub lost: u64,
}

/// A worker of one queue. See the module's text.
#[derive(Clone, Debug)]
pub struct Worker {
    queue: Queue,
    name: String,
    worker: String,
    slots: usize,
    lease: Option<Duration>,
    drain: Duration,
    grace: Duration,
    shutdown: CancellationToken,
}

impl Worker {
    /// A worker of the queue `name`, with one slot.
    pub fn new(queue: &Queue, name: &str) -> Self {
        Self {
            queue: queue.clone(),
            name: name.to_owned(),
            worker: default_name(),
            slots: 1,
            lease: None,
            drain: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            shutdown: CancellationToken::new(),
        }
    }

    /// Jobs at a time, 1 to [`SLOTS_MAX`].
    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// The name that lists and attempts show; host name and process id by default.
    #[must_use]
    pub fn name(mut self, worker: impl Into<String>) -> Self {
        self.worker = worker.into();
        self
    }

    /// Length of leases instead of the queue's setting. Shorter finds a dead worker sooner.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How long running jobs may go on at shutdown before they are told to stop. 30 s by default.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// How long a job that was told to stop may take before it is dropped. 5 s by default.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Shuts the worker down when this token is cancelled: no new jobs, running ones get their grace,
    /// what is not done goes back without charging an attempt.
    #[must_use]
    pub fn shutdown(mut self, shutdown: CancellationToken) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Works until shut down. The payload of each job is decoded from JSON and the result encoded
    /// to JSON; a payload that does not decode makes the job dead.
    pub async fn run<T, R, E, F, W>(self, work: F) -> Result<Report, Error>
    where
        T: DeserializeOwned + Send + 'static,
        R: Serialize + Send + 'static,
        E: Into<JobError> + Send + 'static,
        F: Fn(Job<T>, Context) -> W + Send + Sync + 'static,
        W: Future<Output = Result<R, E>> + Send + 'static,
    {
        self.run_handler(Arc::new(Typed {
            work,
            types: PhantomData::<fn(T) -> R>,
        }))
        .await
    }

    /// As [`Worker::run`], in a task of its own.
    pub fn spawn<T, R, E, F, W>(self, work: F) -> Running
    where
        T: DeserializeOwned + Send + 'static,
        R: Serialize + Send + 'static,
        E: Into<JobError> + Send + 'static,
        F: Fn(Job<T>, Context) -> W + Send + Sync + 'static,
        W: Future<Output = Result<R, E>> + Send + 'static,
    {
        Running {
            shutdown: self.shutdown.clone(),
            task: tokio::spawn(self.run(work)),
        }
    }

    /// As [`Worker::run`], with payload and result as bytes.
    pub async fn run_bytes<E, F, W>(self, work: F) -> Result<Report, Error>
    where
        E: Into<JobError> + Send + 'static,
        F: Fn(Job<Bytes>, Context) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Bytes, E>> + Send + 'static,
    {
        self.run_handler(Arc::new(Raw { work })).await
    }

    /// As [`Worker::run`], with a handler that settles leases itself.
    pub async fn run_handler(self, handler: Arc<dyn Handler>) -> Result<Report, Error> {
        let queue = Name::new(&self.name)?;
        if self.slots == 0 || self.slots > SLOTS_MAX {
            return Err(Error::invalid(format!(
                "{} slots: a worker has 1 to {SLOTS_MAX}",
                self.slots
            )));
        }
        let lease_ms = match self.lease {
            None => None,
            Some(lease) => Some(lease_ms(lease)?),
        };
        if self.worker.is_empty() || self.worker.len() > limits::TEXT_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the name of a worker has 1 to {} bytes",
                limits::TEXT_BYTES_MAX
            )));
        }
        let identity = link::Identity {
            queue,
            worker: Arc::from(self.worker.as_str()),
            lease_ms,
        };
        let options = engine::Options {
            slots: self.slots,
            drain: self.drain,
            grace: self.grace,
        };
        let link = self.queue.link(identity);
        let engine = engine::Engine::new(options, handler, self.queue.service(), link);
        Ok(engine.run(self.shutdown).await)
    }
}

/// A worker in a task of its own; see [`Worker::spawn`]. When it is dropped the worker goes on.
#[derive(Debug)]
pub struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<Report, Error>>,
}

impl Running {
    /// Shuts the worker down, lets running jobs finish within its grace, and tells what it did.
    pub async fn stop(self) -> Result<Report, Error> {
        self.shutdown.cancel();
        self.task.await.unwrap_or_else(|error| {
            Err(Error::new(
                Code::Internal,
                format!("the worker's task ended early: {error}"),
            ))
        })
    }
}

fn lease_ms(lease: Duration) -> Result<u64, Error> {
    u64::try_from(lease.as_millis())
        .ok()
        .filter(|ms| limits::LEASE_MS.contains(ms))
        .ok_or_else(|| {
            Error::invalid(format!(
                "a lease of {lease:?}: use {} to {} ms",
                limits::LEASE_MS.start(),
                limits::LEASE_MS.end()
            ))
        })
}

/// Host name and process id: enough for people to find the process.
pub fn default_name() -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    format!("{host}-{}", std::process::id())
}

struct Typed<F, T, R> {
    work: F,
    types: PhantomData<fn(T) -> R>,
}

#[async_trait]
impl<T, R, E, F, W> Handler for Typed<F, T, R>
where
    T: DeserializeOwned + Send + 'static,
    R: Serialize + Send + 'static,
    E: Into<JobError> + Send + 'static,
    F: Fn(Job<T>, Context) -> W + Send + Sync + 'static,
    W: Future<Output = Result<R, E>> + Send + 'static,
{
    async fn handle(&self, lease: Lease, context: Context) -> Settlement {
        let payload = match serde_json::from_slice::<T>(&lease.payload) {
            Ok(payload) => payload,
            Err(error) => {
                return failure(
                    &format!(
                        "the payload does not decode as this worker expects it: {error}; \
                         enqueue it anew or run a worker that understands it"
                    ),
                    false,
                );
            }
        };
        match (self.work)(Job::new(lease, payload), context.clone()).await {
            Ok(result) => match serde_json::to_vec(&result) {
                Ok(bytes) => job::complete(Bytes::from(bytes), true),
                Err(error) => failure(
                    &format!("the result does not encode to JSON: {error}"),
                    false,
                ),
            },
            Err(error) => error.into().settlement(&context),
        }
    }
}

struct Raw<F> {
    work: F,
}

#[async_trait]
impl<E, F, W> Handler for Raw<F>
where
    E: Into<JobError> + Send + 'static,
    F: Fn(Job<Bytes>, Context) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Bytes, E>> + Send + 'static,
{
    async fn handle(&self, lease: Lease, context: Context) -> Settlement {
        let payload = lease.payload.clone();
        match (self.work)(Job::new(lease, payload), context.clone()).await {
            Ok(result) => job::complete(result, false),
            Err(error) => error.into().settlement(&context),
        }
    }
}
