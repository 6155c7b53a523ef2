//! What answers show of queues, jobs and batches.

use super::answer::{BlobIn, blobs_in, instant, labels_in, take_bytes};
use quorate_core::types::Name;
use quorate_work_queue::machine::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CountsIn {
    pub(super) ready: u64,
    pub(super) delayed: u64,
    pub(super) leased: u64,
    pub(super) completed: u64,
    pub(super) dead: u64,
    pub(super) cancelled: u64,
}

impl From<CountsIn> for Counts {
    fn from(counts: CountsIn) -> Self {
        Self {
            ready: counts.ready,
            delayed: counts.delayed,
            leased: counts.leased,
            completed: counts.completed,
            dead: counts.dead,
            cancelled: counts.cancelled,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackoffIn {
    pub(super) initial_ms: u64,
    pub(super) max_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueIn {
    pub(super) name: Name,
    pub(super) paused: bool,
    pub(super) lease_ms: u64,
    pub(super) stall_ms: u64,
    pub(super) max_attempts: u32,
    pub(super) backoff: BackoffIn,
    pub(super) max_jobs: u64,
    pub(super) max_bytes: u64,
    pub(super) retention_ms: u64,
    pub(super) counts: CountsIn,
    pub(super) bytes: u64,
    pub(super) oldest_age_ms: u64,
}

impl From<QueueIn> for QueueView {
    fn from(queue: QueueIn) -> Self {
        Self {
            name: queue.name,
            settings: Settings {
                lease_ms: queue.lease_ms,
                stall_ms: queue.stall_ms,
                max_attempts: queue.max_attempts,
                backoff_initial_ms: queue.backoff.initial_ms,
                backoff_max_ms: queue.backoff.max_ms,
                max_jobs: queue.max_jobs,
                max_bytes: queue.max_bytes,
                retention_ms: queue.retention_ms,
            },
            paused: queue.paused,
            counts: queue.counts.into(),
            bytes: queue.bytes,
            oldest_age_ms: queue.oldest_age_ms,
        }
    }
}

pub(super) fn state(text: &str) -> State {
    match text {
        "ready" => State::Ready,
        "delayed" => State::Delayed,
        "leased" => State::Leased,
        "completed" => State::Completed,
        "dead" => State::Dead,
        "cancelled" => State::Cancelled,
        other => panic!("state {other}"),
    }
}

pub(super) fn state_text(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Delayed => "delayed",
        State::Leased => "leased",
        State::Completed => "completed",
        State::Dead => "dead",
        State::Cancelled => "cancelled",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttemptIn {
    pub(super) number: u32,
    pub(super) lease_id: String,
    pub(super) fencing_token: u64,
    pub(super) worker: String,
    pub(super) started_at: String,
    pub(super) ended_at: Option<String>,
    pub(super) outcome: Option<String>,
    pub(super) error: String,
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) log_tail: String,
}

impl From<AttemptIn> for Attempt {
    fn from(attempt: AttemptIn) -> Self {
        let lease: LeaseId = attempt.lease_id.parse().unwrap();
        assert_eq!(attempt.fencing_token, lease.token().0);
        Self {
            number: attempt.number,
            lease,
            worker: attempt.worker.into(),
            started: instant(&attempt.started_at),
            ended: attempt.ended_at.as_deref().map(instant),
            outcome: attempt.outcome.map(|outcome| match outcome.as_str() {
                "completed" => AttemptOutcome::Completed,
                "failed" => AttemptOutcome::Failed,
                "lost" => AttemptOutcome::Lost,
                "released" => AttemptOutcome::Released,
                "unclaimed" => AttemptOutcome::Unclaimed,
                "stalled" => AttemptOutcome::Stalled,
                "cancelled" => AttemptOutcome::Cancelled,
                other => panic!("outcome {other}"),
            }),
            error: attempt.error.into(),
            exit_code: attempt.exit_code,
            signal: attempt.signal,
            log_tail: attempt.log_tail.into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgressIn {
    pub(super) done: f64,
    pub(super) total: f64,
    pub(super) unit: String,
    pub(super) message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobIn {
    pub(super) id: String,
    pub(super) queue: Name,
    pub(super) state: String,
    pub(super) payload: Option<Box<RawValue>>,
    payload_base64: Option<String>,
    pub(super) inputs: Vec<BlobIn>,
    pub(super) priority: u8,
    pub(super) not_before: Option<String>,
    pub(super) dedupe_key: Option<String>,
    pub(super) max_attempts: Option<u32>,
    pub(super) batch: Option<String>,
    pub(super) index: Option<u32>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) traceparent: Option<String>,
    pub(super) enqueued_at: String,
    pub(super) finished_at: Option<String>,
    pub(super) ready_at: Option<String>,
    pub(super) failures: u32,
    pub(super) losses: u32,
    pub(super) releases: u32,
    pub(super) attempts: Vec<AttemptIn>,
    pub(super) progress: Option<ProgressIn>,
    pub(super) result: Option<Box<RawValue>>,
    result_base64: Option<String>,
    pub(super) outputs: Vec<BlobIn>,
    pub(super) waiting: String,
    pub(super) dead_reason: String,
    pub(super) cancel_requested: bool,
}

impl From<JobIn> for JobView {
    fn from(job: JobIn) -> Self {
        let (payload, payload_is_json) = take_bytes(job.payload, job.payload_base64).unwrap();
        let result = take_bytes(job.result, job.result_base64);
        let batch = job.batch.map(|batch| batch.parse().unwrap());
        Self {
            id: job.id.parse().unwrap(),
            queue: job.queue,
            state: state(&job.state),
            job: NewJob {
                payload,
                payload_is_json,
                inputs: blobs_in(job.inputs),
                priority: job.priority,
                not_before: job.not_before.as_deref().map(instant),
                dedupe_key: job.dedupe_key.map(Arc::from),
                max_attempts: job.max_attempts,
                batch: batch.zip(job.index),
                labels: labels_in(job.labels),
                traceparent: job.traceparent.map(Arc::from),
            },
            enqueued: instant(&job.enqueued_at),
            finished: job.finished_at.as_deref().map(instant),
            ready_at: job.ready_at.as_deref().map(instant),
            failures: job.failures,
            losses: job.losses,
            releases: job.releases,
            attempts: job.attempts.into_iter().map(Attempt::from).collect(),
            progress: job.progress.map(|progress| Progress {
                done: progress.done,
                total: progress.total,
                unit: progress.unit.into(),
                message: progress.message.into(),
            }),
            result_is_json: result.as_ref().is_some_and(|(_, json)| *json),
            result: result.map(|(bytes, _)| bytes),
            outputs: blobs_in(job.outputs),
            waiting: job.waiting,
            dead_reason: job.dead_reason.into(),
            cancel_requested: job.cancel_requested,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchIn {
    pub(super) id: String,
    pub(super) key: Option<String>,
    pub(super) queue: Name,
    pub(super) state: String,
    pub(super) on_dead: String,
    pub(super) expected: Option<u32>,
    pub(super) counts: CountsIn,
    pub(super) skipped: u64,
    pub(super) join_job_id: Option<String>,
    pub(super) created_at: String,
    pub(super) finished_at: Option<String>,
    pub(super) eta_ms: Option<u64>,
}

impl From<BatchIn> for BatchView {
    fn from(batch: BatchIn) -> Self {
        Self {
            id: batch.id.parse().unwrap(),
            key: batch.key.map(Arc::from),
            queue: batch.queue,
            state: match batch.state.as_str() {
                "open" => BatchState::Open,
                "running" => BatchState::Running,
                "held" => BatchState::Held,
                "joining" => BatchState::Joining,
                "completed" => BatchState::Completed,
                "dead" => BatchState::Dead,
                "cancelled" => BatchState::Cancelled,
                other => panic!("state {other}"),
            },
            on_dead: match batch.on_dead.as_str() {
                "hold" => OnDead::Hold,
                "join" => OnDead::Join,
                "cancel" => OnDead::Cancel,
                other => panic!("on_dead {other}"),
            },
            expected: batch.expected,
            counts: batch.counts.into(),
            skipped: batch.skipped,
            join: batch.join_job_id.map(|job| job.parse().unwrap()),
            created: instant(&batch.created_at),
            finished: batch.finished_at.as_deref().map(instant),
            eta_ms: batch.eta_ms,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChildIn {
    pub(super) index: u32,
    pub(super) job_id: String,
    pub(super) state: String,
    pub(super) attempts: u32,
    pub(super) result: Option<Box<RawValue>>,
    result_base64: Option<String>,
    pub(super) outputs: Vec<BlobIn>,
}

impl From<ChildIn> for ChildView {
    fn from(child: ChildIn) -> Self {
        let result = take_bytes(child.result, child.result_base64);
        Self {
            index: child.index,
            job: child.job_id.parse().unwrap(),
            state: state(&child.state),
            attempts: child.attempts,
            result_is_json: result.as_ref().is_some_and(|(_, json)| *json),
            result: result.map(|(bytes, _)| bytes),
            outputs: blobs_in(child.outputs),
        }
    }
}
