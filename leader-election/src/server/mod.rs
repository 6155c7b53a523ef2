//! The container: the API over an [`ElectionService`], handed to the runtime that listens and drains.
//!
//! [`compose`] is what every role shares; a role adds where the service comes from: [`replica`] runs a
//! voting node in this process, [`sidecar`] is the ambassador of a remote cluster beside one application.

mod replica;
mod sidecar;

pub use replica::{replica, replica_in_memory};
pub use sidecar::sidecar;

use crate::api::{Api, grpc};
use crate::service::ElectionService;
use futures::future::BoxFuture;
use quorate_core::error::Error;
use quorate_core::runtime::{Failure, Service, Starting, Status};
use quorate_core::types::Name;
use std::sync::Arc;
use tokio::sync::watch;

/// Version of this build, as `/v1/info` tells it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The routes of a service in a container. `role` is `serve`, `sidecar` or `dev`; `status` says
/// whether the service can be used; `stop` ends it after the last request was answered.
///
/// # Errors
/// A setting that makes no sense; a bug in the descriptions of the API.
pub fn compose(
    service: Arc<dyn ElectionService>,
    role: &'static str,
    starting: &Starting,
    status: watch::Receiver<Status>,
    stop: BoxFuture<'static, ()>,
) -> Result<Service, Failure> {
    let api = Api::new(service, role, VERSION, starting.drain.clone())
        .with_candidate(candidate(starting)?);
    Ok(started(api.router()?, status, stop))
}

fn started(
    api: axum::Router,
    status: watch::Receiver<Status>,
    stop: BoxFuture<'static, ()>,
) -> Service {
    Service {
        api,
        grpc_services: vec![grpc::SERVICE.to_owned()],
        status,
        stop,
    }
}

/// The candidate of the settings.
fn candidate(starting: &Starting) -> Result<Option<Name>, Failure> {
    let id = starting.settings.candidate_id.as_deref();
    let named = id.map(|id| Name::new(id).map_err(Error::from)).transpose();
    named.map_err(|error| Failure::config(format!("candidate_id: {}", error.detail)))
}
