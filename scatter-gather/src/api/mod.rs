//! REST and gRPC over a [`Root`], or what a [`Gate`](crate::gate::Gate) lets through, for one port.
//!
//! Definitions and queries have routes of their own; every other path is looked up among the routes that
//! fan-outs define, so that clients need not know that anything is scattered.

mod fanouts;
mod gate;
pub mod grpc;
mod query;
pub(crate) mod schema;

pub use gate::gate_router;

use crate::root::Root;
use axum::Router;
use axum::response::IntoResponse;
use axum::routing::{any, get};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use quorate_core::error::{Code, Error};
use std::sync::Arc;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

/// What the handlers of a root share.
#[derive(Clone, Debug)]
pub struct Api {
    root: Arc<Root>,
    /// Whether definitions may be changed here.
    definable: bool,
}

/// The head of the OpenAPI text.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Quorate scatter/gather",
        description = "One request to every shard, one truthful answer in time. Every refusal is \
                       `application/problem+json`. Paths that fan-outs define as routes are scattered \
                       too and are not listed here."
    ),
    tags(
        (name = "fanouts", description = "Definitions, and how their replicas are"),
        (name = "query", description = "Asking all shards"),
    )
)]
struct Head;

impl Api {
    /// The API of a root. `definable` says whether definitions may be changed over it.
    pub fn new(root: Arc<Root>, definable: bool) -> Self {
        Self { root, definable }
    }

    /// All routes. `/v1/info`, `/v1/wait`, `grpc.health.v1` and the fallbacks are the container
    /// runtime's.
    pub fn router(&self) -> Result<Router, Error> {
        let (routes, _) = documented().split_for_parts();
        let describe = describe(&openapi())?;
        Ok(routes
            .route("/openapi.json", get(describe))
            .route("/", any(query::route))
            .route("/{*path}", any(query::route))
            .with_state(self.clone())
            .merge(grpc::router(self)?))
    }
}

fn documented() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Head::openapi())
        .merge(fanouts::routes())
        .merge(query::routes())
}

/// The OpenAPI text of a root.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut openapi = documented().split_for_parts().1;
    openapi.merge(quorate_core::runtime::info::ApiDoc::openapi());
    openapi
}

type Described = std::future::Ready<axum::response::Response>;

/// A handler that answers an OpenAPI text.
fn describe(
    openapi: &utoipa::openapi::OpenApi,
) -> Result<impl Fn() -> Described + Clone + Send + Sync + 'static, Error> {
    let text = openapi.to_json().map_err(|error| {
        Error::new(
            Code::Internal,
            format!("the OpenAPI text is no JSON: {error}"),
        )
    })?;
    let text = Bytes::from(text);
    Ok(move || {
        let headers = [(CONTENT_TYPE, "application/json")];
        std::future::ready((headers, text.clone()).into_response())
    })
}
