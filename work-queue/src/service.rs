//! The queue as an async service: what REST, gRPC, the Rust API and the worker agent talk to.

use crate::machine::{Answer, Command, Query, Renewal, Renewed, Reply};
use async_trait::async_trait;
use quorate_core::error::Error;
use quorate_core::machine::OpKey;
use quorate_core::types::Principal;
use std::time::Duration;

/// Who asks, and how long they are willing to wait.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// Makes a retry of the same operation safe.
    pub key: Option<OpKey>,
    /// The answer must come within this time; past it the outcome of a command is unknown.
    pub timeout: Duration,
    /// A request for work that would find nothing waits so long.
    pub wait: Duration,
}

impl Default for Caller {
    fn default() -> Self {
        Self {
            principal: Principal::anonymous(),
            key: None,
            timeout: Duration::from_secs(10),
            wait: Duration::ZERO,
        }
    }
}

/// Where this endpoint stands in its cluster, for `/v1/info` and `cluster status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Cluster id in hexadecimal, empty before bootstrap.
    pub cluster_id: String,
    /// This node; 0 for a sidecar.
    pub node_id: u64,
    /// The leader it knows of.
    pub leader: Option<u64>,
    /// Can serve.
    pub ready: bool,
    /// Why not, for people.
    pub reason: String,
    /// Term, commit and applied index.
    pub term: u64,
    /// Commit index.
    pub commit: u64,
    /// Applied index.
    pub applied: u64,
}

/// The queue, wherever it runs. A replica in this process and the client of a cluster implement it.
#[async_trait]
pub trait QueueService: Send + Sync + 'static {
    /// Logs a command and answers once it is applied, hence synced on a majority.
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Reply, Error>;

    /// Answers a question, linearizably.
    async fn query(&self, caller: &Caller, query: Query) -> Result<Answer, Error>;

    /// A heartbeat: renews the leases it lists.
    async fn renew(&self, caller: &Caller, renewal: Renewal) -> Result<Renewed, Error>;

    /// Opens a client stream in the log: its number goes into [`OpKey::Stream`] with every operation
    /// that shall be executed once.
    async fn open_stream(&self, _caller: &Caller) -> Result<u64, Error> {
        Err(Error::unimplemented("numbering requests in a stream"))
    }

    /// How this endpoint stands.
    async fn cluster(&self) -> Result<ClusterInfo, Error>;
}
