//! Who this node is to its peers, and whom it takes for a peer.

use super::PROTOCOL;
use crate::replica::Member;
use crate::types::{ClusterId, DiskId, NodeId};
use bytes::Bytes;
use quorate_proto::peer;
use tonic::Status;

/// This node's identity and the membership it knows. Before the cluster is formed there is no id and
/// nobody is a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct Standing {
    pub(in crate::node) cluster: Option<ClusterId>,
    pub(in crate::node) me: Member,
    pub(in crate::node) members: Vec<Member>,
    pub(in crate::node) initial_peers: Vec<NodeId>,
}

impl Standing {
    pub(in crate::node) fn identity(&self) -> peer::Identity {
        peer::Identity {
            node_id: self.me.node.0,
            disk_id: wide(self.me.disk.0),
            cluster_id: self
                .cluster
                .map_or_else(Bytes::new, |cluster| wide(cluster.0)),
        }
    }

    pub(in crate::node) fn hello(&self, to: NodeId) -> peer::HelloRequest {
        peer::HelloRequest {
            from: Some(self.identity()),
            to: to.0,
            initial_peers: self.initial_peers.iter().map(|node| node.0).collect(),
            protocol: PROTOCOL,
        }
    }

    pub(in crate::node) fn hello_response(&self) -> peer::HelloResponse {
        peer::HelloResponse {
            identity: Some(self.identity()),
            members: self
                .members
                .iter()
                .map(|member| peer::Member {
                    node_id: member.node.0,
                    disk_id: wide(member.disk.0),
                })
                .collect(),
            initial_peers: self.initial_peers.iter().map(|node| node.0).collect(),
            protocol: PROTOCOL,
        }
    }

    /// The node behind `from`, if it is a member of this cluster that speaks to this node.
    pub(in crate::node) fn admit(
        &self,
        from: Option<&peer::Identity>,
        to: Option<u64>,
    ) -> Result<NodeId, Status> {
        let from =
            from.ok_or_else(|| Status::invalid_argument("the sender does not say who it is"))?;
        let refuse = |text: String| Err(Status::permission_denied(text));
        if to.is_some_and(|to| to != self.me.node.0) {
            return refuse(format!(
                "this is node {}; correct QUORATE_PEERS",
                self.me.node
            ));
        }
        let Some(cluster) = self.cluster else {
            return Err(Status::unavailable(
                "this node is not part of a cluster yet",
            ));
        };
        if cluster_from_wire(&from.cluster_id) != Some(cluster) {
            return refuse(format!(
                "this node belongs to cluster {cluster}; the sender does not"
            ));
        }
        let sender = member_from_wire(from.node_id, &from.disk_id)
            .ok_or_else(|| Status::invalid_argument("the sender's disk id is malformed"))?;
        if sender.node == self.me.node {
            return refuse(format!(
                "the sender claims to be node {}, as this node is; give each its own QUORATE_NODE_ID",
                sender.node
            ));
        }
        if !self.members.contains(&sender) {
            return refuse(format!(
                "node {} with disk {} is not a member of cluster {cluster}; if its data directory was lost, replace the node: \
                 a wiped node never votes under its old id",
                sender.node, sender.disk
            ));
        }
        Ok(sender.node)
    }
}

fn wide(id: u128) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

fn narrow(bytes: &[u8]) -> Option<u128> {
    bytes.try_into().ok().map(u128::from_be_bytes)
}

pub(in crate::node) fn cluster_from_wire(bytes: &[u8]) -> Option<ClusterId> {
    narrow(bytes).map(ClusterId)
}

pub(in crate::node) fn member_from_wire(node: u64, disk: &[u8]) -> Option<Member> {
    narrow(disk).map(|disk| Member {
        node: NodeId(node),
        disk: DiskId(disk),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u64) -> Member {
        Member {
            node: NodeId(node),
            disk: DiskId(u128::from(node) << 100),
        }
    }

    fn standing(node: u64) -> Standing {
        Standing {
            cluster: Some(ClusterId(7)),
            me: member(node),
            members: vec![member(1), member(2), member(3)],
            initial_peers: vec![NodeId(1), NodeId(2), NodeId(3)],
        }
    }

    #[test]
    fn only_members_of_this_cluster_with_their_own_disk_are_admitted() {
        let me = standing(1);
        assert_eq!(
            me.admit(Some(&standing(2).identity()), Some(1)).ok(),
            Some(NodeId(2))
        );
        assert!(me.admit(None, Some(1)).is_err(), "nameless");
        assert!(
            me.admit(Some(&standing(2).identity()), Some(3)).is_err(),
            "meant for another"
        );
        assert!(
            me.admit(Some(&standing(1).identity()), Some(1)).is_err(),
            "a second node 1"
        );
        let other_cluster = Standing {
            cluster: Some(ClusterId(8)),
            ..standing(2)
        };
        assert!(
            me.admit(Some(&other_cluster.identity()), Some(1)).is_err(),
            "another cluster"
        );
        let wiped = Standing {
            me: Member {
                disk: DiskId(99),
                ..member(2)
            },
            ..standing(2)
        };
        assert!(
            me.admit(Some(&wiped.identity()), Some(1)).is_err(),
            "another disk"
        );
        let unformed = Standing {
            cluster: None,
            ..standing(1)
        };
        assert!(
            unformed
                .admit(Some(&standing(2).identity()), Some(1))
                .is_err(),
            "not formed"
        );
    }
}
