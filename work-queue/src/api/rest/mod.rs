//! REST: one file a resource, DTOs beside their handlers.
//!
//! JSON is snake_case, ids are texts, fencing tokens are numbers, durations end in `_ms`, instants are
//! RFC 3339. Unknown fields are refused; fields that are specified but not built yet are refused by
//! name; nothing is accepted and ignored. The OpenAPI text is generated from the handlers.

mod batches;
mod blobs;
mod instant;
mod jobs;
mod later;
mod leases;
mod operation;
mod queues;
mod settle;
mod values;
mod workers;

pub use blobs::BlobStore;

use super::Api;
use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use quorate_core::error::{Code, Error};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

/// The head of the OpenAPI text.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Quorate work queue",
        description = "At-least-once execution, exactly one recorded outcome. Every refusal is \
                       `application/problem+json`; mutations take `Idempotency-Key`; `traceparent` \
                       is stored with jobs."
    ),
    tags(
        (name = "queues", description = "Settings, counts and control"),
        (name = "jobs", description = "Adding jobs and looking at them"),
        (name = "leases", description = "Taking, keeping and settling work"),
        (name = "batches", description = "Fan-out and join"),
        (name = "blobs", description = "Files"),
    )
)]
struct Head;

fn documented() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Head::openapi())
        .merge(queues::routes())
        .merge(jobs::routes())
        .merge(leases::routes())
        .merge(workers::routes())
        .merge(batches::routes())
}

/// The OpenAPI text of everything this container answers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut openapi = documented().split_for_parts().1;
    openapi.merge(blobs::routes().split_for_parts().1);
    openapi.merge(quorate_core::runtime::info::ApiDoc::openapi());
    openapi
}

/// The routes of REST, with `/openapi.json`.
pub(super) fn router(api: Api) -> Result<Router, Error> {
    let (routes, _) = documented().split_for_parts();
    let text = openapi().to_json().map_err(|error| {
        Error::new(
            Code::Internal,
            format!("the OpenAPI text is no JSON: {error}"),
        )
    })?;
    let text = Bytes::from(text);
    let describe = move || {
        let text = text.clone();
        async move { ([(CONTENT_TYPE, "application/json")], text).into_response() }
    };
    Ok(routes
        .merge(later::routes())
        .merge(blobs::nested())
        .route("/openapi.json", get(describe))
        .with_state(api))
}
