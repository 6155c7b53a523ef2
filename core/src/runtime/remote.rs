//! A remote cluster behind a container: how it is reached, and how it gets on.

use super::exit::Failure;
use super::info::Status;
use super::settings::Settings;
#[cfg(feature = "client")]
use crate::client::Config;
use crate::error::Error;
use crate::service::ClusterInfo;
use crate::types::{ClusterId, NodeId};
use std::fmt::Display;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the cluster is asked how it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The same while the container drains.
const LOOK_EVERY_AT_LAST: Duration = Duration::from_secs(2);

impl Settings {
    /// How to reach the cluster that these settings name, which a sidecar must have.
    ///
    /// # Errors
    /// No servers; a token file that cannot be read.
    #[cfg(feature = "client")]
    pub fn cluster(&self) -> Result<Config, Failure> {
        if self.servers.0.is_empty() {
            return Err(Failure::config(
                "servers is required: set QUORATE_SERVERS (--servers) to the API addresses of the cluster, host:port,host:port",
            ));
        }
        Ok(Config {
            servers: self.servers.0.iter().map(ToString::to_string).collect(),
            token: self.servers_token()?,
            tls: self.upstream(),
        })
    }

    /// The token to present to servers: the first line of its file. Read once, at the start.
    ///
    /// # Errors
    /// The file cannot be read, or its first line is empty.
    pub fn servers_token(&self) -> Result<Option<String>, Failure> {
        let Some(path) = &self.servers_token_file else {
            return Ok(None);
        };
        let unusable = |why: &dyn Display| {
            Failure::config(format!(
                "servers_token_file {} cannot be used: {why}",
                path.display()
            ))
        };
        let text = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
        match text.lines().next().unwrap_or_default().trim() {
            "" => Err(unusable(
                &"its first line is empty; write the token into it",
            )),
            token => Ok(Some(token.to_owned())),
        }
    }
}

/// How the cluster behind a container gets on, which is asked for as long as the container lives: readiness of
/// an ambassador is that of its cluster, and never depends on the application.
pub fn status<F>(
    cluster: impl Fn() -> F + Send + 'static,
    drain: CancellationToken,
) -> watch::Receiver<Status>
where
    F: Future<Output = Result<ClusterInfo, Error>> + Send,
{
    let (container, status) = watch::channel(Status::default());
    // It outlives the drain: the container takes a dropped sender for a dead service.
    tokio::spawn(async move {
        while !container.is_closed() {
            let next = match cluster().await {
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
            container.send_if_modified(|now| {
                let changed = *now != next;
                if changed {
                    *now = next;
                }
                changed
            });
            let pause = if drain.is_cancelled() {
                LOOK_EVERY_AT_LAST
            } else {
                LOOK_EVERY
            };
            tokio::time::sleep(pause).await;
        }
    });
    status
}
