//! The role `sidecar`: the API on localhost over a remote cluster. The application sees one server;
//! finding the leader, keeping connections and retrying is this container's business.

use super::compose;
use crate::client::Client;
use crate::service::QueueService as _;
use quorate_core::runtime::{Failure, Service, Starting, remote};
use std::sync::Arc;

/// An ambassador of the servers in the settings.
///
/// # Errors
/// No or unusable server addresses, a token file that cannot be read.
pub async fn sidecar(starting: Starting) -> Result<Service, Failure> {
    let config = starting.settings.cluster()?;
    let client = Client::new(&config).map_err(|error| Failure::config(error.detail))?;
    let asked = client.clone();
    let cluster = move || {
        let client = asked.clone();
        async move { client.cluster().await }
    };
    let status = remote::status(cluster, starting.drain.clone());
    let stop = Box::pin(async {});
    compose(Arc::new(client), "sidecar", &starting, status, stop)
}
