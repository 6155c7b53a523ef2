//! What a running job sees of its lease: whether it is still its own, whether it should stop, and
//! where to report progress and leave a checkpoint.

use crate::machine::{Command, JobId, LeaseId, Progress, Reply, SessionId, limits};
use crate::service::{Caller, QueueService};
use bytes::Bytes;
use quorate_core::clock;
use quorate_core::error::{Code, Error};
use quorate_core::types::FencingToken;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Why a job was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Someone cancelled the job.
    Cancelled,
    /// The lease was ended at the queue: it stalled, expired, or its session is gone.
    LeaseEnded,
    /// The queue has not acknowledged a heartbeat for so long that the lease's trust runs out.
    Unreachable,
    /// The worker shuts down and the grace for running jobs is over.
    Shutdown,
}

/// The state of one lease that its job and the engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) lease: LeaseId,
    pub(crate) job: JobId,
    pub(crate) session: SessionId,
    pub(crate) slot: usize,
    /// Reading of CLOCK_BOOTTIME until which the lease is trusted; 0 when it is not.
    trusted_until: AtomicU64,
    stop: CancellationToken,
    reason: OnceLock<Stop>,
    progress: Mutex<Option<Progress>>,
    /// The engine's: set when any job has new progress.
    dirty: Arc<AtomicBool>,
    draining: CancellationToken,
}

impl Shared {
    pub(crate) fn new(
        (lease, job, session): (LeaseId, JobId, SessionId),
        slot: usize,
        dirty: Arc<AtomicBool>,
        draining: CancellationToken,
    ) -> Self {
        Self {
            lease,
            job,
            session,
            slot,
            trusted_until: AtomicU64::new(0),
            stop: CancellationToken::new(),
            reason: OnceLock::new(),
            progress: Mutex::new(None),
            dirty,
            draining,
        }
    }

    pub(crate) fn trust(&self, until: Option<u64>) {
        self.trusted_until
            .store(until.unwrap_or(0), Ordering::Release);
    }

    pub(crate) fn stop(&self, reason: Stop) {
        // The first reason stays: later ones are its consequences.
        let _ = self.reason.set(reason);
        self.stop.cancel();
    }

    pub(crate) fn take_progress(&self) -> Option<Progress> {
        self.progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Handed to a job's handler along with the job. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) service: Arc<dyn QueueService>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// A checkpoint is one logged write: what takes longer is tried again until this is over.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(10);

impl Context {
    /// Completes when the job should stop. What is still running a grace later, or when the lease's
    /// trust ends, is dropped at its next await point.
    pub async fn cancelled(&self) {
        self.shared.stop.cancelled().await;
    }

    /// Whether the job was told to stop, for loops that do not await.
    pub fn is_cancelled(&self) -> bool {
        self.shared.stop.is_cancelled()
    }

    /// Why the job was told to stop; `None` while it was not.
    pub fn stop_reason(&self) -> Option<Stop> {
        self.shared.reason.get().copied()
    }

    /// Completes when the worker begins to shut down. Running jobs have a grace from here before they
    /// are told to stop: a long one saves its state now.
    pub async fn draining(&self) {
        self.shared.draining.cancelled().await;
    }

    /// Whether the lease may be believed right now by this machine's own clock. True proves nothing
    /// to others: for that, pass [`Context::fencing_token`] to the resource.
    pub fn is_valid(&self) -> bool {
        clock::boottime().0 < self.shared.trusted_until.load(Ordering::Acquire)
    }

    /// The token of this grant: larger than that of every earlier grant of the same job. A resource
    /// that refuses smaller tokens than the largest it has seen is safe from zombies.
    pub fn fencing_token(&self) -> FencingToken {
        self.shared.lease.token()
    }

    /// The grant.
    pub fn lease_id(&self) -> LeaseId {
        self.shared.lease
    }

    /// The job.
    pub fn job_id(&self) -> JobId {
        self.shared.job
    }

    /// Which of the worker's slots runs the job: 0 to `slots - 1`.
    pub fn slot(&self) -> usize {
        self.shared.slot
    }

    /// Reports how far the job is: `done` of `total` units (0 when unknown). Cheap: only the last
    /// report goes out, a few times a second at most. It also feeds the queue's stall timer.
    pub fn progress(&self, done: f64, total: f64, unit: &str, message: &str) {
        self.report(Progress {
            done,
            total,
            unit: text(unit),
            message: text(message),
        });
    }

    /// As [`Context::progress`].
    pub fn report(&self, progress: Progress) {
        let mut slot = self
            .shared
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Some(progress);
        drop(slot);
        self.shared.dirty.store(true, Ordering::Release);
    }

    /// Saves up to 64 KiB that the next attempt is handed if this one does not finish. Answers once
    /// it is synced on a majority. Fails when the lease is no longer this job's.
    pub async fn checkpoint(&self, data: impl Into<Bytes>) -> Result<(), Error> {
        let data = data.into();
        if data.len() > limits::RESULT_BYTES_MAX {
            return Err(Error::new(
                Code::TooLarge,
                format!(
                    "a checkpoint has at most {} bytes and this one has {}; put it into a blob and keep its address",
                    limits::RESULT_BYTES_MAX,
                    data.len()
                ),
            ));
        }
        let command = Command::Checkpoint {
            lease: self.shared.lease,
            session: Some(self.shared.session),
            data,
        };
        // Writing the same checkpoint twice is harmless, hence an unknown outcome is tried again.
        let reply = quorate_core::retry::idempotent(CHECKPOINT_TIMEOUT, || {
            let (service, command) = (Arc::clone(&self.service), command.clone());
            async move {
                let caller = Caller {
                    timeout: CHECKPOINT_TIMEOUT / 3,
                    ..Caller::default()
                };
                service.execute(&caller, command).await
            }
        })
        .await?;
        if let Reply::Kept {
            cancel_requested: true,
        } = reply
        {
            self.shared.stop(Stop::Cancelled);
        }
        Ok(())
    }
}

/// Text for the wire, cut to what the queue takes.
fn text(text: &str) -> Arc<str> {
    Arc::from(cut(text, limits::TEXT_BYTES_MAX))
}

/// The longest prefix of `text` of at most `bytes_max` bytes.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
