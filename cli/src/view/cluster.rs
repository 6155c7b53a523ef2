//! Where every node stands.

use crate::output::Render;
use crate::table::Table;
use serde::Serialize;

/// The cluster as its nodes tell it.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterDocument {
    pub(crate) cluster_id: Option<String>,
    pub(crate) leader: Option<u64>,
    pub(crate) nodes: Vec<NodeRow>,
}

/// One address that was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct NodeRow {
    /// The address.
    pub(crate) server: String,
    /// The node behind it; absent when it does not answer.
    pub(crate) node_id: Option<u64>,
    /// `leader`, `follower`, `sidecar`, or `unreachable`.
    pub(crate) role: String,
    pub(crate) ready: bool,
    pub(crate) term: u64,
    pub(crate) commit: u64,
    pub(crate) applied: u64,
    /// Why it is not ready, or why it does not answer.
    pub(crate) reason: String,
}

impl Render for ClusterDocument {
    fn table(&self) -> Table {
        let mut table = Table::new(&[
            "SERVER", ">NODE", "ROLE", "READY", ">TERM", ">COMMIT", ">APPLIED", "REASON",
        ]);
        for node in &self.nodes {
            let id = node
                .node_id
                .map_or_else(|| "-".to_owned(), |id| id.to_string());
            table.row([
                &node.server,
                &id,
                &node.role,
                &if node.ready { "yes" } else { "no" },
                &node.term,
                &node.commit,
                &node.applied,
                &node.reason,
            ]);
        }
        table
    }
}
