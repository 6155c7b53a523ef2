//! A job as it is seen.

use crate::api::rest::instant::Instant;
use crate::api::rest::values::{AnyJson, Base64, BlobDto, blobs_out, labels_out, shown, shown_if};
use crate::machine::{Attempt, AttemptOutcome, JobView, Progress, State as JobState};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Where a job stands.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = JobState)]
pub(in crate::api::rest) enum StateDto {
    Ready,
    Delayed,
    Leased,
    Completed,
    Dead,
    Cancelled,
}

impl From<StateDto> for JobState {
    fn from(state: StateDto) -> Self {
        match state {
            StateDto::Ready => Self::Ready,
            StateDto::Delayed => Self::Delayed,
            StateDto::Leased => Self::Leased,
            StateDto::Completed => Self::Completed,
            StateDto::Dead => Self::Dead,
            StateDto::Cancelled => Self::Cancelled,
        }
    }
}

impl From<JobState> for StateDto {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Ready => Self::Ready,
            JobState::Delayed => Self::Delayed,
            JobState::Leased => Self::Leased,
            JobState::Completed => Self::Completed,
            JobState::Dead => Self::Dead,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// A job.
#[derive(Serialize, ToSchema)]
pub(super) struct Job {
    id: String,
    queue: String,
    state: StateDto,
    /// The payload, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<AnyJson>)]
    payload: Option<Box<RawValue>>,
    /// The payload otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, content_encoding = "base64")]
    payload_base64: Option<Base64>,
    inputs: Vec<BlobDto>,
    priority: u8,
    not_before: Option<Instant>,
    dedupe_key: Option<String>,
    max_attempts: Option<u32>,
    batch: Option<String>,
    index: Option<u32>,
    labels: BTreeMap<String, String>,
    traceparent: Option<String>,
    enqueued_at: Instant,
    finished_at: Option<Instant>,
    /// When it will be ready, if delayed.
    ready_at: Option<Instant>,
    /// Failed attempts.
    failures: u32,
    /// Lost leases.
    losses: u32,
    /// Times it was given back.
    releases: u32,
    /// The last attempts, oldest first.
    attempts: Vec<AttemptOut>,
    progress: Option<ProgressDto>,
    /// The recorded outcome, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<AnyJson>)]
    result: Option<Box<RawValue>>,
    /// The recorded outcome otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, content_encoding = "base64")]
    result_base64: Option<Base64>,
    outputs: Vec<BlobDto>,
    /// Why it is not running; empty when it is or is final.
    waiting: String,
    dead_reason: String,
    /// A cancel was asked for and its lease has not ended.
    cancel_requested: bool,
}

impl From<JobView> for Job {
    fn from(view: JobView) -> Self {
        let job = view.job;
        let (payload, payload_base64) = shown(job.payload, job.payload_is_json);
        let (result, result_base64) = shown_if(view.result, view.result_is_json);
        Self {
            id: view.id.to_string(),
            queue: view.queue.to_string(),
            state: view.state.into(),
            payload,
            payload_base64,
            inputs: blobs_out(job.inputs),
            priority: job.priority,
            not_before: job.not_before.map(Instant),
            dedupe_key: job.dedupe_key.map(|key| key.to_string()),
            max_attempts: job.max_attempts,
            batch: job.batch.map(|(batch, _)| batch.to_string()),
            index: job.batch.map(|(_, index)| index),
            labels: labels_out(job.labels),
            traceparent: job.traceparent.map(|value| value.to_string()),
            enqueued_at: Instant(view.enqueued),
            finished_at: view.finished.map(Instant),
            ready_at: view.ready_at.map(Instant),
            failures: view.failures,
            losses: view.losses,
            releases: view.releases,
            attempts: view.attempts.into_iter().map(AttemptOut::from).collect(),
            progress: view.progress.map(ProgressDto::from),
            result,
            result_base64,
            outputs: blobs_out(view.outputs),
            waiting: view.waiting,
            dead_reason: view.dead_reason.to_string(),
            cancel_requested: view.cancel_requested,
        }
    }
}

/// An attempt of a job.
#[derive(Serialize, ToSchema)]
#[schema(as = Attempt)]
struct AttemptOut {
    /// 1 for the first.
    number: u32,
    lease_id: String,
    fencing_token: u64,
    worker: String,
    started_at: Instant,
    ended_at: Option<Instant>,
    /// How it ended; null while it runs.
    outcome: Option<OutcomeOut>,
    error: String,
    exit_code: Option<i32>,
    signal: Option<i32>,
    log_tail: String,
}

/// How an attempt ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AttemptOutcome)]
enum OutcomeOut {
    Completed,
    Failed,
    /// The worker was silent.
    Lost,
    Released,
    /// The grant never reached the worker.
    Unclaimed,
    /// No progress.
    Stalled,
    Cancelled,
}

impl From<Attempt> for AttemptOut {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            lease_id: attempt.lease.to_string(),
            fencing_token: attempt.lease.token().0,
            worker: attempt.worker.to_string(),
            started_at: Instant(attempt.started),
            ended_at: attempt.ended.map(Instant),
            outcome: attempt.outcome.map(|outcome| match outcome {
                AttemptOutcome::Completed => OutcomeOut::Completed,
                AttemptOutcome::Failed => OutcomeOut::Failed,
                AttemptOutcome::Lost => OutcomeOut::Lost,
                AttemptOutcome::Released => OutcomeOut::Released,
                AttemptOutcome::Unclaimed => OutcomeOut::Unclaimed,
                AttemptOutcome::Stalled => OutcomeOut::Stalled,
                AttemptOutcome::Cancelled => OutcomeOut::Cancelled,
            }),
            error: attempt.error.to_string(),
            exit_code: attempt.exit_code,
            signal: attempt.signal,
            log_tail: attempt.log_tail.to_string(),
        }
    }
}

/// How far an attempt is.
#[derive(Serialize, ToSchema)]
#[schema(as = Progress)]
struct ProgressDto {
    done: f64,
    /// 0 when unknown.
    total: f64,
    unit: String,
    message: String,
}

impl From<Progress> for ProgressDto {
    fn from(progress: Progress) -> Self {
        Self {
            done: progress.done,
            total: progress.total,
            unit: progress.unit.to_string(),
            message: progress.message.to_string(),
        }
    }
}
