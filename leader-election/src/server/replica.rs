//! The role `serve`: a voting replica, with the API over it.

use super::compose;
use crate::node::ElectionNode;
use quorate_core::node::Node;
use quorate_core::runtime::{Failure, Service, Starting};
use std::path::PathBuf;
use std::sync::Arc;

/// A replica that keeps its log in the data directory of the settings, which is required.
///
/// # Errors
/// Settings that contradict themselves, a data directory that was refused, a port in use.
pub async fn replica(starting: Starting) -> Result<Service, Failure> {
    let settings = &starting.settings;
    if settings.election.is_some() || settings.compat_4040.0 {
        return Err(Failure::config(
            "election and compat_4040 are for a sidecar, which stands for one: take QUORATE_ELECTION (--election) and QUORATE_COMPAT_4040 (--compat-4040) away, or start `sidecar` beside the application",
        ));
    }
    let data_dir = settings.require_data_dir()?;
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
    let node = Node::start(starting.replica(data_dir)?).await?;
    let status = quorate_core::runtime::replica::status(node.status());
    let stop = {
        let node = node.clone();
        Box::pin(async move { node.shutdown().await })
    };
    let service = Arc::new(ElectionNode::new(node));
    compose(service, role, &starting, status, stop)
}
