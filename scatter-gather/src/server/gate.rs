//! The role `sidecar`: a gate in front of the leaf that `QUORATE_UPSTREAM` names.

use crate::api::gate_router;
use crate::gate::Gate;
use crate::pool::{Admission, AdmissionCaps, Hosts, LeafUrl};
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
    let admission = Admission::new(AdmissionCaps::default());
    let hosts = match settings.upstream() {
        Some(upstream) => Hosts::secured(admission, &upstream)
            .map_err(|error| Failure::config(error.to_string()))?,
        None if url.is_secure() => {
            return Err(Failure::config(
                "upstream: https:// needs an authority to trust: set QUORATE_SERVERS_CA (--servers-ca)",
            ));
        }
        None => Hosts::new(admission),
    };
    let gate = Arc::new(Gate::over(&hosts, url));
    let (status, seen) = watch::channel(Status {
        ready: true,
        ..Status::default()
    });
    Ok(Service {
        api: gate_router(gate, settings.token_file.is_some())?,
        grpc_services: Vec::new(),
        status: seen,
        stop: Box::pin(async move { drop(status) }),
    })
}
