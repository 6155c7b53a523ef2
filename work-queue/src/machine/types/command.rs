//! Everything that can be asked of the queue through the log.

use super::ids::{BatchId, JobId, LeaseId, SessionId};
use super::job::{Blob, NewJob, OnDead, Settings};
use bytes::Bytes;
use quorate_core::types::Name;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A request for work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// The queue.
    pub queue: Name,
    /// Name of the worker, for people.
    pub worker: Arc<str>,
    /// Its session; one is opened when absent.
    pub session: Option<SessionId>,
    /// At most so many.
    pub max: u32,
    /// Length of each; the queue's setting when absent.
    pub lease_ms: Option<u64>,
    /// Number of the last heartbeat that was sent before this request; 0 when there was none or they
    /// carry no numbers. Only later heartbeats can tell that the answer was lost.
    pub heartbeat: u64,
}

/// How a lease ends, as its holder says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settlement {
    /// Done.
    Complete {
        /// What came out.
        result: Bytes,
        /// The result is a JSON text.
        result_is_json: bool,
        /// Files that came out.
        outputs: Vec<Blob>,
    },
    /// Not done.
    Fail {
        /// Why.
        error: Arc<str>,
        /// Whether another attempt makes sense; false is dead at once.
        retry: bool,
        /// Overrides the backoff.
        delay_ms: Option<u64>,
        /// Exit code of the worker's process.
        exit_code: Option<i32>,
        /// Signal that ended it.
        signal: Option<i32>,
        /// Last output of it.
        log_tail: Arc<str>,
    },
    /// Given back untouched: charges no attempt.
    Release,
}

/// One settlement of one lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settle {
    /// The grant.
    pub lease: LeaseId,
    /// The session that holds it, checked when given.
    pub session: Option<SessionId>,
    /// The outcome.
    pub settlement: Settlement,
}

/// Everything that can be asked of the queue through the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Creates a queue or changes its settings.
    Configure { queue: Name, settings: Settings },
    /// Deletes a queue that holds no job that is not final.
    DeleteQueue { queue: Name },
    /// Hands out no more work until resumed.
    Pause { queue: Name, paused: bool },
    /// Cancels all ready and delayed jobs.
    Purge { queue: Name },
    /// Makes dead jobs ready again, up to `max`.
    Redrive { queue: Name, max: u32 },
    /// Adds jobs, all or none. Creates the queue with defaults.
    Enqueue { queue: Name, jobs: Vec<NewJob> },
    /// Asks for work.
    Lease(LeaseRequest),
    /// Settles leases, each on its own, then asks for work in the same step.
    Settle {
        settle: Vec<Settle>,
        then: Option<LeaseRequest>,
    },
    /// New length for a lease, counted from now. The answer renews the lease: it may be trusted for
    /// the new length from before the request was sent.
    Extend {
        lease: LeaseId,
        session: Option<SessionId>,
        lease_ms: u64,
    },
    /// Durable state of an attempt, handed to the next one.
    Checkpoint {
        lease: LeaseId,
        session: Option<SessionId>,
        data: Bytes,
    },
    /// Opens a session for a worker.
    OpenSession { worker: Arc<str> },
    /// The worker stops: its leases are released.
    CloseSession { session: SessionId },
    /// Cancels a job; a running one is told and its lease revoked.
    CancelJob { job: JobId },
    /// A dead job becomes ready again with its counts reset.
    RetryJob { job: JobId },
    /// Creates a batch, with a job to run when all are final.
    CreateBatch {
        queue: Name,
        join: Option<(Name, NewJob)>,
        on_dead: OnDead,
        key: Option<Arc<str>>,
    },
    /// No more jobs: `expected` are there, at 0..expected without a gap.
    SealBatch { batch: BatchId, expected: u32 },
    /// Cancels a batch and its jobs.
    CancelBatch { batch: BatchId },
    /// Counts a dead child as final.
    SkipChild { job: JobId },
    /// Leader: the counts of these leases are over. Each with the number of its extensions when that
    /// was found: an extension that comes first voids the expiry.
    ExpireLeases {
        leases: Vec<(LeaseId, u32)>,
        cause: ExpireCause,
    },
    /// Leader: these leases get no acknowledgement any more; their end follows.
    RevokeLeases {
        leases: Vec<LeaseId>,
        cause: RevokeCause,
    },
    /// Leader: these sessions hold nothing and were silent long.
    ForgetSessions { sessions: Vec<SessionId> },
}

/// Why the leader ends a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpireCause {
    /// Its holder was silent: charged as a lost lease.
    Silent,
    /// The holder's heartbeats do not list it (the grant's answer was lost): not charged.
    Unlisted,
    /// It was revoked and its time is over; charged by the cause of the revocation.
    Revoked,
}

/// Why a lease is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevokeCause {
    /// No progress for `stall_ms`.
    Stalled,
    /// The job was cancelled.
    Cancelled,
}
