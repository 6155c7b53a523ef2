//! Requests. The server reads a [`Command`] or a [`Query`] from each message; the client turns each
//! into the [`Call`] that carries it.

use super::batch::{join_from, join_into, on_dead_from, on_dead_into};
use super::job::{labels_into, new_job_into, new_jobs_from, optional_state_from, state_into};
use super::lease::{lease_request_from, lease_request_into, settle_from, settle_into};
use super::page::{next_token, page_limit, token};
use super::queue::{settings_from, settings_into};
use super::{id, name, optional_id, optional_text, text, within};
use crate::machine::{BatchId, Command, JobId, LeaseId, Query, SessionId, limits};
use quorate_core::error::{Code, Error};
use quorate_core::types::Name;
use quorate_proto::queue as pb;

/// The unary call that carries a command or a question: one variant for each method.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each variant is the method of its name")]
pub enum Call {
    ConfigureQueue(pb::ConfigureQueueRequest),
    DeleteQueue(pb::DeleteQueueRequest),
    PauseQueue(pb::PauseQueueRequest),
    ResumeQueue(pb::ResumeQueueRequest),
    PurgeQueue(pb::PurgeQueueRequest),
    RedriveQueue(pb::RedriveQueueRequest),
    Enqueue(pb::EnqueueRequest),
    Lease(pb::LeaseRequest),
    Settle(pb::SettleRequest),
    Extend(pb::ExtendRequest),
    Checkpoint(pb::CheckpointRequest),
    OpenSession(pb::OpenSessionRequest),
    CloseSession(pb::CloseSessionRequest),
    CancelJob(pb::CancelJobRequest),
    RetryJob(pb::RetryJobRequest),
    SkipChild(pb::SkipChildRequest),
    CreateBatch(pb::CreateBatchRequest),
    SealBatch(pb::SealBatchRequest),
    CancelBatch(pb::CancelBatchRequest),
    GetQueue(pb::GetQueueRequest),
    ListQueues(pb::ListQueuesRequest),
    GetJob(pb::GetJobRequest),
    ListJobs(pb::ListJobsRequest),
    GetBatch(pb::GetBatchRequest),
    ListBatches(pb::ListBatchesRequest),
    BatchResults(pb::BatchResultsRequest),
}

impl Call {
    /// The call of a command. `wait_ms` is how long a request for work waits. The leader's own
    /// commands travel nowhere and are refused.
    pub fn command(command: Command, wait_ms: u64) -> Result<Self, Error> {
        Ok(match command {
            Command::Configure { queue, settings } => {
                Self::ConfigureQueue(pb::ConfigureQueueRequest {
                    queue: queue.to_string(),
                    settings: Some(settings_into(&settings)),
                })
            }
            Command::DeleteQueue { queue } => Self::DeleteQueue(pb::DeleteQueueRequest {
                queue: queue.to_string(),
            }),
            Command::Pause { queue, paused } => pause(&queue, paused),
            Command::Purge { queue } => Self::PurgeQueue(pb::PurgeQueueRequest {
                queue: queue.to_string(),
            }),
            Command::Redrive { queue, max } => Self::RedriveQueue(pb::RedriveQueueRequest {
                queue: queue.to_string(),
                max: Some(max),
            }),
            Command::Enqueue { queue, jobs } => Self::Enqueue(pb::EnqueueRequest {
                queue: queue.to_string(),
                jobs: jobs.into_iter().map(new_job_into).collect(),
            }),
            Command::Lease(request) => Self::Lease(lease_request_into(request, wait_ms)),
            Command::Settle { settle, then } => Self::Settle(pb::SettleRequest {
                settle: settle.into_iter().map(settle_into).collect(),
                then: then.map(|request| lease_request_into(request, wait_ms)),
            }),
            command => return Self::of_one_thing(command),
        })
    }

    /// The calls about one lease, session, job or batch.
    fn of_one_thing(command: Command) -> Result<Self, Error> {
        Ok(match command {
            Command::Extend {
                lease,
                session,
                lease_ms,
            } => Self::Extend(pb::ExtendRequest {
                lease: lease.0,
                session: session.map(|session| session.0),
                lease_ms,
            }),
            Command::Checkpoint {
                lease,
                session,
                data,
            } => Self::Checkpoint(pb::CheckpointRequest {
                lease: lease.0,
                session: session.map(|session| session.0),
                data,
            }),
            Command::OpenSession { worker } => Self::OpenSession(pb::OpenSessionRequest {
                worker: worker.to_string(),
            }),
            Command::CloseSession { session } => {
                Self::CloseSession(pb::CloseSessionRequest { session: session.0 })
            }
            Command::CancelJob { job } => Self::CancelJob(pb::CancelJobRequest { job: job.0 }),
            Command::RetryJob { job } => Self::RetryJob(pb::RetryJobRequest { job: job.0 }),
            Command::SkipChild { job } => Self::SkipChild(pb::SkipChildRequest { job: job.0 }),
            Command::CreateBatch {
                queue,
                join,
                on_dead,
                key,
            } => Self::CreateBatch(pb::CreateBatchRequest {
                queue: queue.to_string(),
                join: join.map(join_into),
                on_dead: on_dead_into(on_dead).into(),
                key: key.map(|key| key.to_string()),
            }),
            Command::SealBatch { batch, expected } => Self::SealBatch(pb::SealBatchRequest {
                batch: batch.0,
                expected,
            }),
            Command::CancelBatch { batch } => {
                Self::CancelBatch(pb::CancelBatchRequest { batch: batch.0 })
            }
            other => {
                return Err(Error::new(
                    Code::Forbidden,
                    format!("{} is for the leader alone", variant(&other)),
                ));
            }
        })
    }

    /// The call of a question.
    pub fn query(query: Query) -> Self {
        match query {
            Query::Queue { queue } => Self::GetQueue(pb::GetQueueRequest {
                queue: queue.to_string(),
            }),
            Query::Queues { after, limit } => Self::ListQueues(pb::ListQueuesRequest {
                page_size: limit,
                page_token: next_token(after),
            }),
            Query::Job { job } => Self::GetJob(pb::GetJobRequest { job: job.0 }),
            Query::Jobs {
                queue,
                state,
                label,
                after,
                limit,
            } => Self::ListJobs(pb::ListJobsRequest {
                queue: queue.to_string(),
                state: state.map_or(pb::JobState::Unspecified, state_into).into(),
                label: label.and_then(|label| labels_into(vec![label]).pop()),
                page_size: limit,
                page_token: next_token(after),
            }),
            Query::Batch { batch } => Self::GetBatch(pb::GetBatchRequest { batch: batch.0 }),
            Query::Batches { after, limit } => Self::ListBatches(pb::ListBatchesRequest {
                page_size: limit,
                page_token: next_token(after),
            }),
            Query::BatchResults { batch, from, limit } => {
                Self::BatchResults(pb::BatchResultsRequest {
                    batch: batch.0,
                    page_size: limit,
                    page_token: next_token(Some(from).filter(|from| *from > 0)),
                })
            }
        }
    }
}

fn pause(queue: &Name, paused: bool) -> Call {
    let queue = queue.to_string();
    if paused {
        Call::PauseQueue(pb::PauseQueueRequest { queue })
    } else {
        Call::ResumeQueue(pb::ResumeQueueRequest { queue })
    }
}

/// Name of a command's variant, without what it holds.
fn variant(command: &Command) -> &'static str {
    match command {
        Command::ExpireLeases { .. } => "ExpireLeases",
        Command::RevokeLeases { .. } => "RevokeLeases",
        Command::ForgetSessions { .. } => "ForgetSessions",
        _ => "this command",
    }
}

macro_rules! reads {
    ($($request:ident => $target:ident |$value:ident| $body:expr;)*) => {$(
        impl TryFrom<pb::$request> for $target {
            type Error = Error;
            fn try_from($value: pb::$request) -> Result<Self, Error> {
                Ok($body)
            }
        }
    )*};
}

reads! {
    ConfigureQueueRequest => Command |r| Command::Configure {
        queue: name("queue", &r.queue)?,
        settings: settings_from(r.settings.unwrap_or_default()),
    };
    DeleteQueueRequest => Command |r| Command::DeleteQueue { queue: name("queue", &r.queue)? };
    PauseQueueRequest => Command |r| Command::Pause { queue: name("queue", &r.queue)?, paused: true };
    ResumeQueueRequest => Command |r| Command::Pause { queue: name("queue", &r.queue)?, paused: false };
    PurgeQueueRequest => Command |r| Command::Purge { queue: name("queue", &r.queue)? };
    RedriveQueueRequest => Command |r| Command::Redrive {
        queue: name("queue", &r.queue)?,
        max: r.max.unwrap_or(limits::REDRIVE_MAX),
    };
    EnqueueRequest => Command |r| Command::Enqueue {
        queue: name("queue", &r.queue)?,
        jobs: new_jobs_from(r.jobs)?,
    };
    ExtendRequest => Command |r| Command::Extend {
        lease: LeaseId(id("lease", r.lease)?),
        session: optional_id("session", r.session)?.map(SessionId),
        lease_ms: r.lease_ms,
    };
    CheckpointRequest => Command |r| Command::Checkpoint {
        lease: LeaseId(id("lease", r.lease)?),
        session: optional_id("session", r.session)?.map(SessionId),
        data: r.data,
    };
    OpenSessionRequest => Command |r| Command::OpenSession { worker: text(r.worker) };
    CloseSessionRequest => Command |r| Command::CloseSession {
        session: SessionId(id("session", r.session)?),
    };
    CancelJobRequest => Command |r| Command::CancelJob { job: JobId(id("job", r.job)?) };
    RetryJobRequest => Command |r| Command::RetryJob { job: JobId(id("job", r.job)?) };
    SkipChildRequest => Command |r| Command::SkipChild { job: JobId(id("job", r.job)?) };
    CreateBatchRequest => Command |r| Command::CreateBatch {
        queue: name("queue", &r.queue)?,
        join: r.join.map(join_from).transpose()?,
        on_dead: on_dead_from(r.on_dead)?,
        key: optional_text(r.key),
    };
    SealBatchRequest => Command |r| Command::SealBatch {
        batch: BatchId(id("batch", r.batch)?),
        expected: r.expected,
    };
    CancelBatchRequest => Command |r| Command::CancelBatch { batch: BatchId(id("batch", r.batch)?) };
    GetQueueRequest => Query |r| Query::Queue { queue: name("queue", &r.queue)? };
    ListQueuesRequest => Query |r| Query::Queues {
        after: token(&r.page_token, |text| text.parse().ok())?,
        limit: page_limit(r.page_size)?,
    };
    GetJobRequest => Query |r| Query::Job { job: JobId(id("job", r.job)?) };
    ListJobsRequest => Query |r| Query::Jobs {
        queue: name("queue", &r.queue)?,
        state: optional_state_from(r.state)?,
        label: r.label.map(|label| (text(label.key), text(label.value))),
        after: token(&r.page_token, |text| text.parse().ok())?,
        limit: page_limit(r.page_size)?,
    };
    GetBatchRequest => Query |r| Query::Batch { batch: BatchId(id("batch", r.batch)?) };
    ListBatchesRequest => Query |r| Query::Batches {
        after: token(&r.page_token, |text| text.parse().ok())?,
        limit: page_limit(r.page_size)?,
    };
    BatchResultsRequest => Query |r| Query::BatchResults {
        batch: BatchId(id("batch", r.batch)?),
        from: token(&r.page_token, |text| text.parse().ok())?.unwrap_or(0),
        limit: page_limit(r.page_size)?,
    };
}

/// A request for work, with its `wait_ms`.
impl TryFrom<pb::LeaseRequest> for Waiting {
    type Error = Error;
    fn try_from(request: pb::LeaseRequest) -> Result<Self, Error> {
        let (request, wait_ms) = lease_request_from(request)?;
        Ok(Self {
            command: Command::Lease(request),
            wait_ms,
        })
    }
}

impl TryFrom<pb::SettleRequest> for Waiting {
    type Error = Error;
    fn try_from(request: pb::SettleRequest) -> Result<Self, Error> {
        let settle = settle_from("settle", request.settle)?;
        let then = request
            .then
            .map(lease_request_from)
            .transpose()
            .map_err(|e| within("then", e))?;
        let (then, wait_ms) = then.map_or((None, 0), |(then, wait_ms)| (Some(then), wait_ms));
        Ok(Self {
            command: Command::Settle { settle, then },
            wait_ms,
        })
    }
}

/// A command that may find nothing now, and how long its caller waits for something.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// The command.
    pub command: Command,
    /// Milliseconds.
    pub wait_ms: u64,
}
