//! The role `serve`: a voting replica, with the API over it.

use super::compose;
use crate::node::ElectionNode;
use quorate_core::node::{Config, Node, NodeState, NodeStatus, OnFatal, StartError};
use quorate_core::runtime::{Failure, Service, Starting, Status};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// A replica that keeps its log in the data directory of the settings, which is required.
///
/// # Errors
/// Settings that contradict themselves, a data directory that was refused, a port in use.
pub async fn replica(starting: Starting) -> Result<Service, Failure> {
    let data_dir = starting.settings.require_data_dir()?;
    start(starting, "serve", Some(data_dir)).await
}

/// The same for `quorate dev`: without a data directory it keeps everything in memory.
///
/// # Errors
/// As [`replica`].
pub async fn replica_in_memory(starting: Starting) -> Result<Service, Failure> {
    let data_dir = starting.settings.data_dir.clone();
    start(starting, "dev", data_dir).await
}

async fn start(
    starting: Starting,
    role: &'static str,
    data_dir: Option<PathBuf>,
) -> Result<Service, Failure> {
    let peering = starting.peering()?;
    let config = Config {
        node: peering.node,
        peers: peering.peers,
        peer_listen: peering.peer_listen,
        peer_tls: peering.peer_tls,
        data_dir,
        on_fatal: OnFatal::Abort,
        ..Config::in_memory()
    };
    let node = Node::start(config).await.map_err(|error| failure(&error))?;
    let (status, seen) = watch::channel(Status::default());
    tokio::spawn(forward(node.status(), status));
    let stop = {
        let node = node.clone();
        Box::pin(async move { node.shutdown().await })
    };
    compose(
        Arc::new(ElectionNode::new(node)),
        role,
        &starting,
        seen,
        stop,
    )
}

fn failure(error: &StartError) -> Failure {
    if error.is_configuration() {
        Failure::config(error.to_string())
    } else {
        Failure::unavailable(error.to_string())
    }
}

/// Tells the container how the node gets on. Ends, and with it the container, when the node failed.
async fn forward(mut node: watch::Receiver<NodeStatus>, container: watch::Sender<Status>) {
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
}
