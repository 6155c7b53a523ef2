//! REST: one file a resource, DTOs beside their handlers.
//!
//! JSON is snake_case, sessions are texts, fencing tokens are numbers, durations end in `_ms`, instants
//! are RFC 3339. Unknown fields are refused by name; nothing is accepted and ignored. The OpenAPI text
//! is generated from the handlers.

mod candidates;
mod elections;
mod events;
mod operation;
mod orders;
mod sessions;
mod view;

use super::Api;
use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use quorate_core::error::{Code, Error};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

pub use view::Named;

/// The head of the OpenAPI text.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Quorate leader election",
        description = "Leadership bounded in time, with fencing tokens. `valid_for_ms` counts from before \
                       you sent the request. Every refusal is `application/problem+json`; mutations take \
                       `Idempotency-Key`."
    ),
    tags(
        (name = "sessions", description = "Liveness: one record for many candidacies"),
        (name = "candidates", description = "Standing for election, leading, giving up"),
        (name = "elections", description = "Who leads, and what happens"),
        (name = "orders", description = "What operators do"),
    )
)]
struct Head;

fn documented() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Head::openapi())
        .merge(sessions::routes())
        .merge(candidates::routes())
        .merge(elections::routes())
        .merge(events::routes())
        .merge(orders::routes())
}

/// The OpenAPI text of everything this container answers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut openapi = documented().split_for_parts().1;
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
    let describe = move || {
        let text = text.clone();
        async move { ([(CONTENT_TYPE, "application/json")], text).into_response() }
    };
    Ok(routes.route("/openapi.json", get(describe)).with_state(api))
}
