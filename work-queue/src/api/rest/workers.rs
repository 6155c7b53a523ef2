//! Workers: the heartbeat that keeps a session and its leases.

use super::operation::Asker;
use super::settle::session_in;
use crate::api::Api;
use crate::convert::within;
use crate::machine::{LeaseId, Renewal, SessionId};
use axum::Json;
use axum::extract::State;
use quorate_core::error::Error;
use quorate_core::runtime::extract::{Json as Body, Path};
use quorate_core::runtime::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(heartbeat))
}

/// What a worker holds.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Heartbeat)]
struct HeartbeatIn {
    /// The session, as a request for work answered it.
    session: String,
    /// The leases to keep.
    #[serde(default)]
    leases: Vec<String>,
}

/// How the leases stand.
#[derive(Serialize, ToSchema)]
struct Renewed {
    /// Kept, for their length from before the heartbeat was sent.
    live: Vec<String>,
    /// Ended or ending: stop the work.
    ended: Vec<String>,
    /// Those among `ended` whose job was cancelled.
    cancelled: Vec<String>,
}

/// Keeps a session and the leases named. Not logged.
#[utoipa::path(post, path = "/v1/workers/{worker}/heartbeat", tag = "leases",
    params(("worker" = String, Path)), request_body = HeartbeatIn,
    responses(
        (status = 200, body = Renewed),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn heartbeat(
    State(api): State<Api>,
    Asker(caller): Asker,
    Path(_worker): Path<String>,
    Body(body): Body<HeartbeatIn>,
) -> Result<Json<Renewed>, Error> {
    let leases = body.leases.iter().enumerate().map(|(i, text)| {
        text.parse::<LeaseId>()
            .map_err(|e| within(format_args!("leases[{i}]"), e))
    });
    let renewal = Renewal {
        session: session_in(Some(&body.session))?.unwrap_or(SessionId::NONE),
        number: 0,
        leases: leases.collect::<Result<_, _>>()?,
        progress: Vec::new(),
        complete: true,
    };
    let renewed = api.renew(&caller, renewal).await?;
    let texts = |leases: Vec<LeaseId>| leases.iter().map(LeaseId::to_string).collect();
    Ok(Json(Renewed {
        live: texts(renewed.live),
        ended: texts(renewed.ended),
        cancelled: texts(renewed.cancelled),
    }))
}
