//! The role `sidecar`: the API on localhost over a remote cluster. The application sees one server;
//! finding the leader, keeping connections and retrying is this container's business.

use super::compose;
use crate::client::{Client, Config};
use crate::service::{Caller, ElectionService};
use quorate_core::runtime::{Failure, Service, Starting, Status};
use quorate_core::types::{ClusterId, NodeId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the cluster is asked how it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// An ambassador of the servers in the settings.
///
/// # Errors
/// No or unusable server addresses, a token file that cannot be read.
pub async fn sidecar(starting: Starting) -> Result<Service, Failure> {
    let settings = &starting.settings;
    if settings.servers.0.is_empty() {
        return Err(Failure::config(
            "servers is required: set QUORATE_SERVERS (--servers) to the API addresses of the cluster, host:port,host:port",
        ));
    }
    let token = match &settings.servers_token_file {
        None => None,
        Some(path) => Some(read_token(path).await?),
    };
    let config = Config {
        servers: settings.servers.0.iter().map(ToString::to_string).collect(),
        token,
    };
    let client = Client::new(&config).map_err(|error| Failure::config(error.detail))?;
    let (status, seen) = watch::channel(Status::default());
    let watching = client.clone();
    let drain = starting.drain.clone();
    // The status outlives the drain: the container takes a dropped sender for a dead service.
    tokio::spawn(async move { look(&watching, &status, &drain).await });
    compose(
        Arc::new(client),
        "sidecar",
        &starting,
        seen,
        Box::pin(async {}),
    )
}

async fn read_token(path: &std::path::Path) -> Result<String, Failure> {
    let unreadable = |why: &dyn std::fmt::Display| {
        Failure::config(format!(
            "servers_token_file {} cannot be used: {why}",
            path.display()
        ))
    };
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| unreadable(&error))?;
    let token = text
        .lines()
        .next()
        .map(str::trim)
        .filter(|token| !token.is_empty());
    token
        .map(str::to_owned)
        .ok_or_else(|| unreadable(&"it is empty; its first line is the token"))
}

/// Readiness of an ambassador is that of its cluster: it never depends on the application.
async fn look(
    client: &Client,
    status: &watch::Sender<Status>,
    drain: &tokio_util::sync::CancellationToken,
) {
    let caller = Caller {
        timeout: Duration::from_secs(2),
        ..Caller::default()
    };
    while !status.is_closed() {
        let next = match client.cluster().await {
            Ok(info) => Status {
                ready: info.ready,
                reason: info.reason,
                cluster_id: u128::from_str_radix(&info.cluster_id, 16)
                    .ok()
                    .map(ClusterId),
                node_id: None,
                leader: info.leader.map(NodeId),
            },
            Err(error) => Status {
                ready: false,
                reason: error.to_string(),
                ..Status::default()
            },
        };
        status.send_if_modified(|now| {
            let changed = *now != next;
            if changed {
                *now = next;
            }
            changed
        });
        tokio::time::sleep(if drain.is_cancelled() {
            caller.timeout
        } else {
            LOOK_EVERY
        })
        .await;
    }
}
