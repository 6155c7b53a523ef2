//! The queue served by a replica in this process.

use crate::machine::{Answer, Command, Query, QueueMachine, Renewal, Renewed, Reply};
use crate::service::{Caller, ClusterInfo, QueueService};
use async_trait::async_trait;
use quorate_core::error::Error;
use quorate_core::machine::Origin;
use quorate_core::node::Node;

/// A replica of the queue. Clones share it.
pub type QueueNode = Node<QueueMachine>;

/// A grant that is told again has no validity until it is renewed: nobody knows how old it is.
fn expire(reply: &mut Reply) {
    let leases = match reply {
        Reply::Leased { leases, .. }
        | Reply::Settled {
            leased: Some((_, leases)),
            ..
        } => leases,
        _ => return,
    };
    for lease in leases {
        lease.lease_ms = 0;
    }
}

#[async_trait]
impl QueueService for QueueNode {
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Reply, Error> {
        let origin = Origin::Client {
            principal: caller.principal.clone(),
            key: caller.key.clone(),
        };
        Self::execute(self, origin, command, caller.wait, caller.timeout)
            .await
            .map(|(mut reply, replayed)| {
                if replayed {
                    expire(&mut reply);
                }
                reply
            })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{LeaseRequest, NewJob};
    use quorate_core::machine::OpKey;
    use quorate_core::node::Config;
    use quorate_core::types::Name;

    #[tokio::test]
    async fn a_grant_that_is_told_again_has_no_validity() {
        let node = QueueNode::start(Config::in_memory()).await.unwrap();
        let service: &dyn QueueService = &node;
        let queue = Name::new("q").unwrap();
        let enqueue = Command::Enqueue {
            queue: queue.clone(),
            jobs: vec![NewJob::default()],
        };
        service.execute(&Caller::default(), enqueue).await.unwrap();
        let lease = Command::Lease(LeaseRequest {
            queue,
            worker: "w".into(),
            session: None,
            max: 1,
            lease_ms: Some(30_000),
            heartbeat: 0,
        });
        let keyed = Caller {
            key: Some(OpKey::Idempotency { key: 1, body: 1 }),
            ..Caller::default()
        };
        let mut told = Vec::new();
        for _ in 0..2 {
            match service.execute(&keyed, lease.clone()).await.unwrap() {
                Reply::Leased { leases, .. } => told.push((leases[0].id, leases[0].lease_ms)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told[0].1, 30_000);
        assert_eq!(told[1], (told[0].0, 0));
        node.shutdown().await;
    }
}
