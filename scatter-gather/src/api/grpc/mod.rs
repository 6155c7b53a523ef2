//! gRPC over a root: `quorate.scatter.v1.Scatter`.

mod account;
mod service;

use super::Api;
use crate::root::Root;
use quorate_core::error::{Code, Error};
use quorate_proto::scatter::scatter_server::ScatterServer;
use std::sync::Arc;
use tonic::service::Routes;

/// Full name of the service, for `grpc.health.v1`.
pub const SERVICE: &str = "quorate.scatter.v1.Scatter";

/// Largest question. A fan-out's own bound (`limits.body_bytes`) is looked at when its name is known.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The service and its reflection.
pub(super) fn router(api: &Api) -> Result<axum::Router, Error> {
    let service = ScatterServer::new(service::Scatter(Arc::<Root>::clone(&api.root)))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let routes = Routes::new(service);
    Ok(reflected(routes, SERVICE)?.into_axum_router())
}

/// The routes with a reflection that names `service`.
pub(crate) fn reflected(routes: Routes, service: &'static str) -> Result<Routes, Error> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(quorate_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(service)
            .with_service_name("grpc.health.v1.Health")
    };
    let broken = |error: tonic_reflection::server::Error| {
        Error::new(
            Code::Internal,
            format!("the committed descriptors do not decode: {error}"),
        )
    };
    Ok(routes
        .add_service(reflection().build_v1().map_err(broken)?)
        .add_service(reflection().build_v1alpha().map_err(broken)?))
}
