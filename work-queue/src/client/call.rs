//! One attempt at one call.

use super::{Grpc, Servers};
use crate::convert::Call;
use crate::convert::reply;
use crate::machine::{Answer, Reply};
use quorate_core::client::failure;
use quorate_core::error::Error;
use quorate_core::machine::OpKey;
use std::time::Duration;

/// What came back.
pub(super) enum Outcome {
    Reply(Reply),
    Answer(Answer),
}

impl Outcome {
    pub(super) fn reply(self) -> Result<Reply, Error> {
        match self {
            Self::Reply(reply) => Ok(reply),
            Self::Answer(_) => Err(reply::misfit()),
        }
    }

    pub(super) fn answer(self) -> Result<Answer, Error> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Reply(_) => Err(reply::misfit()),
        }
    }
}

/// How it is made.
pub(super) struct Attempt<'a> {
    pub(super) servers: &'a Servers,
    pub(super) timeout: Duration,
    pub(super) key: Option<OpKey>,
}

impl Attempt<'_> {
    /// Makes the call. The generated methods differ in name and types alone.
    pub(super) async fn make(&self, mut grpc: Grpc, call: Call) -> Result<Outcome, Error> {
        macro_rules! calls {
            ($($variant:ident $method:ident $kind:ident $read:expr;)*) => {
                match call {
                    $(Call::$variant(message) => {
                        let request =
                            self.servers.request(message, self.timeout, self.key.as_ref())?;
                        let response = grpc.$method(request).await;
                        let message = response.map_err(|status| failure(&status))?.into_inner();
                        calls!(@ $kind $read, message)
                    })*
                }
            };
            (@ plain $read:expr, $message:ident) => { Ok(Outcome::Reply($read($message))) };
            (@ reply $read:expr, $message:ident) => { $read($message).map(Outcome::Reply) };
            (@ answer $read:expr, $message:ident) => { $read($message).map(Outcome::Answer) };
        }
        calls! {
            ConfigureQueue configure_queue plain reply::done_from;
            DeleteQueue delete_queue plain reply::done_from;
            PauseQueue pause_queue plain reply::done_from;
            ResumeQueue resume_queue plain reply::done_from;
            PurgeQueue purge_queue plain reply::count_from;
            RedriveQueue redrive_queue plain reply::count_from;
            Enqueue enqueue reply reply::enqueued_from;
            Lease lease reply reply::leased_reply_from;
            Settle settle reply reply::settled_reply_from;
            Extend extend plain reply::kept_from;
            Checkpoint checkpoint plain reply::kept_from;
            OpenSession open_session reply reply::session_from;
            CloseSession close_session plain reply::done_from;
            CancelJob cancel_job plain reply::done_from;
            RetryJob retry_job plain reply::done_from;
            SkipChild skip_child plain reply::done_from;
            CreateBatch create_batch reply reply::created_from;
            SealBatch seal_batch plain reply::done_from;
            CancelBatch cancel_batch plain reply::done_from;
            GetQueue get_queue answer reply::queue_answer_from;
            ListQueues list_queues answer reply::queues_from;
            GetJob get_job answer reply::job_answer_from;
            ListJobs list_jobs answer reply::jobs_from;
            GetBatch get_batch answer reply::batch_answer_from;
            ListBatches list_batches answer reply::batches_from;
            BatchResults batch_results answer reply::results_from;
        }
    }
}
