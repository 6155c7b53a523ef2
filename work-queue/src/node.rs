//! The queue served by a replica in this process.

use crate::machine::{Answer, Command, Query, QueueMachine, Renewal, Renewed, Reply};
use crate::service::{Caller, ClusterInfo, QueueService};
use async_trait::async_trait;
use quorate_core::error::Error;
use quorate_core::machine::Origin;
use quorate_core::node::Node;

/// A replica of the queue. Clones share it.
pub type QueueNode = Node<QueueMachine>;

#[async_trait]
impl QueueService for QueueNode {
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Reply, Error> {
        let origin = Origin::Client {
            principal: caller.principal.clone(),
            key: caller.key.clone(),
        };
        Self::execute(self, origin, command, caller.wait, caller.timeout)
            .await
            .map(|(reply, _)| reply)
    }

    async fn query(&self, caller: &Caller, query: Query) -> Result<Answer, Error> {
        Self::query(self, query, caller.timeout).await
    }

    async fn renew(&self, caller: &Caller, renewal: Renewal) -> Result<Renewed, Error> {
        Self::renew(self, renewal, caller.timeout).await
    }

    async fn open_stream(&self, caller: &Caller) -> Result<u64, Error> {
        Self::open_stream(self, &caller.principal, caller.timeout).await
    }

    async fn cluster(&self) -> Result<ClusterInfo, Error> {
        Ok(self.status().borrow().clone().into())
    }
}
