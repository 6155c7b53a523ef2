//! The container: the API over a [`QueueService`], handed to the runtime that listens and drains.
//!
//! [`compose`] is what every role shares; a role adds where the service comes from: [`replica`] runs a
//! voting node in this process, [`sidecar`] is the ambassador of a remote cluster.

mod replica;
mod sidecar;

pub use replica::{replica, replica_in_memory};
pub use sidecar::sidecar;

use crate::api::rest::BlobStore;
use crate::api::{Api, grpc};
use crate::service::QueueService;
use futures::future::BoxFuture;
use quorate_core::runtime::{Failure, Service, Starting, Status};
use std::sync::Arc;
use tokio::sync::watch;

/// Version of this build, as `/v1/info` tells it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The routes of a service in a container. `role` is `serve`, `sidecar` or `dev`; `status` says
/// whether the service can be used; `stop` ends it after the last request was answered.
pub fn compose(
    service: Arc<dyn QueueService>,
    role: &'static str,
    starting: &Starting,
    status: watch::Receiver<Status>,
    stop: BoxFuture<'static, ()>,
) -> Result<Service, Failure> {
    let blobs = match &starting.settings.blobs {
        Some(url) => Some(BlobStore::open(&url.0)?),
        None => None,
    };
    let api = Api::new(service, role, VERSION, starting.drain.clone()).with_blobs(blobs);
    Ok(Service {
        api: api.router()?,
        grpc_services: vec![grpc::SERVICE.to_owned()],
        status,
        stop,
    })
}
