//! How a producer's requests travel: as calls of a service, or on one `EnqueueStream`.

use crate::machine::{Command, NewJob, Reply};
use crate::service::{Caller, QueueService};
use async_trait::async_trait;
use quorate_core::error::Error;
use quorate_core::machine::OpKey;
use quorate_core::types::Name;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// A request.
pub(crate) struct Sent {
    pub(crate) number: u64,
    /// The client stream; 0 for none.
    pub(crate) stream: u64,
    pub(crate) done_below: u64,
    pub(crate) queue: Name,
    pub(crate) jobs: Vec<NewJob>,
}

/// What comes back.
pub(crate) enum Heard {
    /// Answers, each with its number.
    Acks(Vec<(u64, Result<Reply, Error>)>),
    /// Everything under way is lost.
    Broken(Error),
}

/// Carries requests and answers.
#[async_trait]
pub(crate) trait Carrier: Send {
    /// Sends a request. After an error everything under way is lost.
    async fn send(&mut self, sent: Sent) -> Result<(), Error>;

    /// The next news; waits for ever when nothing is under way. Cancel-safe.
    async fn heard(&mut self) -> Heard;
}

/// Time for one call.
const CALL_MAX: Duration = Duration::from_secs(10);

/// As calls.
pub(crate) struct Calls {
    service: Arc<dyn QueueService>,
    under_way: JoinSet<(u64, Result<Reply, Error>)>,
}

impl Calls {
    pub(crate) fn new(service: Arc<dyn QueueService>) -> Self {
        Self {
            service,
            under_way: JoinSet::new(),
        }
    }
}

#[async_trait]
impl Carrier for Calls {
    async fn send(&mut self, sent: Sent) -> Result<(), Error> {
        let service = Arc::clone(&self.service);
        self.under_way.spawn(async move {
            let caller = Caller {
                key: (sent.stream != 0).then_some(OpKey::Stream {
                    stream: sent.stream,
                    seq: sent.number,
                    done_below: sent.done_below,
                }),
                timeout: CALL_MAX,
                ..Caller::default()
            };
            let command = Command::Enqueue {
                queue: sent.queue,
                jobs: sent.jobs,
            };
            (sent.number, service.execute(&caller, command).await)
        });
        Ok(())
    }

    async fn heard(&mut self) -> Heard {
        match self.under_way.join_next().await {
            None => std::future::pending().await,
            Some(Ok(ack)) => Heard::Acks(vec![ack]),
            Some(Err(error)) => Heard::Broken(Error::new(
                quorate_core::error::Code::OutcomeUnknown,
                format!("a call ended without an answer: {error}"),
            )),
        }
    }
}

#[cfg(feature = "client")]
pub(crate) use crate::client::enqueue::EnqueueStream as Stream;
