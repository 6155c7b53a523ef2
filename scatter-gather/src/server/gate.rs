//! The role `sidecar`: a gate in front of the leaf that `QUORATE_UPSTREAM` names.

use crate::api::gate_router;
use crate::gate::Gate;
use crate::pool::LeafUrl;
use crate::server::upstream;
use quorate_core::runtime::{Failure, Service, Starting, Status};
use std::sync::Arc;
use tokio::sync::watch;

/// A gate in front of the leaf of the settings. Its readiness does not depend on the leaf.
///
/// # Errors
/// No leaf, or one that is not called.
pub async fn gate(starting: Starting) -> Result<Service, Failure> {
    let settings = &starting.settings;
    let Some(upstream) = &settings.upstream else {
        return Err(Failure::config(
            "upstream is required: set QUORATE_UPSTREAM (--upstream) to the leaf's http://host:port",
        ));
    };
    let url = LeafUrl::parse(&upstream.0)
        .map_err(|error| Failure::config(format!("upstream: {error}")))?;
    let hosts = upstream::hosts(settings, Some(("upstream", &url)))?;
    let credential = upstream::credential(settings)?;
    let gate = Arc::new(Gate::over(&hosts, url));
    let (status, seen) = watch::channel(Status {
        ready: true,
        ..Status::default()
    });
    Ok(Service {
        api: gate_router(gate, settings.token_file.is_some(), credential)?,
        grpc_services: Vec::new(),
        status: seen,
        stop: Box::pin(async move { drop(status) }),
    })
}
