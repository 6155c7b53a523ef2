//! How jobs, queues and batches stand, as they are shown.

use super::ids::{BatchId, JobId, LeaseId};
use super::job::{Blob, NewJob, OnDead, Settings};
use bytes::Bytes;
use quorate_core::types::{LogTime, Name};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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
