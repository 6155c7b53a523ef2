//! Answers: `…_into` at the server, `…_from` at the client.
//!
//! A [`Reply`] or [`Answer`] of another variant than the request calls for is a bug in whoever
//! answered, and is reported as one.

use super::batch::{batch_from, batch_into, child_from, child_into};
use super::job::{job_from, job_into};
use super::lease::{leased_from, leased_into, settled_from, settled_into};
use super::page::{next_token, token};
use super::queue::{queue_from, queue_into};
use super::{id, required};
use crate::machine::{Answer, BatchId, JobId, Reply, SessionId};
use quorate_core::error::{Code, Error};
use quorate_proto::queue as pb;

/// The error for an answer that does not fit its question.
pub(crate) fn misfit() -> Error {
    Error::new(
        Code::Internal,
        "the queue answered something else than was asked; please report this with the request",
    )
}

/// To protobuf.
pub fn done_into(reply: Reply) -> Result<pb::Done, Error> {
    match reply {
        Reply::Done => Ok(pb::Done {}),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn done_from(pb::Done {}: pb::Done) -> Reply {
    Reply::Done
}

/// To protobuf.
pub fn count_into(reply: Reply) -> Result<pb::CountResponse, Error> {
    match reply {
        Reply::Count(count) => Ok(pb::CountResponse { count }),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn count_from(response: pb::CountResponse) -> Reply {
    Reply::Count(response.count)
}

/// To protobuf.
pub fn enqueued_into(reply: Reply) -> Result<pb::EnqueueResponse, Error> {
    let Reply::Enqueued(jobs) = reply else {
        return Err(misfit());
    };
    let duplicates = (0..).zip(&jobs).filter(|(_, (_, duplicate))| *duplicate);
    Ok(pb::EnqueueResponse {
        duplicates: duplicates.map(|(position, _)| position).collect(),
        ids: jobs.into_iter().map(|(job, _)| job.0).collect(),
    })
}

/// From protobuf.
pub fn enqueued_from(response: pb::EnqueueResponse) -> Result<Reply, Error> {
    let mut jobs: Vec<_> = response
        .ids
        .into_iter()
        .map(|id| (JobId(id), false))
        .collect();
    for position in response.duplicates {
        let job = usize::try_from(position)
            .ok()
            .and_then(|position| jobs.get_mut(position));
        job.ok_or_else(misfit)?.1 = true;
    }
    Ok(Reply::Enqueued(jobs))
}

/// To protobuf.
pub fn leased_reply_into(reply: Reply) -> Result<pb::LeaseResponse, Error> {
    match reply {
        Reply::Leased { session, leases } => Ok(leased_into(session, leases)),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn leased_reply_from(response: pb::LeaseResponse) -> Result<Reply, Error> {
    let (session, leases) = leased_from(response)?;
    Ok(Reply::Leased { session, leases })
}

/// To protobuf.
pub fn settled_reply_into(reply: Reply) -> Result<pb::SettleResponse, Error> {
    match reply {
        Reply::Settled { outcomes, leased } => Ok(pb::SettleResponse {
            outcomes: settled_into(outcomes),
            leased: leased.map(|(session, leases)| leased_into(session, leases)),
        }),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn settled_reply_from(response: pb::SettleResponse) -> Result<Reply, Error> {
    Ok(Reply::Settled {
        outcomes: settled_from(response.outcomes),
        leased: response.leased.map(leased_from).transpose()?,
    })
}

/// To protobuf.
pub fn session_into(reply: Reply) -> Result<pb::OpenSessionResponse, Error> {
    match reply {
        Reply::Session(session) => Ok(pb::OpenSessionResponse { session: session.0 }),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn session_from(response: pb::OpenSessionResponse) -> Result<Reply, Error> {
    Ok(Reply::Session(SessionId(id("session", response.session)?)))
}

/// To protobuf.
pub fn created_into(reply: Reply) -> Result<pb::CreateBatchResponse, Error> {
    match reply {
        Reply::Batch(batch, existing) => Ok(pb::CreateBatchResponse {
            batch: batch.0,
            existing,
        }),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn created_from(response: pb::CreateBatchResponse) -> Result<Reply, Error> {
    let batch = BatchId(id("batch", response.batch)?);
    Ok(Reply::Batch(batch, response.existing))
}

/// To protobuf.
pub fn kept_into(reply: Reply) -> Result<pb::KeptResponse, Error> {
    match reply {
        Reply::Kept { cancel_requested } => Ok(pb::KeptResponse { cancel_requested }),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn kept_from(response: pb::KeptResponse) -> Reply {
    Reply::Kept {
        cancel_requested: response.cancel_requested,
    }
}

/// To protobuf.
pub fn queue_answer_into(answer: Answer) -> Result<pb::Queue, Error> {
    match answer {
        Answer::Queue(queue) => Ok(queue_into(*queue)),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn queue_answer_from(queue: pb::Queue) -> Result<Answer, Error> {
    Ok(Answer::Queue(Box::new(queue_from(queue)?)))
}

/// To protobuf.
pub fn job_answer_into(answer: Answer) -> Result<pb::Job, Error> {
    match answer {
        Answer::Job(job) => Ok(job_into(*job)),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn job_answer_from(job: pb::Job) -> Result<Answer, Error> {
    Ok(Answer::Job(Box::new(job_from(job)?)))
}

/// To protobuf.
pub fn batch_answer_into(answer: Answer) -> Result<pb::Batch, Error> {
    match answer {
        Answer::Batch(batch) => Ok(batch_into(*batch)),
        _ => Err(misfit()),
    }
}

/// From protobuf.
pub fn batch_answer_from(batch: pb::Batch) -> Result<Answer, Error> {
    Ok(Answer::Batch(Box::new(batch_from(batch)?)))
}

macro_rules! pages {
    ($($into:ident, $from:ident: $variant:ident $response:ident $item_into:ident $item_from:ident;)*) => {$(
        /// To protobuf.
        pub fn $into(answer: Answer) -> Result<pb::$response, Error> {
            match answer {
                Answer::$variant(items, next) => Ok(pb::$response {
                    items: items.into_iter().map($item_into).collect(),
                    next_page_token: next_token(next),
                }),
                _ => Err(misfit()),
            }
        }

        /// From protobuf.
        pub fn $from(response: pb::$response) -> Result<Answer, Error> {
            let items = response.items.into_iter().map($item_from);
            Ok(Answer::$variant(
                items.collect::<Result<_, _>>()?,
                token(&response.next_page_token, |text| text.parse().ok())?,
            ))
        }
    )*};
}

pages! {
    queues_into, queues_from: Queues ListQueuesResponse queue_into queue_from;
    jobs_into, jobs_from: Jobs ListJobsResponse job_into job_from;
    batches_into, batches_from: Batches ListBatchesResponse batch_into batch_from;
    results_into, results_from: BatchResults BatchResultsResponse child_into child_from;
}

/// The stream that was opened.
pub fn stream_from(response: &pb::OpenStreamResponse) -> Result<u64, Error> {
    id("stream", response.stream)
}

/// The result of one acknowledgement of an enqueue stream.
pub fn ack_from(ack: pb::EnqueueAck) -> (u64, Result<Reply, Error>) {
    use pb::enqueue_ack::Result as Outcome;
    let result = match required("result", ack.result) {
        Ok(Outcome::Enqueued(response)) => enqueued_from(response),
        Ok(Outcome::Error(error)) => Err(super::error_from(error)),
        Err(error) => Err(error),
    };
    (ack.number, result)
}
