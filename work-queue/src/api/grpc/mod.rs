//! gRPC: `quorate.queue.v1.Queues` over the same service as REST.
//!
//! Unary calls are one operation each. The two streams batch many operations a message and keep
//! several under way; neither spawns a task: each is a state machine that the connection itself
//! drives, so that a client which does not read is not worked for.

mod call;
mod enqueue;
mod unary;
mod work;

use super::Api;
use futures::stream::BoxStream;
use quorate_core::error::{Code, Error};
use quorate_proto::queue::queues_server::QueuesServer;
use tonic::Status;
use tonic::service::Routes;

/// Full name of the service, for `grpc.health.v1`.
pub const SERVICE: &str = "quorate.queue.v1.Queues";

/// Largest message from a client: the payloads of one log entry and their frame.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// What the streams answer with.
type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// The service and its reflection.
pub(super) fn router(api: &Api) -> Result<axum::Router, Error> {
    let service =
        QueuesServer::new(unary::Queues(api.clone())).max_decoding_message_size(MESSAGE_BYTES_MAX);
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

/// How a stream ends when its container is told to stop.
fn stopping() -> Status {
    let error = Error::new(
        Code::NoQuorum,
        "this container stops; what it has not answered was not done, go on at another one",
    );
    error.retry_after_ms(0).into()
}
