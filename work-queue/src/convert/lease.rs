//! Leases: asking for work, handing it out, settling it, keeping it alive.

use super::error::{error_from, error_into};
use super::job::{
    blobs_from, blobs_into, labels_from, labels_into, place_from, place_into, progress_from,
    progress_into,
};
use super::{id, name, optional_id, optional_text, required, text, within};
use crate::machine::{
    BatchId, JobId, Lease, LeaseId, LeaseRequest, Progress, Renewal, Renewed, SessionId, Settle,
    Settled, Settlement,
};
use quorate_core::error::Error;
use quorate_proto::queue as pb;

/// To protobuf. `wait_ms` is no part of the domain's request: it is how long the caller waits.
pub fn lease_request_into(request: LeaseRequest, wait_ms: u64) -> pb::LeaseRequest {
    pb::LeaseRequest {
        queue: request.queue.to_string(),
        worker: request.worker.to_string(),
        session: request.session.map(|session| session.0),
        max: request.max,
        lease_ms: request.lease_ms,
        wait_ms,
        heartbeat: request.heartbeat,
    }
}

/// From protobuf, with `wait_ms`.
pub fn lease_request_from(request: pb::LeaseRequest) -> Result<(LeaseRequest, u64), Error> {
    let lease = LeaseRequest {
        queue: name("queue", &request.queue)?,
        worker: text(request.worker),
        session: request.session.map(SessionId),
        max: request.max.max(1),
        lease_ms: request.lease_ms,
        heartbeat: request.heartbeat,
    };
    Ok((lease, request.wait_ms))
}

/// To protobuf.
pub fn lease_into(lease: Lease) -> pb::Lease {
    pb::Lease {
        id: lease.id.0,
        job: lease.job.0,
        queue: lease.queue.to_string(),
        attempt: lease.attempt,
        lease_ms: lease.lease_ms,
        payload: lease.payload,
        payload_is_json: lease.payload_is_json,
        inputs: blobs_into(lease.inputs),
        labels: labels_into(lease.labels),
        checkpoint: lease.checkpoint,
        traceparent: lease.traceparent.map(|value| value.to_string()),
        joins: lease.joins.map(|batch| batch.0),
        batch: lease.batch.map(place_into),
    }
}

/// From protobuf.
pub fn lease_from(lease: pb::Lease) -> Result<Lease, Error> {
    Ok(Lease {
        id: LeaseId(id("id", lease.id)?),
        job: JobId(id("job", lease.job)?),
        queue: name("queue", &lease.queue)?,
        attempt: lease.attempt,
        lease_ms: lease.lease_ms,
        payload: lease.payload,
        payload_is_json: lease.payload_is_json,
        inputs: blobs_from(lease.inputs),
        labels: labels_from(lease.labels),
        checkpoint: lease.checkpoint,
        traceparent: optional_text(lease.traceparent),
        joins: optional_id("joins", lease.joins)?.map(BatchId),
        batch: lease.batch.map(place_from).transpose()?,
    })
}

/// To protobuf.
pub fn leased_into(session: SessionId, leases: Vec<Lease>) -> pb::LeaseResponse {
    pb::LeaseResponse {
        session: session.0,
        leases: leases.into_iter().map(lease_into).collect(),
    }
}

/// From protobuf.
pub fn leased_from(response: pb::LeaseResponse) -> Result<(SessionId, Vec<Lease>), Error> {
    let leases = response.leases.into_iter().map(lease_from);
    Ok((
        SessionId(response.session),
        leases.collect::<Result<_, _>>()?,
    ))
}

/// To protobuf.
pub fn settle_into(settle: Settle) -> pb::Settlement {
    use pb::settlement::Outcome;
    let outcome = match settle.settlement {
        Settlement::Complete {
            result,
            result_is_json,
            outputs,
        } => Outcome::Complete(pb::Complete {
            result,
            result_is_json,
            outputs: blobs_into(outputs),
        }),
        Settlement::Fail {
            error,
            retry,
            delay_ms,
            exit_code,
            signal,
            log_tail,
        } => Outcome::Fail(pb::Fail {
            error: error.to_string(),
            dead: !retry,
            delay_ms,
            exit_code,
            signal,
            log_tail: log_tail.to_string(),
        }),
        Settlement::Release => Outcome::Release(pb::Release {}),
    };
    pb::Settlement {
        lease: settle.lease.0,
        session: settle.session.map(|session| session.0),
        outcome: Some(outcome),
    }
}

/// From protobuf. `field` names the list, for errors.
pub fn settle_from(field: &str, settle: Vec<pb::Settlement>) -> Result<Vec<Settle>, Error> {
    settle
        .into_iter()
        .enumerate()
        .map(|(i, one)| one_settle_from(one).map_err(|e| within(format_args!("{field}[{i}]"), e)))
        .collect()
}

fn one_settle_from(settle: pb::Settlement) -> Result<Settle, Error> {
    use pb::settlement::Outcome;
    let settlement = match required("outcome", settle.outcome)? {
        Outcome::Complete(complete) => Settlement::Complete {
            result: complete.result,
            result_is_json: complete.result_is_json,
            outputs: blobs_from(complete.outputs),
        },
        Outcome::Fail(fail) => Settlement::Fail {
            error: text(fail.error),
            retry: !fail.dead,
            delay_ms: fail.delay_ms,
            exit_code: fail.exit_code,
            signal: fail.signal,
            log_tail: text(fail.log_tail),
        },
        Outcome::Release(pb::Release {}) => Settlement::Release,
    };
    Ok(Settle {
        lease: LeaseId(id("lease", settle.lease)?),
        session: optional_id("session", settle.session)?.map(SessionId),
        settlement,
    })
}

/// To protobuf.
pub fn settled_into(outcomes: Vec<Settled>) -> Vec<pb::SettleOutcome> {
    outcomes
        .into_iter()
        .map(|outcome| pb::SettleOutcome {
            error: outcome.err().map(error_into),
        })
        .collect()
}

/// From protobuf.
pub fn settled_from(outcomes: Vec<pb::SettleOutcome>) -> Vec<Settled> {
    outcomes
        .into_iter()
        .map(|outcome| outcome.error.map_or(Ok(()), |error| Err(error_from(error))))
        .collect()
}

fn progress_list_into(progress: Vec<(LeaseId, Progress)>) -> Vec<pb::LeaseProgress> {
    progress
        .into_iter()
        .map(|(lease, progress)| pb::LeaseProgress {
            lease: lease.0,
            progress: Some(progress_into(progress)),
        })
        .collect()
}

fn progress_list_from(progress: Vec<pb::LeaseProgress>) -> Result<Vec<(LeaseId, Progress)>, Error> {
    progress
        .into_iter()
        .enumerate()
        .map(|(i, one)| {
            let read = || {
                let lease = LeaseId(id("lease", one.lease)?);
                Ok((lease, progress_from(required("progress", one.progress)?)))
            };
            read().map_err(|e| within(format_args!("progress[{i}]"), e))
        })
        .collect()
}

fn lease_ids(numbers: Vec<u64>) -> Vec<LeaseId> {
    numbers.into_iter().map(LeaseId).collect()
}

fn numbers(leases: Vec<LeaseId>) -> Vec<u64> {
    leases.into_iter().map(|lease| lease.0).collect()
}

/// To a heartbeat (`Ok`) or a report of progress (`Err`), as [`Renewal::complete`] says.
pub fn renewal_into(renewal: Renewal) -> Result<pb::HeartbeatRequest, pb::ProgressRequest> {
    let (session, number) = (renewal.session.0, renewal.number);
    let leases = numbers(renewal.leases);
    let progress = progress_list_into(renewal.progress);
    if renewal.complete {
        Ok(pb::HeartbeatRequest {
            session,
            number,
            leases,
            progress,
        })
    } else {
        Err(pb::ProgressRequest {
            session,
            number,
            leases,
            progress,
        })
    }
}

/// From a heartbeat proper.
pub fn renewal_from_heartbeat(request: pb::HeartbeatRequest) -> Result<Renewal, Error> {
    Ok(Renewal {
        session: SessionId(id("session", request.session)?),
        number: request.number,
        leases: lease_ids(request.leases),
        progress: progress_list_from(request.progress)?,
        complete: true,
    })
}

/// From a report of progress.
pub fn renewal_from_progress(request: pb::ProgressRequest) -> Result<Renewal, Error> {
    Ok(Renewal {
        session: SessionId(request.session),
        number: request.number,
        leases: lease_ids(request.leases),
        progress: progress_list_from(request.progress)?,
        complete: false,
    })
}

/// To protobuf.
pub fn renewed_into(renewed: Renewed) -> pb::HeartbeatResponse {
    pb::HeartbeatResponse {
        live: numbers(renewed.live),
        ended: numbers(renewed.ended),
        cancelled: numbers(renewed.cancelled),
    }
}

/// From protobuf.
pub fn renewed_from(response: pb::HeartbeatResponse) -> Renewed {
    Renewed {
        live: lease_ids(response.live),
        ended: lease_ids(response.ended),
        cancelled: lease_ids(response.cancelled),
    }
}
