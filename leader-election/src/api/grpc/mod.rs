//! gRPC: the same operations, and the streams KeepAlive, Observe and Watch.

mod call;
mod service;
mod watch;

use super::Api;
use quorate_core::error::{Code, Error};
use quorate_proto::election::elections_server::ElectionsServer;
use tonic::service::Routes;

/// Full name of the service, for `grpc.health.v1`.
pub const SERVICE: &str = "quorate.election.v1.Elections";

/// Largest message from a client: a renewal of a thousand sessions is 16 KiB.
const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// The service and its reflection.
pub(super) fn router(api: &Api) -> Result<axum::Router, Error> {
    let service = ElectionsServer::new(service::Elections(api.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(quorate_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(SERVICE)
            .with_service_name("grpc.health.v1.Health")
    };
    let broken = |error: tonic_reflection::server::Error| {
        Error::new(
            Code::Internal,
            format!("the committed descriptors do not decode: {error}"),
        )
    };
    Ok(Routes::new(service)
        .add_service(reflection().build_v1().map_err(broken)?)
        .add_service(reflection().build_v1alpha().map_err(broken)?)
        .into_axum_router())
}
