//! The elections served by a replica in this process.

mod hub;
mod observer;

use crate::machine::{Answer, Command, ElectionMachine, Query, Renewal, Renewed};
use crate::service::{Caller, ClusterInfo, ElectionService, Executed, Observation};
use async_trait::async_trait;
use hub::Hub;
use observer::Observer;
use quorate_core::error::{Code, Error};
use quorate_core::machine::Origin;
use quorate_core::node::Node;
use quorate_core::types::Name;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// A replica of the elections, with what it takes to tell observers of them without a gap. Clones
/// share it.
#[derive(Clone, Debug)]
pub struct ElectionNode {
    node: Node<ElectionMachine>,
    hub: Arc<Hub>,
    _feeder: Arc<Feeder>,
}

/// The task that feeds the hub ends with the last handle.
#[derive(Debug)]
struct Feeder(JoinHandle<()>);

impl Drop for Feeder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ElectionNode {
    /// Serves elections from this replica. To be called within a tokio runtime, which then runs the
    /// task that tells observers.
    pub fn new(node: Node<ElectionMachine>) -> Self {
        let hub = Arc::new(Hub::default());
        let feeder = tokio::spawn(hub::feed(Arc::clone(&hub), node.clone()));
        Self {
            node,
            hub,
            _feeder: Arc::new(Feeder(feeder)),
        }
    }

    /// The replica.
    pub fn replica(&self) -> &Node<ElectionMachine> {
        &self.node
    }
}

#[async_trait]
impl ElectionService for ElectionNode {
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Executed, Error> {
        if command.is_leaders_own() {
            return Err(Error::new(
                Code::Forbidden,
                "only the leader of the cluster ends what was silent, and only when it has counted it out; close the session, revoke the leadership, or release it by force",
            ));
        }
        let origin = Origin::Client {
            principal: caller.principal.clone(),
            key: caller.key.clone(),
        };
        self.node
            .execute(origin, command, std::time::Duration::ZERO, caller.timeout)
            .await
            .map(|(reply, replayed)| Executed { reply, replayed })
    }

    async fn query(&self, caller: &Caller, query: Query) -> Result<Answer, Error> {
        self.node.query(query, caller.timeout).await
    }

    async fn renew(&self, caller: &Caller, renewal: Renewal) -> Result<Renewed, Error> {
        self.node.renew(renewal, caller.timeout).await
    }

    async fn observe(
        &self,
        caller: &Caller,
        election: Name,
        after: Option<u64>,
    ) -> Result<Observation, Error> {
        let mut observer = Observer::new(
            Arc::clone(&self.hub),
            self.node.clone(),
            election,
            after,
            caller.timeout,
        );
        // So that what is refused is refused here, and not by a stream that ends at once.
        observer.catch_up().await?;
        Ok(observer.stream())
    }

    async fn open_stream(&self, caller: &Caller) -> Result<u64, Error> {
        self.node
            .open_stream(&caller.principal, caller.timeout)
            .await
    }

    async fn cluster(&self) -> Result<ClusterInfo, Error> {
        Ok(self.node.status().borrow().clone().into())
    }
}
