//! Who this replica is and who the others are: settings that only make sense together.

use super::{Address, ConfigErrors, Origin, Settings};
use crate::types::NodeId;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A replica's place, as a node is configured with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// This replica.
    pub node: NodeId,
    /// Peer addresses of all replicas, this one included.
    pub peers: BTreeMap<NodeId, String>,
    /// Where this one listens for the others; `None` when it is alone.
    pub peer_listen: Option<Address>,
}

impl Settings {
    /// Checks `node_id`, `peers` and `peer_listen` against each other. Without peers this is a group
    /// of one, and its number is 1 unless it was given.
    pub fn membership(&self) -> Result<Membership, ConfigErrors> {
        let Some(peers) = &self.peers else {
            let node = self.node_id.unwrap_or(NodeId(1));
            let alone = self
                .peer_listen
                .as_ref()
                .map_or_else(|| "127.0.0.1:0".to_owned(), ToString::to_string);
            return Ok(Membership {
                node,
                peers: BTreeMap::from([(node, alone)]),
                peer_listen: None,
            });
        };
        let node = match self.node_id {
            Some(node) => node,
            None if peers.0.len() == 1 => peers.0.keys().copied().next().unwrap_or(NodeId(1)),
            None => {
                return Err(ConfigErrors::one(
                    "peers names several replicas but not which one this is: set QUORATE_NODE_ID \
                     (--node-id) to its number, or to ordinal in a StatefulSet",
                ));
            }
        };
        let Some(own) = peers.0.get(&node) else {
            let known: Vec<String> = peers.0.keys().map(ToString::to_string).collect();
            return Err(ConfigErrors::one(format!(
                "node_id is {node}, but peers names only {}: add {node}=host:port or correct \
                 QUORATE_NODE_ID",
                known.join(", ")
            )));
        };
        // The default of peer_listen is loopback; a replica whose own address is on loopback with
        // another port must listen there, or nobody finds it.
        let peer_listen = match &self.peer_listen {
            Some(given) if self.origin("peer_listen") != Some(&Origin::Default) => given.clone(),
            _ => own.clone(),
        };
        Ok(Membership {
            node,
            peers: peers
                .0
                .iter()
                .map(|(id, address)| (*id, address.to_string()))
                .collect(),
            peer_listen: Some(peer_listen),
        })
    }

    /// The data directory, which `serve` requires.
    pub fn require_data_dir(&self) -> Result<PathBuf, ConfigErrors> {
        self.data_dir.clone().ok_or_else(|| {
            ConfigErrors::one(
                "data_dir is required: set QUORATE_DATA_DIR (--data-dir) to a directory on a disk \
                 that survives restarts (`quorate dev` keeps to memory without it)",
            )
        })
    }
}
