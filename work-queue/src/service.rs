//! The queue as an async service: what REST, gRPC, the Rust API and the worker agent talk to.

use crate::machine::{Answer, Command, Query, Renewal, Renewed, Reply};
use async_trait::async_trait;
use quorate_core::error::Error;
pub use quorate_core::service::{Caller, ClusterInfo};

/// The queue, wherever it runs. A replica in this process and the client of a cluster implement it.
#[async_trait]
pub trait QueueService: Send + Sync + 'static {
    /// Logs a command and answers once it is applied, hence synced on a majority.
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Reply, Error>;

    /// Answers a question, linearizably.
    async fn query(&self, caller: &Caller, query: Query) -> Result<Answer, Error>;

    /// A heartbeat: renews the leases it lists.
    async fn renew(&self, caller: &Caller, renewal: Renewal) -> Result<Renewed, Error>;

    /// Opens a client stream in the log: its number goes into `OpKey::Stream` with every operation
    /// that shall be executed once.
    async fn open_stream(&self, _caller: &Caller) -> Result<u64, Error> {
        Err(Error::unimplemented("numbering requests in a stream"))
    }

    /// How this endpoint stands.
    async fn cluster(&self) -> Result<ClusterInfo, Error>;
}
