//! A replica behind a container: how it is started, and how it gets on.

use super::app::Starting;
use super::exit::Failure;
use super::info::Status;
use crate::node::{Config, NodeState, NodeStatus, OnFatal, StartError};
use std::path::PathBuf;
use tokio::sync::watch;

impl Starting {
    /// What the settings say of this container's replica. Without a data directory it keeps everything in
    /// memory.
    ///
    /// # Errors
    /// Settings that contradict themselves, an open door for peers.
    pub fn replica(&self, data_dir: Option<PathBuf>) -> Result<Config, Failure> {
        let peering = self.peering()?;
        Ok(Config {
            node: peering.node,
            peers: peering.peers,
            peer_listen: peering.peer_listen,
            peer_tls: peering.peer_tls,
            data_dir,
            on_fatal: OnFatal::Abort,
            ..Config::in_memory()
        })
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        if error.is_configuration() {
            Self::config(error.to_string())
        } else {
            Self::unavailable(error.to_string())
        }
    }
}

/// Tells a container how its replica gets on. The status ends, and with it the container, when the replica
/// has failed.
pub fn status(mut node: watch::Receiver<NodeStatus>) -> watch::Receiver<Status> {
    let (container, status) = watch::channel(Status::default());
    tokio::spawn(async move {
        loop {
            let now = node.borrow_and_update().clone();
            let over = matches!(now.state, NodeState::Failed);
            container.send_replace(Status {
                ready: now.ready,
                reason: now.reason,
                cluster_id: now.cluster,
                node_id: Some(now.node),
                leader: now.leader,
            });
            if over || node.changed().await.is_err() {
                return;
            }
        }
    });
    status
}
