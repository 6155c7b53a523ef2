//! What a node says about itself, for health, redirection and people.

use crate::replica::Role;
use crate::types::{ClusterId, LogIndex, LogTime, NodeId, Term};

/// Where a node is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Its peers are not all there yet to form the cluster for the first time.
    Forming,
    /// Part of the cluster.
    Running,
    /// Cannot go on; the reason says what to do.
    Failed,
    /// Was shut down.
    Stopped,
}

/// A snapshot of a node's standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Where it is in its life.
    pub state: NodeState,
    /// The cluster, once formed.
    pub cluster: Option<ClusterId>,
    /// This node.
    pub node: NodeId,
    /// The leader it knows of.
    pub leader: Option<NodeId>,
    /// Its role.
    pub role: Role,
    /// Current term.
    pub term: Term,
    /// Highest committed index.
    pub commit: LogIndex,
    /// Highest applied index.
    pub applied: LogIndex,
    /// Time of the last applied entry.
    pub log_time: LogTime,
    /// Can serve: a leader is known and this node is up to date with it.
    pub ready: bool,
    /// Why it cannot serve, for people; empty when it can.
    pub reason: String,
}

impl NodeStatus {
    pub(super) fn forming(node: NodeId) -> Self {
        Self {
            state: NodeState::Forming,
            cluster: None,
            node,
            leader: None,
            role: Role::Follower,
            term: Term(0),
            commit: LogIndex(0),
            applied: LogIndex(0),
            log_time: LogTime(0),
            ready: false,
            reason: "starting".to_owned(),
        }
    }
}
