//! The vocabulary of the queue: what is asked, what is answered, what is kept.
//!
//! These types are what the log holds, so they are encoded by `quorate_core::codec` (no untagged,
//! flattened or skipped fields, new variants only at the end) and know nothing of JSON or protobuf.

#![allow(
    missing_docs,
    reason = "fields of enum variants say what they are by name and type; variants and structs are documented"
)]

use bytes::Bytes;
use quorate_core::error::Error;
use quorate_core::types::{FencingToken, LogTime, Name};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Bounds of the queue, each with its reason.
pub mod limits {
    /// Longest payload kept inline; larger things are blobs.
    pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
    /// Jobs in one atomic enqueue: one entry stays a few MiB.
    pub const JOBS_PER_ENQUEUE_MAX: usize = 1_000;
    /// Leases in one answer, settlements in one request.
    pub const LEASES_PER_REQUEST_MAX: usize = 1_000;
    /// Payloads in one enqueue, results in one settlement, in bytes: what one log entry takes in.
    pub const REQUEST_BYTES_MAX: usize = 4 << 20;
    /// Payloads in one answer to a request for work, and views in one page, in bytes. An answer goes
    /// over by its last item at the most, which keeps it below the 4 MiB of a gRPC message.
    pub const ANSWER_BYTES_MAX: usize = 2 << 20;
    /// Blobs of one job.
    pub const INPUTS_MAX: usize = 16;
    /// Labels of one job.
    pub const LABELS_MAX: usize = 16;
    /// Longest label key or value, worker name, dedupe key, uri.
    pub const TEXT_BYTES_MAX: usize = 1024;
    /// Longest result or checkpoint.
    pub const RESULT_BYTES_MAX: usize = 64 * 1024;
    /// Longest kept tail of a worker's output.
    pub const LOG_TAIL_BYTES_MAX: usize = 4 * 1024;
    /// Longest kept error text.
    pub const ERROR_BYTES_MAX: usize = 2 * 1024;
    /// Attempts kept with a job; older ones are counted only.
    pub const ATTEMPTS_KEPT_MAX: usize = 20;
    /// Jobs of one batch.
    pub const BATCH_JOBS_MAX: u32 = 1_000_000;
    /// Queues of one cluster.
    pub const QUEUES_MAX: usize = 10_000;
    /// Worker sessions of one cluster.
    pub const SESSIONS_MAX: usize = 100_000;
    /// Shortest and longest lease.
    pub const LEASE_MS: std::ops::RangeInclusive<u64> = 500..=86_400_000;
    /// Longest wait of a long-poll.
    pub const WAIT_MS_MAX: u64 = 60_000;
    /// Items of one page.
    pub const PAGE_MAX: u32 = 1_000;
    /// Leases in one heartbeat.
    pub const LEASES_PER_RENEWAL_MAX: usize = 10_000;
    /// Times a job may be given back, or granted to a worker that never hears of it, before it is
    /// dead: a job that every worker declines must not circle for ever.
    pub const RELEASES_MAX: u32 = 1_000;
    /// Longest delay of a retry.
    pub const DELAY_MS_MAX: u64 = 366 * 86_400_000;
    /// Highest number of attempts a queue or a job may ask for.
    pub const ATTEMPTS_MAX: u32 = 1_000;
    /// Batches of one cluster.
    pub const BATCHES_MAX: usize = 100_000;
    /// Completed and cancelled jobs that a queue keeps for inspection; above it the oldest go before
    /// their retention is over. Jobs of a batch are not among them: they count as held by the queue.
    pub const KEPT_JOBS_MAX: u64 = 100_000;
    /// Bytes of those.
    pub const KEPT_BYTES_MAX: u64 = 256 << 20;
    /// Dead jobs made ready by one redrive.
    pub const REDRIVE_MAX: u32 = 10_000;
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident $prefix:literal) => {
        $(#[$doc])*
        ///
        /// Users see an opaque text: a letter for the kind, the format version `1`, and the number in
        /// hexadecimal. The top 12 bits are the slot, which maps to a group (always 0 today).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "1{:016x}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                text.strip_prefix(concat!($prefix, "1"))
                    .filter(|hex| hex.len() == 16 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                    .and_then(|hex| u64::from_str_radix(hex, 16).ok())
                    .map(Self)
                    .ok_or_else(|| Error::invalid(format!(
                        "{:?} is not a {}; pass the text exactly as it was answered",
                        text.chars().take(64).collect::<String>(), stringify!($name),
                    )))
            }
        }
    };
}

id! {
    /// A job.
    JobId "j"
}
id! {
    /// A batch of jobs that are joined.
    BatchId "b"
}
id! {
    /// One incarnation of a worker, issued by the queue.
    SessionId "s"
}
id! {
    /// One grant of one job. Its number is the grant's fencing token.
    LeaseId "l"
}

impl SessionId {
    /// No session: a request for work that ended without any and named none is answered with it, and
    /// a request that names it is one that names none.
    pub const NONE: Self = Self(0);
}

impl LeaseId {
    /// The fencing token of this grant.
    pub fn token(self) -> FencingToken {
        FencingToken(self.0)
    }
}

/// A file outside the queue: what payloads over 64 KiB and films are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// `file:///…` or `s3://…`, or a name within the cluster's blob store.
    pub uri: Arc<str>,
    /// Lower-case hex SHA-256 of the content; empty when unknown (an input that the queue did not make).
    pub sha256: Arc<str>,
    /// Bytes.
    pub size: u64,
}

/// A job as it is enqueued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJob {
    /// Opaque bytes, handed out byte for byte.
    pub payload: Bytes,
    /// Content type of the payload: true when it is a JSON text and REST shows it as such.
    pub payload_is_json: bool,
    /// Files it needs.
    pub inputs: Vec<Blob>,
    /// 0 (first) to 15; FIFO within. Default 8.
    pub priority: u8,
    /// Not before this time.
    pub not_before: Option<LogTime>,
    /// A second job with the same key in the same queue is answered with the first one's id as long as
    /// that job is kept.
    pub dedupe_key: Option<Arc<str>>,
    /// Failed attempts before it is dead; the queue's setting when absent.
    pub max_attempts: Option<u32>,
    /// The batch it belongs to, and its place in it. A second job at the same place is the first one.
    pub batch: Option<(BatchId, u32)>,
    /// Free labels, sorted by key, for lists.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// W3C trace context of the enqueuer.
    pub traceparent: Option<Arc<str>>,
}

impl NewJob {
    /// The priority of a job that names none.
    pub const PRIORITY_DEFAULT: u8 = 8;
    /// The last priority.
    pub const PRIORITY_MAX: u8 = 15;
}

impl Default for NewJob {
    /// An empty payload at the default priority.
    fn default() -> Self {
        Self {
            payload: Bytes::new(),
            payload_is_json: false,
            inputs: Vec::new(),
            priority: Self::PRIORITY_DEFAULT,
            not_before: None,
            dedupe_key: None,
            max_attempts: None,
            batch: None,
            labels: Vec::new(),
            traceparent: None,
        }
    }
}

/// Settings of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Default lease length.
    pub lease_ms: u64,
    /// A lease whose progress does not change for so long is revoked; 0 is off.
    pub stall_ms: u64,
    /// Failed attempts before a job is dead. Lost leases (crashes) are bounded by the same number, apart.
    pub max_attempts: u32,
    /// First delay after a failure; doubles with each, with ±10 % deterministic jitter.
    pub backoff_initial_ms: u64,
    /// Longest delay.
    pub backoff_max_ms: u64,
    /// Jobs that are not final, at the most.
    pub max_jobs: u64,
    /// Payload bytes of jobs that are not final, at the most.
    pub max_bytes: u64,
    /// How long final jobs are kept.
    pub retention_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_ms: 30_000,
            stall_ms: 0,
            max_attempts: 5,
            backoff_initial_ms: 1_000,
            backoff_max_ms: 300_000,
            max_jobs: 10_000_000,
            max_bytes: 8 << 30,
            retention_ms: 86_400_000,
        }
    }
}

/// What a batch does about a dead child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDead {
    /// Waits until the child is retried or skipped.
    #[default]
    Hold,
    /// Counts it as final and joins all the same.
    Join,
    /// Cancels the batch.
    Cancel,
}

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

/// A job handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The grant.
    pub id: LeaseId,
    /// The job.
    pub job: JobId,
    /// Its queue.
    pub queue: Name,
    /// 1 for the first.
    pub attempt: u32,
    /// d.
    pub lease_ms: u64,
    /// As enqueued.
    pub payload: Bytes,
    /// As enqueued.
    pub payload_is_json: bool,
    /// As enqueued. For a join job: the manifest is read with [`Query::BatchResults`].
    pub inputs: Vec<Blob>,
    /// As enqueued.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// The last checkpoint of an earlier attempt.
    pub checkpoint: Option<Bytes>,
    /// As enqueued.
    pub traceparent: Option<Arc<str>>,
    /// Set for a join job: the batch whose children it joins.
    pub joins: Option<BatchId>,
    /// Set for a child.
    pub batch: Option<(BatchId, u32)>,
}

/// The outcome of one settlement in a request of many.
pub type Settled = Result<(), Error>;

/// Answers to [`Command`]s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// Ids in the order of the request; true for a duplicate.
    Enqueued(Vec<(JobId, bool)>),
    /// Granted leases; empty when there was nothing.
    Leased {
        session: SessionId,
        leases: Vec<Lease>,
    },
    /// One outcome for each settlement, then the leases if they were asked for.
    Settled {
        outcomes: Vec<Settled>,
        leased: Option<(SessionId, Vec<Lease>)>,
    },
    /// The session.
    Session(SessionId),
    /// The batch; true if the key named an existing one.
    Batch(BatchId, bool),
    /// How many jobs were affected.
    Count(u64),
    /// Answer to Extend and Checkpoint: whether the holder should stop.
    Kept { cancel_requested: bool },
}

/// Where a job stands. Each job is in exactly one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Waits for a worker.
    Ready,
    /// Waits for its time.
    Delayed,
    /// A worker has it.
    Leased,
    /// Final: done.
    Completed,
    /// Out of attempts, or a worker said that no attempt can succeed. Not final for a batch on hold.
    Dead,
    /// Final: cancelled.
    Cancelled,
}

/// One attempt of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// The grant.
    pub lease: LeaseId,
    /// Name of the worker.
    pub worker: Arc<str>,
    /// When it was granted.
    pub started: LogTime,
    /// When it ended.
    pub ended: Option<LogTime>,
    /// How it ended.
    pub outcome: Option<AttemptOutcome>,
    /// The worker's words.
    pub error: Arc<str>,
    /// Exit code.
    pub exit_code: Option<i32>,
    /// Signal.
    pub signal: Option<i32>,
    /// Last output.
    pub log_tail: Arc<str>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AttemptOutcome {
    /// Completed.
    Completed,
    /// The worker reported a failure.
    Failed,
    /// The worker was silent.
    Lost,
    /// The worker gave it back.
    Released,
    /// The grant never reached the worker.
    Unclaimed,
    /// No progress.
    Stalled,
    /// Cancelled.
    Cancelled,
}

/// How far an attempt is; kept by the leader only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: f64,
    /// Units in all; 0 when unknown.
    pub total: f64,
    /// `frames`, `bytes`, …
    pub unit: Arc<str>,
    /// For people.
    pub message: Arc<str>,
}

/// All that is known of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Id.
    pub id: JobId,
    /// Queue.
    pub queue: Name,
    /// State.
    pub state: State,
    /// As enqueued.
    pub job: NewJob,
    /// When it was enqueued.
    pub enqueued: LogTime,
    /// When it became final.
    pub finished: Option<LogTime>,
    /// When it will be ready, if delayed.
    pub ready_at: Option<LogTime>,
    /// Failed attempts.
    pub failures: u32,
    /// Lost leases.
    pub losses: u32,
    /// Releases.
    pub releases: u32,
    /// The last attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// The worker's progress.
    pub progress: Option<Progress>,
    /// The recorded outcome.
    pub result: Option<Bytes>,
    /// The result is a JSON text.
    pub result_is_json: bool,
    /// Files that came out.
    pub outputs: Vec<Blob>,
    /// Why it is not running, for people; empty when it is or is final.
    pub waiting: String,
    /// Why it is dead.
    pub dead_reason: Arc<str>,
    /// A cancel was asked for and its lease has not ended.
    pub cancel_requested: bool,
}

/// Counts by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Ready.
    pub ready: u64,
    /// Delayed.
    pub delayed: u64,
    /// Leased.
    pub leased: u64,
    /// Completed and still kept.
    pub completed: u64,
    /// Dead.
    pub dead: u64,
    /// Cancelled and still kept.
    pub cancelled: u64,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// Name.
    pub name: Name,
    /// Settings.
    pub settings: Settings,
    /// Paused.
    pub paused: bool,
    /// Counts.
    pub counts: Counts,
    /// Payload bytes of jobs that are not final.
    pub bytes: u64,
    /// Age of the oldest ready job.
    pub oldest_age_ms: u64,
}

/// State of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BatchState {
    /// Takes jobs.
    Open,
    /// Sealed; children run.
    Running,
    /// A dead child holds the join.
    Held,
    /// All children are final and the join job runs.
    Joining,
    /// The join is completed, or there was none and all children are final.
    Completed,
    /// The join job is dead.
    Dead,
    /// Cancelled.
    Cancelled,
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchView {
    /// Id.
    pub id: BatchId,
    /// The key it was created under, if any: a second create answers this batch.
    pub key: Option<Arc<str>>,
    /// Default queue of its children.
    pub queue: Name,
    /// State.
    pub state: BatchState,
    /// What it does about a dead child.
    pub on_dead: OnDead,
    /// Number of children when sealed.
    pub expected: Option<u32>,
    /// Children by state.
    pub counts: Counts,
    /// Dead children that were skipped.
    pub skipped: u64,
    /// The join job once it was fired.
    pub join: Option<JobId>,
    /// When it was created.
    pub created: LogTime,
    /// When it became final.
    pub finished: Option<LogTime>,
    /// Estimated time to the end of the children, from the rate so far.
    pub eta_ms: Option<u64>,
}

/// One line of a batch's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildView {
    /// Place in the batch.
    pub index: u32,
    /// The job.
    pub job: JobId,
    /// State.
    pub state: State,
    /// Attempts so far.
    pub attempts: u32,
    /// Recorded outcome.
    pub result: Option<Bytes>,
    /// The result is a JSON text.
    pub result_is_json: bool,
    /// Files.
    pub outputs: Vec<Blob>,
}

/// Questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// One queue.
    Queue { queue: Name },
    /// Queues after this name.
    Queues { after: Option<Name>, limit: u32 },
    /// One job.
    Job { job: JobId },
    /// Jobs of a queue after this id.
    Jobs {
        queue: Name,
        state: Option<State>,
        label: Option<(Arc<str>, Arc<str>)>,
        after: Option<JobId>,
        limit: u32,
    },
    /// One batch.
    Batch { batch: BatchId },
    /// Batches after this id.
    Batches { after: Option<BatchId>, limit: u32 },
    /// Children from this index on.
    BatchResults {
        batch: BatchId,
        from: u32,
        limit: u32,
    },
}

/// Answers to [`Query`]s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// One queue.
    Queue(Box<QueueView>),
    /// A page, and the `after` of the next one.
    Queues(Vec<QueueView>, Option<Name>),
    /// One job.
    Job(Box<JobView>),
    /// A page, and the `after` of the next one. A page may be short or even empty and still have a
    /// next one: it is bounded in bytes, and a filter looks at a bounded number of jobs.
    Jobs(Vec<JobView>, Option<JobId>),
    /// One batch.
    Batch(Box<BatchView>),
    /// A page, and the `after` of the next one.
    Batches(Vec<BatchView>, Option<BatchId>),
    /// A page of children by index, and the `from` of the next one. Pages are bounded in bytes too, so
    /// one may be shorter than was asked for.
    BatchResults(Vec<ChildView>, Option<u32>),
}

/// A heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Renewal {
    /// The session. [`SessionId::NONE`] in a report of progress on one lease stands for the session that
    /// holds it.
    pub session: SessionId,
    /// Number of this heartbeat within the session, from 1 and growing; 0 when the sender counts none.
    pub number: u64,
    /// All leases it holds, those included whose settlement is not answered yet. One that is missing
    /// in two numbered heartbeats in a row is released without charging an attempt, so a holder drops a
    /// grant that arrives when two heartbeats were sent since its request.
    pub leases: Vec<LeaseId>,
    /// How far some of them are.
    pub progress: Vec<(LeaseId, Progress)>,
    /// True for a heartbeat proper; false for a report of progress, whose list is not complete.
    pub complete: bool,
}

/// The acknowledgement of a heartbeat: for each listed lease, whether it is live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// Live, and may be trusted for their length from before the heartbeat was sent.
    pub live: Vec<LeaseId>,
    /// Ended or ending: stop the work.
    pub ended: Vec<LeaseId>,
    /// Among those ended: a cancel was asked for.
    pub cancelled: Vec<LeaseId>,
}

/// Effects of applied entries, for waiters, the leader's counts and event streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Jobs of this queue became ready.
    Ready { queue: Name },
    /// A lease was granted or got a new length: its count starts.
    Granted {
        lease: LeaseId,
        session: SessionId,
        job: JobId,
        lease_ms: u64,
        stall_ms: u64,
        /// How often its length was changed; 0 for the grant itself.
        extensions: u32,
    },
    /// A lease gets no acknowledgement any more.
    Revoking { lease: LeaseId, cause: RevokeCause },
    /// A lease ended.
    Ended { lease: LeaseId },
    /// A session began.
    SessionOpened { session: SessionId },
    /// A session ended.
    SessionClosed { session: SessionId },
    /// A job changed its state.
    Job { job: JobId, state: State },
    /// A batch changed its state.
    Batch { batch: BatchId, state: BatchState },
}

/// How long a session that holds nothing may be silent before it is forgotten.
pub const SESSION_IDLE: Duration = Duration::from_secs(300);
