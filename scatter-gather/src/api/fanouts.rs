//! Definitions: `PUT`, `GET` and `DELETE` of a fan-out, the list, and how its replicas are.

use super::Api;
use crate::definition::FanoutSpec;
use crate::root::{Fanout, Origin, TargetsView};
use axum::extract::State;
use http::StatusCode;
use quorate_core::error::{Code, Error};
use quorate_core::runtime::extract::{Json, Path};
use quorate_core::runtime::problem::Problem;
use quorate_core::types::Name;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
        .routes(routes!(targets))
}

/// A fan-out.
#[derive(Serialize, utoipa::ToSchema)]
struct View {
    name: String,
    /// Version of its map.
    version: u64,
    /// `api` or `file`.
    origin: Origin,
    definition: FanoutSpec,
}

impl From<&Fanout> for View {
    fn from(fanout: &Fanout) -> Self {
        Self {
            name: fanout.name().to_string(),
            version: fanout.version(),
            origin: fanout.origin(),
            definition: fanout.spec().clone(),
        }
    }
}

/// All fan-outs. They are few, so they come as one page.
#[derive(Serialize, utoipa::ToSchema)]
struct Page {
    items: Vec<View>,
    next_page_token: Option<String>,
}

/// All fan-outs, by name.
#[utoipa::path(get, path = "/v1/fanouts", tag = "fanouts",
    responses((status = 200, description = "one page", body = Page)))]
async fn list(State(api): State<Api>) -> axum::Json<Page> {
    let items = api.root.fanouts();
    axum::Json(Page {
        items: items.iter().map(|fanout| View::from(&**fanout)).collect(),
        next_page_token: None,
    })
}

/// One fan-out with its definition.
#[utoipa::path(get, path = "/v1/fanouts/{fanout}", tag = "fanouts", params(("fanout" = String, Path)),
    responses(
        (status = 200, description = "the fan-out", body = View),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(api): State<Api>,
    Path(fanout): Path<String>,
) -> Result<axum::Json<View>, Error> {
    let fanout = api.root.fanout(&Name::new(&fanout)?)?;
    Ok(axum::Json(View::from(&*fanout)))
}

/// Defines a fan-out or replaces its definition, in this process alone. Doing it twice is doing it once.
#[utoipa::path(put, path = "/v1/fanouts/{fanout}", tag = "fanouts", params(("fanout" = String, Path)),
    request_body(content = FanoutSpec, description = "The definition"),
    responses(
        (status = 200, description = "it is in force", body = View),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn put(
    State(api): State<Api>,
    Path(fanout): Path<String>,
    Json(spec): Json<FanoutSpec>,
) -> Result<axum::Json<View>, Error> {
    api.check_definable()?;
    let fanout = api.root.put(&Name::new(&fanout)?, spec, Origin::Api)?;
    Ok(axum::Json(View::from(&*fanout)))
}

/// Forgets a fan-out. Requests under way end by it.
#[utoipa::path(delete, path = "/v1/fanouts/{fanout}", tag = "fanouts", params(("fanout" = String, Path)),
    responses(
        (status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(api): State<Api>, Path(fanout): Path<String>) -> Result<StatusCode, Error> {
    api.check_definable()?;
    api.root.delete(&Name::new(&fanout)?, Origin::Api)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Health, latency and ejections of every replica, and what is left of the budgets.
#[utoipa::path(get, path = "/v1/fanouts/{fanout}/targets", tag = "fanouts",
    params(("fanout" = String, Path)),
    responses(
        (status = 200, description = "shard by shard, replica by replica", body = TargetsView),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn targets(
    State(api): State<Api>,
    Path(fanout): Path<String>,
) -> Result<axum::Json<TargetsView>, Error> {
    let fanout = api.root.fanout(&Name::new(&fanout)?)?;
    Ok(axum::Json(fanout.targets()))
}

impl Api {
    /// A definition decides whom this process calls, so beyond loopback the file alone says it.
    fn check_definable(&self) -> Result<(), Error> {
        if self.definable {
            return Ok(());
        }
        Err(Error::new(
            Code::Forbidden,
            "definitions are not changed over a listener beyond loopback: use the file of \
             QUORATE_FANOUTS_FILE, or set QUORATE_FANOUTS_API=1",
        ))
    }
}
