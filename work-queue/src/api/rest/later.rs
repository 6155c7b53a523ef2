//! Routes that are specified and not built yet: they say so, and stand in no OpenAPI text.

use crate::api::Api;
use axum::Router;
use axum::routing::{any, get, post};
use quorate_core::error::Error;

async fn schedules() -> Error {
    Error::unimplemented("the resource /v1/schedules")
}

async fn events() -> Error {
    Error::unimplemented("the stream of events")
}

async fn drain() -> Error {
    Error::unimplemented("draining a queue")
}

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/schedules", any(schedules))
        .route("/v1/schedules/{schedule}", any(schedules))
        .route("/v1/queues/{queue}/events", get(events))
        .route("/v1/jobs/{job}/events", get(events))
        .route("/v1/queues/{queue}/drain", post(drain))
}
