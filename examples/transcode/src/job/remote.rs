//! The queue as this program uses it: every operation is safe to repeat, so each is repeated until it
//! succeeds, is refused, or patience is at its end.
//!
//! That is what lets a film go on while the queue changes its leader: creating a batch is keyed, its
//! jobs are unique by their place in it, sealing says how many there are.

use quorate_core::error::{Code, Error, Kind};
use quorate_work_queue::machine::{Answer, Command, Query, Reply};
use quorate_work_queue::queue::Queue;
use quorate_work_queue::service::{Caller, QueueService};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one try may take.
const TRY: Duration = Duration::from_secs(5);
/// How long an operation is repeated.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// A patient client of the queue.
#[derive(Clone)]
pub struct Remote {
    service: Arc<dyn QueueService>,
}

impl Remote {
    /// Over a cluster, at these addresses of its API, separated by commas.
    pub fn connect(servers: &str) -> Result<Self, Error> {
        Ok(Self::new(Queue::connect(servers)?.service()))
    }

    /// Over any implementation of the service.
    pub fn new(service: Arc<dyn QueueService>) -> Self {
        Self { service }
    }

    /// The service beneath, for callers with patience of their own.
    pub fn service(&self) -> &Arc<dyn QueueService> {
        &self.service
    }

    /// Carries out a command that may be repeated without harm.
    pub async fn tell(&self, command: Command) -> Result<Reply, Error> {
        let caller = caller();
        patiently(|| self.service.execute(&caller, command.clone())).await
    }

    /// Asks.
    pub async fn ask(&self, query: Query) -> Result<Answer, Error> {
        let caller = caller();
        patiently(|| self.service.query(&caller, query.clone())).await
    }
}

fn caller() -> Caller {
    Caller {
        timeout: TRY,
        ..Caller::default()
    }
}

async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(error) if error.code.kind() != Kind::Rejected && Instant::now() < end => {
                let hint = error.retry_after_ms.map(Duration::from_millis);
                tokio::time::sleep(hint.unwrap_or(PAUSE).min(TRY)).await;
            }
            result => return result,
        }
    }
}

/// An answer that does not belong to its question.
pub fn misfit() -> Error {
    Error::new(
        Code::Internal,
        "the queue answered something else than was asked; use one version of client and server",
    )
}
