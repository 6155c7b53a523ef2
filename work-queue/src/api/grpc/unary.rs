//! The unary calls: read, ask, answer.

use super::call::{identify, identify_operation, traceparent};
use super::{Answers, enqueue, work};
use crate::api::Api;
use crate::convert::{self, Waiting, reply};
use crate::machine::{Answer, Command, Query, Renewal, Reply};
use prost::Message;
use quorate_core::error::Error;
use quorate_proto::queue as pb;
use quorate_proto::queue::queues_server;
use tonic::{Request, Response, Status, Streaming};

/// The service.
pub(super) struct Queues(pub(super) Api);

type Answered<T> = Result<Response<T>, Status>;

impl Queues {
    /// One command: `method` scopes its idempotency key.
    async fn command<R, T>(
        &self,
        method: &str,
        request: Request<R>,
        answer: fn(Reply) -> Result<T, Error>,
    ) -> Answered<T>
    where
        R: Message,
        Command: TryFrom<R, Error = Error>,
    {
        let caller = identify_operation(&request, method, Message::encode_to_vec)?;
        let command = Command::try_from(request.into_inner())?;
        let reply = self.0.execute(&caller, command).await?;
        Ok(Response::new(answer(reply)?))
    }

    /// A command that may wait for work.
    async fn waiting<R, T>(
        &self,
        method: &str,
        request: Request<R>,
        answer: fn(Reply) -> Result<T, Error>,
    ) -> Answered<T>
    where
        R: Message + Clone + Patient,
        Waiting: TryFrom<R, Error = Error>,
    {
        let caller = identify_operation(&request, method, |request| {
            let mut hashed = request.clone();
            hashed.forget_wait();
            hashed.encode_to_vec()
        })?;
        let Waiting { command, wait_ms } = Waiting::try_from(request.into_inner())?;
        let reply = self.0.execute_waiting(&caller, command, wait_ms).await?;
        Ok(Response::new(answer(reply)?))
    }

    /// One question.
    async fn query<R, T>(
        &self,
        request: Request<R>,
        answer: fn(Answer) -> Result<T, Error>,
    ) -> Answered<T>
    where
        Query: TryFrom<R, Error = Error>,
    {
        let caller = identify(&request)?;
        let query = Query::try_from(request.into_inner())?;
        let found = self.0.query(&caller, query).await?;
        Ok(Response::new(answer(found)?))
    }

    /// One heartbeat or report of progress.
    async fn renewal<R>(
        &self,
        request: Request<R>,
        read: fn(R) -> Result<Renewal, Error>,
    ) -> Answered<pb::HeartbeatResponse> {
        let caller = identify(&request)?;
        let renewal = read(request.into_inner())?;
        let renewed = self.0.renew(&caller, renewal).await?;
        Ok(Response::new(convert::renewed_into(renewed)))
    }
}

/// A request that may wait for work. Repeated, it may wait for less time, as a sidecar does that waits in parts, and
/// is still the same one.
trait Patient {
    fn forget_wait(&mut self);
}

impl Patient for pb::LeaseRequest {
    fn forget_wait(&mut self) {
        self.wait_ms = 0;
    }
}

impl Patient for pb::SettleRequest {
    fn forget_wait(&mut self) {
        if let Some(then) = &mut self.then {
            then.forget_wait();
        }
    }
}

#[tonic::async_trait]
impl queues_server::Queues for Queues {
    async fn get_info(&self, _: Request<pb::GetInfoRequest>) -> Answered<pb::Info> {
        let info = self.0.service.cluster().await?;
        let info = convert::info_into(info, self.0.version, self.0.role);
        Ok(Response::new(info))
    }

    async fn open_stream(
        &self,
        request: Request<pb::OpenStreamRequest>,
    ) -> Answered<pb::OpenStreamResponse> {
        let caller = identify(&request)?;
        let stream = self.0.service.open_stream(&caller).await?;
        Ok(Response::new(pb::OpenStreamResponse { stream }))
    }

    async fn configure_queue(
        &self,
        request: Request<pb::ConfigureQueueRequest>,
    ) -> Answered<pb::Done> {
        self.command("ConfigureQueue", request, reply::done_into)
            .await
    }

    async fn get_queue(&self, request: Request<pb::GetQueueRequest>) -> Answered<pb::Queue> {
        self.query(request, reply::queue_answer_into).await
    }

    async fn list_queues(
        &self,
        request: Request<pb::ListQueuesRequest>,
    ) -> Answered<pb::ListQueuesResponse> {
        self.query(request, reply::queues_into).await
    }

    async fn delete_queue(&self, request: Request<pb::DeleteQueueRequest>) -> Answered<pb::Done> {
        self.command("DeleteQueue", request, reply::done_into).await
    }

    async fn pause_queue(&self, request: Request<pb::PauseQueueRequest>) -> Answered<pb::Done> {
        self.command("PauseQueue", request, reply::done_into).await
    }

    async fn resume_queue(&self, request: Request<pb::ResumeQueueRequest>) -> Answered<pb::Done> {
        self.command("ResumeQueue", request, reply::done_into).await
    }

    async fn purge_queue(
        &self,
        request: Request<pb::PurgeQueueRequest>,
    ) -> Answered<pb::CountResponse> {
        self.command("PurgeQueue", request, reply::count_into).await
    }

    async fn redrive_queue(
        &self,
        request: Request<pb::RedriveQueueRequest>,
    ) -> Answered<pb::CountResponse> {
        self.command("RedriveQueue", request, reply::count_into)
            .await
    }

    async fn enqueue(
        &self,
        mut request: Request<pb::EnqueueRequest>,
    ) -> Answered<pb::EnqueueResponse> {
        if let Some(context) = traceparent(request.metadata())? {
            enqueue::trace(&mut request.get_mut().jobs, &context);
        }
        self.command("Enqueue", request, reply::enqueued_into).await
    }

    type EnqueueStreamStream = Answers<pb::EnqueueStreamResponse>;

    async fn enqueue_stream(
        &self,
        request: Request<Streaming<pb::EnqueueStreamRequest>>,
    ) -> Answered<Self::EnqueueStreamStream> {
        let caller = identify(&request)?;
        let context = traceparent(request.metadata())?;
        let stream = enqueue::stream(self.0.clone(), caller, context, request.into_inner());
        Ok(Response::new(stream))
    }

    async fn lease(&self, request: Request<pb::LeaseRequest>) -> Answered<pb::LeaseResponse> {
        self.waiting("Lease", request, reply::leased_reply_into)
            .await
    }

    async fn settle(&self, request: Request<pb::SettleRequest>) -> Answered<pb::SettleResponse> {
        self.waiting("Settle", request, reply::settled_reply_into)
            .await
    }

    async fn extend(&self, request: Request<pb::ExtendRequest>) -> Answered<pb::KeptResponse> {
        self.command("Extend", request, reply::kept_into).await
    }

    async fn checkpoint(
        &self,
        request: Request<pb::CheckpointRequest>,
    ) -> Answered<pb::KeptResponse> {
        self.command("Checkpoint", request, reply::kept_into).await
    }

    async fn progress(
        &self,
        request: Request<pb::ProgressRequest>,
    ) -> Answered<pb::HeartbeatResponse> {
        self.renewal(request, convert::renewal_from_progress).await
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Answered<pb::HeartbeatResponse> {
        self.renewal(request, convert::renewal_from_heartbeat).await
    }

    async fn open_session(
        &self,
        request: Request<pb::OpenSessionRequest>,
    ) -> Answered<pb::OpenSessionResponse> {
        self.command("OpenSession", request, reply::session_into)
            .await
    }

    async fn close_session(&self, request: Request<pb::CloseSessionRequest>) -> Answered<pb::Done> {
        self.command("CloseSession", request, reply::done_into)
            .await
    }

    type WorkStream = Answers<pb::WorkResponse>;

    async fn work(
        &self,
        request: Request<Streaming<pb::WorkRequest>>,
    ) -> Answered<Self::WorkStream> {
        let caller = identify(&request)?;
        let stream = work::stream(self.0.clone(), caller, request.into_inner());
        Ok(Response::new(stream))
    }

    async fn get_job(&self, request: Request<pb::GetJobRequest>) -> Answered<pb::Job> {
        self.query(request, reply::job_answer_into).await
    }

    async fn list_jobs(
        &self,
        request: Request<pb::ListJobsRequest>,
    ) -> Answered<pb::ListJobsResponse> {
        self.query(request, reply::jobs_into).await
    }

    async fn cancel_job(&self, request: Request<pb::CancelJobRequest>) -> Answered<pb::Done> {
        self.command("CancelJob", request, reply::done_into).await
    }

    async fn retry_job(&self, request: Request<pb::RetryJobRequest>) -> Answered<pb::Done> {
        self.command("RetryJob", request, reply::done_into).await
    }

    async fn skip_child(&self, request: Request<pb::SkipChildRequest>) -> Answered<pb::Done> {
        self.command("SkipChild", request, reply::done_into).await
    }

    async fn create_batch(
        &self,
        mut request: Request<pb::CreateBatchRequest>,
    ) -> Answered<pb::CreateBatchResponse> {
        if let Some(context) = traceparent(request.metadata())?
            && let Some(join) = &mut request.get_mut().join
        {
            enqueue::trace(join.job.as_mut_slice(), &context);
        }
        self.command("CreateBatch", request, reply::created_into)
            .await
    }

    async fn seal_batch(&self, request: Request<pb::SealBatchRequest>) -> Answered<pb::Done> {
        self.command("SealBatch", request, reply::done_into).await
    }

    async fn cancel_batch(&self, request: Request<pb::CancelBatchRequest>) -> Answered<pb::Done> {
        self.command("CancelBatch", request, reply::done_into).await
    }

    async fn get_batch(&self, request: Request<pb::GetBatchRequest>) -> Answered<pb::Batch> {
        self.query(request, reply::batch_answer_into).await
    }

    async fn list_batches(
        &self,
        request: Request<pb::ListBatchesRequest>,
    ) -> Answered<pb::ListBatchesResponse> {
        self.query(request, reply::batches_into).await
    }

    async fn batch_results(
        &self,
        request: Request<pb::BatchResultsRequest>,
    ) -> Answered<pb::BatchResultsResponse> {
        self.query(request, reply::results_into).await
    }
}
