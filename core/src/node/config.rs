//! How a node is set up, and why it could not be.

use crate::log::LogError;
use crate::tls::CertFiles;
use crate::types::NodeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What to do when the node must not go on: a failed sync, a diverged state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFatal {
    /// Abort the process, after saying why. The safe choice: after a failed sync nothing this process
    /// believes about its disk is certain.
    Abort,
    /// Stop the node and report [`super::NodeState::Failed`]. For tests and for nodes without a disk.
    Stop,
}

/// How to run one node.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Peer addresses as `host:port` by node, this one included. At the first start of a cluster they
    /// are also its first members (1, 3 or 5 of them); later they are only addresses.
    pub peers: BTreeMap<NodeId, String>,
    /// Where to listen for peers; not needed by a single node.
    pub peer_listen: Option<SocketAddr>,
    /// Certificate, key and authority for the connections between replicas; `None` leaves them in the clear.
    pub peer_tls: Option<CertFiles>,
    /// Where to keep the log. `None` keeps it in memory: it is gone with the process.
    pub data_dir: Option<PathBuf>,
    /// What to do when the node must not go on.
    pub on_fatal: OnFatal,
    /// Length of a raft tick; an election starts after 3 to 5 of them without word from the leader.
    pub tick: Duration,
}

impl Config {
    /// A single node that keeps everything in memory.
    pub fn in_memory() -> Self {
        Self {
            node: NodeId(1),
            peers: BTreeMap::from([(NodeId(1), String::new())]),
            peer_listen: None,
            peer_tls: None,
            data_dir: None,
            on_fatal: OnFatal::Stop,
            tick: Duration::from_millis(50),
        }
    }

    /// A single node that keeps its log in this directory.
    pub fn single(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: Some(data_dir.into()),
            on_fatal: OnFatal::Abort,
            ..Self::in_memory()
        }
    }
}

/// Why a node did not start. Every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error("{0}")]
    Config(String),
    /// The peer address is taken or not of this machine.
    #[error(
        "cannot listen for peers on {address}: {error}; choose another with QUORATE_PEER_LISTEN or stop what uses it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The data directory was refused.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The stored state was refused.
    #[error("the stored state cannot be restored: {0}")]
    State(#[from] crate::codec::CodecError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl StartError {
    /// Whether only an operator can mend it (exit code 78), rather than time (69).
    pub fn is_configuration(&self) -> bool {
        !matches!(self, Self::Thread(_) | Self::Listen { .. })
    }
}

impl Config {
    /// Checks what can be checked before anything is touched.
    pub(super) fn check(&self) -> Result<(), StartError> {
        let refuse = |text: String| Err(StartError::Config(text));
        if self.node.0 == 0 {
            return refuse("node ids begin at 1; set QUORATE_NODE_ID".to_owned());
        }
        if !self.peers.contains_key(&self.node) {
            let known: Vec<String> = self.peers.keys().map(ToString::to_string).collect();
            return refuse(format!(
                "node {} is not among the peers ({}); add it to QUORATE_PEERS or correct QUORATE_NODE_ID",
                self.node,
                known.join(", ")
            ));
        }
        if !matches!(self.peers.len(), 1 | 3 | 5) {
            return refuse(format!(
                "QUORATE_PEERS names {} nodes; a cluster begins with 1, 3 or 5",
                self.peers.len()
            ));
        }
        if self.peers.len() > 1 && self.peer_listen.is_none() {
            return refuse("a node with peers needs QUORATE_PEER_LISTEN".to_owned());
        }
        if let Some((node, address)) = self
            .peers
            .iter()
            .find(|(_, address)| self.peers.len() > 1 && !has_port(address))
        {
            return refuse(format!(
                "the address {address:?} of peer {node} is not host:port; correct QUORATE_PEERS"
            ));
        }
        Ok(())
    }
}

fn has_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_refused_with_what_to_do() {
        let three = || Config {
            peers: (1..=3)
                .map(|n| (NodeId(n), format!("127.0.0.1:72{n:02}")))
                .collect(),
            peer_listen: Some(([127, 0, 0, 1], 0).into()),
            ..Config::in_memory()
        };
        assert!(three().check().is_ok());
        assert!(Config::in_memory().check().is_ok());
        let cases: [(Config, &str); 5] = [
            (
                Config {
                    node: NodeId(0),
                    ..three()
                },
                "begin at 1",
            ),
            (
                Config {
                    node: NodeId(9),
                    ..three()
                },
                "not among the peers",
            ),
            (
                Config {
                    peer_listen: None,
                    ..three()
                },
                "QUORATE_PEER_LISTEN",
            ),
            (
                Config {
                    peers: three().peers.into_iter().take(2).collect(),
                    ..three()
                },
                "1, 3 or 5",
            ),
            (
                Config {
                    peers: three()
                        .peers
                        .into_keys()
                        .map(|n| (n, "nowhere".to_owned()))
                        .collect(),
                    ..three()
                },
                "host:port",
            ),
        ];
        for (config, expected) in cases {
            let text = config.check().expect_err("refused").to_string();
            assert!(text.contains(expected), "{text}");
        }
    }
}
