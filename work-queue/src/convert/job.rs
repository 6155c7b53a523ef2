//! Jobs, as they are enqueued and as they are seen.

use super::{id, name, optional_text, required, text, within};
use crate::machine::{
    Attempt, AttemptOutcome, BatchId, Blob, JobId, JobView, LeaseId, NewJob, Progress, State,
};
use quorate_core::error::Error;
use quorate_core::types::LogTime;
use quorate_proto::queue as pb;
use std::sync::Arc;

pub(super) fn blobs_into(blobs: Vec<Blob>) -> Vec<pb::Blob> {
    blobs
        .into_iter()
        .map(|blob| pb::Blob {
            uri: blob.uri.to_string(),
            sha256: blob.sha256.to_string(),
            size: blob.size,
        })
        .collect()
}

pub(super) fn blobs_from(blobs: Vec<pb::Blob>) -> Vec<Blob> {
    blobs
        .into_iter()
        .map(|blob| Blob {
            uri: text(blob.uri),
            sha256: text(blob.sha256),
            size: blob.size,
        })
        .collect()
}

pub(super) fn labels_into(labels: Vec<(Arc<str>, Arc<str>)>) -> Vec<pb::Label> {
    labels
        .into_iter()
        .map(|(key, value)| pb::Label {
            key: key.to_string(),
            value: value.to_string(),
        })
        .collect()
}

/// Sorted by key, as the machine keeps them; [`crate::check`] refuses a key that comes twice.
pub(super) fn labels_from(labels: Vec<pb::Label>) -> Vec<(Arc<str>, Arc<str>)> {
    let mut labels: Vec<_> = labels
        .into_iter()
        .map(|label| (text(label.key), text(label.value)))
        .collect();
    labels.sort();
    labels
}

pub(super) fn place_into((batch, index): (BatchId, u32)) -> pb::Place {
    pb::Place {
        batch: batch.0,
        index,
    }
}

pub(super) fn place_from(place: pb::Place) -> Result<(BatchId, u32), Error> {
    Ok((BatchId(id("batch.batch", place.batch)?), place.index))
}

/// To protobuf.
pub fn new_job_into(job: NewJob) -> pb::NewJob {
    pb::NewJob {
        payload: job.payload,
        payload_is_json: job.payload_is_json,
        inputs: blobs_into(job.inputs),
        priority: Some(u32::from(job.priority)),
        not_before_ms: job.not_before.map(|time| time.0),
        dedupe_key: job.dedupe_key.map(|key| key.to_string()),
        max_attempts: job.max_attempts,
        batch: job.batch.map(place_into),
        labels: labels_into(job.labels),
        traceparent: job.traceparent.map(|value| value.to_string()),
    }
}

/// From protobuf.
pub fn new_job_from(job: pb::NewJob) -> Result<NewJob, Error> {
    let priority = match job.priority {
        None => NewJob::PRIORITY_DEFAULT,
        Some(priority) => u8::try_from(priority).map_err(|_| {
            Error::invalid(format!(
                "priority: {priority} is out of range; use 0 (first) to 15 (last)"
            ))
        })?,
    };
    Ok(NewJob {
        payload: job.payload,
        payload_is_json: job.payload_is_json,
        inputs: blobs_from(job.inputs),
        priority,
        not_before: job.not_before_ms.map(LogTime),
        dedupe_key: optional_text(job.dedupe_key),
        max_attempts: job.max_attempts,
        batch: job.batch.map(place_from).transpose()?,
        labels: labels_from(job.labels),
        traceparent: optional_text(job.traceparent),
    })
}

pub(super) fn new_jobs_from(jobs: Vec<pb::NewJob>) -> Result<Vec<NewJob>, Error> {
    jobs.into_iter()
        .enumerate()
        .map(|(i, job)| new_job_from(job).map_err(|e| within(format_args!("jobs[{i}]"), e)))
        .collect()
}

pub(super) fn state_into(state: State) -> pb::JobState {
    match state {
        State::Ready => pb::JobState::Ready,
        State::Delayed => pb::JobState::Delayed,
        State::Leased => pb::JobState::Leased,
        State::Completed => pb::JobState::Completed,
        State::Dead => pb::JobState::Dead,
        State::Cancelled => pb::JobState::Cancelled,
    }
}

pub(super) fn optional_state_from(number: i32) -> Result<Option<State>, Error> {
    match pb::JobState::try_from(number) {
        Ok(pb::JobState::Unspecified) => Ok(None),
        Ok(pb::JobState::Ready) => Ok(Some(State::Ready)),
        Ok(pb::JobState::Delayed) => Ok(Some(State::Delayed)),
        Ok(pb::JobState::Leased) => Ok(Some(State::Leased)),
        Ok(pb::JobState::Completed) => Ok(Some(State::Completed)),
        Ok(pb::JobState::Dead) => Ok(Some(State::Dead)),
        Ok(pb::JobState::Cancelled) => Ok(Some(State::Cancelled)),
        Err(_) => Err(Error::invalid(format!(
            "state: {number} is not a JobState this server knows"
        ))),
    }
}

pub(super) fn state_from(number: i32) -> Result<State, Error> {
    required("state", optional_state_from(number)?)
}

fn outcome_into(outcome: Option<AttemptOutcome>) -> pb::AttemptOutcome {
    match outcome {
        None => pb::AttemptOutcome::Unspecified,
        Some(AttemptOutcome::Completed) => pb::AttemptOutcome::Completed,
        Some(AttemptOutcome::Failed) => pb::AttemptOutcome::Failed,
        Some(AttemptOutcome::Lost) => pb::AttemptOutcome::Lost,
        Some(AttemptOutcome::Released) => pb::AttemptOutcome::Released,
        Some(AttemptOutcome::Unclaimed) => pb::AttemptOutcome::Unclaimed,
        Some(AttemptOutcome::Stalled) => pb::AttemptOutcome::Stalled,
        Some(AttemptOutcome::Cancelled) => pb::AttemptOutcome::Cancelled,
    }
}

fn outcome_from(number: i32) -> Result<Option<AttemptOutcome>, Error> {
    match pb::AttemptOutcome::try_from(number) {
        Ok(pb::AttemptOutcome::Unspecified) => Ok(None),
        Ok(pb::AttemptOutcome::Completed) => Ok(Some(AttemptOutcome::Completed)),
        Ok(pb::AttemptOutcome::Failed) => Ok(Some(AttemptOutcome::Failed)),
        Ok(pb::AttemptOutcome::Lost) => Ok(Some(AttemptOutcome::Lost)),
        Ok(pb::AttemptOutcome::Released) => Ok(Some(AttemptOutcome::Released)),
        Ok(pb::AttemptOutcome::Unclaimed) => Ok(Some(AttemptOutcome::Unclaimed)),
        Ok(pb::AttemptOutcome::Stalled) => Ok(Some(AttemptOutcome::Stalled)),
        Ok(pb::AttemptOutcome::Cancelled) => Ok(Some(AttemptOutcome::Cancelled)),
        Err(_) => Err(Error::invalid(format!(
            "outcome: {number} is not an AttemptOutcome this build knows"
        ))),
    }
}

fn attempt_into(attempt: Attempt) -> pb::Attempt {
    pb::Attempt {
        number: attempt.number,
        lease: attempt.lease.0,
        worker: attempt.worker.to_string(),
        started_ms: attempt.started.0,
        ended_ms: attempt.ended.map(|time| time.0),
        outcome: outcome_into(attempt.outcome).into(),
        error: attempt.error.to_string(),
        exit_code: attempt.exit_code,
        signal: attempt.signal,
        log_tail: attempt.log_tail.to_string(),
    }
}

fn attempt_from(attempt: pb::Attempt) -> Result<Attempt, Error> {
    Ok(Attempt {
        number: attempt.number,
        lease: LeaseId(attempt.lease),
        worker: text(attempt.worker),
        started: LogTime(attempt.started_ms),
        ended: attempt.ended_ms.map(LogTime),
        outcome: outcome_from(attempt.outcome)?,
        error: text(attempt.error),
        exit_code: attempt.exit_code,
        signal: attempt.signal,
        log_tail: text(attempt.log_tail),
    })
}

pub(super) fn progress_into(progress: Progress) -> pb::ProgressReport {
    pb::ProgressReport {
        done: progress.done,
        total: progress.total,
        unit: progress.unit.to_string(),
        message: progress.message.to_string(),
    }
}

pub(super) fn progress_from(progress: pb::ProgressReport) -> Progress {
    Progress {
        done: progress.done,
        total: progress.total,
        unit: text(progress.unit),
        message: text(progress.message),
    }
}

/// To protobuf.
pub fn job_into(job: JobView) -> pb::Job {
    pb::Job {
        id: job.id.0,
        queue: job.queue.to_string(),
        state: state_into(job.state).into(),
        job: Some(new_job_into(job.job)),
        enqueued_ms: job.enqueued.0,
        finished_ms: job.finished.map(|time| time.0),
        ready_at_ms: job.ready_at.map(|time| time.0),
        failures: job.failures,
        losses: job.losses,
        releases: job.releases,
        attempts: job.attempts.into_iter().map(attempt_into).collect(),
        progress: job.progress.map(progress_into),
        result: job.result,
        result_is_json: job.result_is_json,
        outputs: blobs_into(job.outputs),
        waiting: job.waiting,
        dead_reason: job.dead_reason.to_string(),
        cancel_requested: job.cancel_requested,
    }
}

/// From protobuf.
pub fn job_from(job: pb::Job) -> Result<JobView, Error> {
    Ok(JobView {
        id: JobId(id("id", job.id)?),
        queue: name("queue", &job.queue)?,
        state: state_from(job.state)?,
        job: new_job_from(required("job", job.job)?)?,
        enqueued: LogTime(job.enqueued_ms),
        finished: job.finished_ms.map(LogTime),
        ready_at: job.ready_at_ms.map(LogTime),
        failures: job.failures,
        losses: job.losses,
        releases: job.releases,
        attempts: job
            .attempts
            .into_iter()
            .map(attempt_from)
            .collect::<Result<_, _>>()?,
        progress: job.progress.map(progress_from),
        result: job.result,
        result_is_json: job.result_is_json,
        outputs: blobs_from(job.outputs),
        waiting: job.waiting,
        dead_reason: text(job.dead_reason),
        cancel_requested: job.cancel_requested,
    })
}
