//! Batches and the manifest of their children.

use super::job::{blobs_from, blobs_into, new_job_from, new_job_into, state_from, state_into};
use super::queue::{counts_from, counts_into};
use super::{id, name, optional_id, optional_text, required, within};
use crate::machine::{BatchId, BatchState, BatchView, ChildView, JobId, NewJob, OnDead};
use quorate_core::error::Error;
use quorate_core::types::{LogTime, Name};
use quorate_proto::queue as pb;

pub(super) fn on_dead_into(on_dead: OnDead) -> pb::OnDead {
    match on_dead {
        OnDead::Hold => pb::OnDead::Hold,
        OnDead::Join => pb::OnDead::Join,
        OnDead::Cancel => pb::OnDead::Cancel,
    }
}

pub(super) fn on_dead_from(number: i32) -> Result<OnDead, Error> {
    match pb::OnDead::try_from(number) {
        Ok(pb::OnDead::Unspecified | pb::OnDead::Hold) => Ok(OnDead::Hold),
        Ok(pb::OnDead::Join) => Ok(OnDead::Join),
        Ok(pb::OnDead::Cancel) => Ok(OnDead::Cancel),
        Err(_) => Err(Error::invalid(format!(
            "on_dead: {number} is not an OnDead this server knows"
        ))),
    }
}

pub(super) fn join_into((queue, job): (Name, NewJob)) -> pb::Join {
    pb::Join {
        queue: queue.to_string(),
        job: Some(new_job_into(job)),
    }
}

pub(super) fn join_from(join: pb::Join) -> Result<(Name, NewJob), Error> {
    let read = || {
        let queue = name("queue", &join.queue)?;
        Ok((queue, new_job_from(required("job", join.job)?)?))
    };
    read().map_err(|e| within("join", e))
}

fn state_of_batch_into(state: BatchState) -> pb::BatchState {
    match state {
        BatchState::Open => pb::BatchState::Open,
        BatchState::Running => pb::BatchState::Running,
        BatchState::Held => pb::BatchState::Held,
        BatchState::Joining => pb::BatchState::Joining,
        BatchState::Completed => pb::BatchState::Completed,
        BatchState::Dead => pb::BatchState::Dead,
        BatchState::Cancelled => pb::BatchState::Cancelled,
    }
}

fn state_of_batch_from(number: i32) -> Result<BatchState, Error> {
    match pb::BatchState::try_from(number) {
        Ok(pb::BatchState::Open) => Ok(BatchState::Open),
        Ok(pb::BatchState::Running) => Ok(BatchState::Running),
        Ok(pb::BatchState::Held) => Ok(BatchState::Held),
        Ok(pb::BatchState::Joining) => Ok(BatchState::Joining),
        Ok(pb::BatchState::Completed) => Ok(BatchState::Completed),
        Ok(pb::BatchState::Dead) => Ok(BatchState::Dead),
        Ok(pb::BatchState::Cancelled) => Ok(BatchState::Cancelled),
        Ok(pb::BatchState::Unspecified) | Err(_) => Err(Error::invalid(format!(
            "state: {number} is not a BatchState this build knows"
        ))),
    }
}

/// To protobuf.
pub fn batch_into(batch: BatchView) -> pb::Batch {
    pb::Batch {
        id: batch.id.0,
        key: batch.key.map(|key| key.to_string()),
        queue: batch.queue.to_string(),
        state: state_of_batch_into(batch.state).into(),
        on_dead: on_dead_into(batch.on_dead).into(),
        expected: batch.expected,
        counts: Some(counts_into(batch.counts)),
        skipped: batch.skipped,
        join: batch.join.map(|job| job.0),
        created_ms: batch.created.0,
        finished_ms: batch.finished.map(|time| time.0),
        eta_ms: batch.eta_ms,
    }
}

/// From protobuf.
pub fn batch_from(batch: pb::Batch) -> Result<BatchView, Error> {
    Ok(BatchView {
        id: BatchId(id("id", batch.id)?),
        key: optional_text(batch.key),
        queue: name("queue", &batch.queue)?,
        state: state_of_batch_from(batch.state)?,
        on_dead: on_dead_from(batch.on_dead)?,
        expected: batch.expected,
        counts: counts_from(required("counts", batch.counts)?),
        skipped: batch.skipped,
        join: optional_id("join", batch.join)?.map(JobId),
        created: LogTime(batch.created_ms),
        finished: batch.finished_ms.map(LogTime),
        eta_ms: batch.eta_ms,
    })
}

/// To protobuf.
pub fn child_into(child: ChildView) -> pb::Child {
    pb::Child {
        index: child.index,
        job: child.job.0,
        state: state_into(child.state).into(),
        attempts: child.attempts,
        result: child.result,
        result_is_json: child.result_is_json,
        outputs: blobs_into(child.outputs),
    }
}

/// From protobuf.
pub fn child_from(child: pb::Child) -> Result<ChildView, Error> {
    Ok(ChildView {
        index: child.index,
        job: JobId(id("job", child.job)?),
        state: state_from(child.state)?,
        attempts: child.attempts,
        result: child.result,
        result_is_json: child.result_is_json,
        outputs: blobs_from(child.outputs),
    })
}
