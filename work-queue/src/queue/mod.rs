//! [`Queue`]: the queue as a Rust program uses it, the same over a cluster, over a replica in this
//! process and in memory.

mod batch;
mod carriers;
mod jobs;
mod producer;

pub use batch::{Batch, BatchBuilder};
pub use jobs::{Enqueued, JobBuilder};
pub use producer::{Producer, Receipt};

#[cfg(feature = "node")]
pub use quorate_core::node::{Config as NodeConfig, StartError};

#[cfg(feature = "client")]
use crate::client::{Client, Config};
use crate::machine::{
    Answer, BatchId, BatchView, Command, JobId, JobView, NewJob, Query, QueueView, Reply, Settings,
    State,
};
#[cfg(feature = "node")]
use crate::node::QueueNode;
use crate::service::{Caller, QueueService};
use crate::worker::link::{self, Identity, Link};
pub(crate) use carriers::Carrier;
#[cfg(feature = "client")]
pub(crate) use carriers::{Heard, Sent};
use quorate_core::error::{Code, Error};
use quorate_core::retry::Backoff;
use quorate_core::types::Name;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at a job or a batch that is waited for.
const LOOK_MIN: Duration = Duration::from_millis(50);
/// The longest such pause.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// A handle on a queue service. Cheap to clone; every clone uses the same connection or replica.
#[derive(Clone)]
pub struct Queue {
    service: Arc<dyn QueueService>,
    timeout: Duration,
    /// Set when the service is a client: its streams do what single calls do, with less.
    #[cfg(feature = "client")]
    client: Option<Client>,
    #[cfg(feature = "node")]
    node: Option<QueueNode>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    /// Over a cluster: its API addresses, separated by commas. Connects with the first call. Must be
    /// called within a tokio runtime.
    #[cfg(feature = "client")]
    pub fn connect(servers: &str) -> Result<Self, Error> {
        Ok(Self::over(Client::new(&Config::servers(servers))?))
    }

    /// As [`Queue::connect`], with a client that was set up otherwise.
    #[cfg(feature = "client")]
    pub fn over(client: Client) -> Self {
        Self {
            client: Some(client.clone()),
            ..Self::from_service(Arc::new(client))
        }
    }

    /// Over a replica in this process: alone, or one of three or five that form a cluster. The replica
    /// stops with [`Queue::shutdown`].
    #[cfg(feature = "node")]
    pub async fn embedded(config: NodeConfig) -> Result<Self, StartError> {
        let node = QueueNode::start(config).await?;
        Ok(Self {
            node: Some(node.clone()),
            ..Self::from_service(Arc::new(node))
        })
    }

    /// Over a replica of its own that keeps everything in memory: for tests and for trying things out.
    /// What is in it is gone with the process.
    #[cfg(feature = "node")]
    pub async fn in_memory() -> Result<Self, StartError> {
        Self::embedded(NodeConfig::in_memory()).await
    }

    /// Ends the replica of [`Queue::embedded`] in order: it hands leadership over and closes its log.
    /// Over a cluster there is nothing to end.
    pub async fn shutdown(&self) {
        #[cfg(feature = "node")]
        if let Some(node) = &self.node {
            node.shutdown().await;
        }
    }

    /// Over any implementation of the service.
    pub fn from_service(service: Arc<dyn QueueService>) -> Self {
        Self {
            service,
            timeout: Caller::default().timeout,
            #[cfg(feature = "client")]
            client: None,
            #[cfg(feature = "node")]
            node: None,
        }
    }

    /// How long one operation may take, retries included. 10 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The service beneath, for operations that this type has no method for.
    pub fn service(&self) -> Arc<dyn QueueService> {
        Arc::clone(&self.service)
    }

    /// Adds a job with this payload, encoded to JSON. It is synced on a majority when this returns.
    pub async fn enqueue<T: Serialize + ?Sized>(
        &self,
        queue: &str,
        payload: &T,
    ) -> Result<JobId, Error> {
        Ok(self.job(queue, payload).enqueue().await?.id)
    }

    /// Adds jobs, all or none, and gives their ids in order. At most 1,000.
    pub async fn enqueue_many<T: Serialize>(
        &self,
        queue: &str,
        payloads: impl IntoIterator<Item = T>,
    ) -> Result<Vec<JobId>, Error> {
        let jobs = payloads
            .into_iter()
            .map(|payload| jobs::encode(&payload))
            .collect::<Result<Vec<_>, _>>()?;
        let added = self.add(Name::new(queue)?, jobs).await?;
        Ok(added.into_iter().map(|added| added.id).collect())
    }

    /// A job with options: `queue.job("q", &payload).priority(0).enqueue()`.
    pub fn job<T: Serialize + ?Sized>(&self, queue: &str, payload: &T) -> JobBuilder {
        JobBuilder::new(self.clone(), queue, jobs::encode(payload))
    }

    /// Adds jobs as they are, all or none.
    pub async fn add(&self, queue: Name, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, Error> {
        match self.execute(Command::Enqueue { queue, jobs }).await? {
            Reply::Enqueued(ids) => Ok(ids.into_iter().map(Enqueued::from).collect()),
            _ => Err(misfit()),
        }
    }

    /// A batch of jobs that are joined: `queue.batch("q").key("film").join("join", &x).create()`.
    pub fn batch(&self, queue: &str) -> BatchBuilder {
        BatchBuilder::new(self.clone(), queue)
    }

    /// A batch that exists.
    pub fn open_batch(&self, id: BatchId) -> Batch {
        Batch::new(self.clone(), id)
    }

    /// Adds many jobs a second: several requests are under way at once, each with many jobs.
    pub fn producer(&self, queue: &str) -> Result<Producer, Error> {
        Ok(Producer::start(
            Name::new(queue)?,
            self.carrier(),
            self.service(),
        ))
    }

    /// Creates a queue or changes its settings.
    pub async fn configure(&self, queue: &str, settings: Settings) -> Result<(), Error> {
        let queue = Name::new(queue)?;
        self.done(Command::Configure { queue, settings }).await
    }

    /// A queue: settings, counts by state, age of the oldest job that waits.
    pub async fn inspect(&self, queue: &str) -> Result<QueueView, Error> {
        let queue = Name::new(queue)?;
        match self.query(Query::Queue { queue }).await? {
            Answer::Queue(view) => Ok(*view),
            _ => Err(misfit()),
        }
    }

    /// All that is known of a job.
    pub async fn get(&self, job: JobId) -> Result<JobView, Error> {
        match self.query(Query::Job { job }).await? {
            Answer::Job(view) => Ok(*view),
            _ => Err(misfit()),
        }
    }

    /// Waits until a job is completed, dead or cancelled.
    pub async fn wait(&self, job: JobId) -> Result<JobView, Error> {
        self.look(|| self.get(job), |view| is_final(view.state))
            .await
    }

    /// Cancels a job. One that runs is told by its worker's next heartbeat.
    pub async fn cancel(&self, job: JobId) -> Result<(), Error> {
        self.done(Command::CancelJob { job }).await
    }

    /// Makes a dead job ready again.
    pub async fn retry(&self, job: JobId) -> Result<(), Error> {
        self.done(Command::RetryJob { job }).await
    }

    async fn execute(&self, command: Command) -> Result<Reply, Error> {
        self.service.execute(&self.caller(), command).await
    }

    async fn done(&self, command: Command) -> Result<(), Error> {
        match self.execute(command).await? {
            Reply::Done => Ok(()),
            _ => Err(misfit()),
        }
    }

    async fn query(&self, query: Query) -> Result<Answer, Error> {
        self.service.query(&self.caller(), query).await
    }

    fn caller(&self) -> Caller {
        Caller {
            timeout: self.timeout,
            ..Caller::default()
        }
    }

    async fn view_of(&self, batch: BatchId) -> Result<BatchView, Error> {
        match self.query(Query::Batch { batch }).await? {
            Answer::Batch(view) => Ok(*view),
            _ => Err(misfit()),
        }
    }

    /// Looks again and again, ever more slowly, until it is `done`. Failures that may pass do not end
    /// it: a change of leader is no reason to stop waiting.
    async fn look<T, F>(
        &self,
        look: impl Fn() -> F,
        mut done: impl FnMut(&T) -> bool,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut pause = LOOK_MIN;
        let mut backoff = Backoff::default();
        loop {
            match look().await {
                Ok(view) if done(&view) => return Ok(view),
                Ok(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LOOK_MAX);
                }
                Err(error) if error.code.kind() == quorate_core::error::Kind::Rejected => {
                    return Err(error);
                }
                Err(error) => tokio::time::sleep(backoff.next(error.retry_after_ms)).await,
            }
        }
    }

    pub(crate) fn link(&self, identity: Identity) -> Link {
        #[cfg(feature = "client")]
        if let Some(client) = &self.client {
            return crate::client::work::over_stream(client.clone(), identity);
        }
        link::over_calls(Arc::clone(&self.service), identity)
    }

    fn carrier(&self) -> Box<dyn Carrier> {
        #[cfg(feature = "client")]
        if let Some(client) = &self.client {
            return Box::new(carriers::Stream::new(client.clone()));
        }
        Box::new(carriers::Calls::new(self.service()))
    }
}

fn is_final(state: State) -> bool {
    matches!(state, State::Completed | State::Dead | State::Cancelled)
}

/// An answer that does not belong to its question: versions that do not match.
pub(crate) fn misfit() -> Error {
    Error::new(
        Code::Internal,
        "the queue answered something else than was asked; use matching versions of client and server",
    )
}
