//! What the services of all patterns have in common: who asks, and where an endpoint stands.

use crate::machine::OpKey;
use crate::types::Principal;
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
    /// A request that would find nothing (work, in an empty queue) waits so long.
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

impl ClusterInfo {
    /// The endpoint is a node that says of itself that it leads.
    pub fn leads(&self) -> bool {
        self.node_id != 0 && self.leader == Some(self.node_id)
    }
}

#[cfg(feature = "replica")]
impl From<crate::node::NodeStatus> for ClusterInfo {
    fn from(status: crate::node::NodeStatus) -> Self {
        Self {
            cluster_id: status.cluster.map(|id| id.to_string()).unwrap_or_default(),
            node_id: status.node.0,
            leader: status.leader.map(|node| node.0),
            ready: status.ready,
            reason: status.reason,
            term: status.term.0,
            commit: status.commit.0,
            applied: status.applied.0,
        }
    }
}
