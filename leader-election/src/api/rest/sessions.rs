//! Sessions: one liveness record for many candidacies.

use super::operation::{Operation, Order};
use super::view::session;
use crate::api::Api;
use crate::api::answer::expired;
use crate::convert::reply::misfit;
use crate::machine::{Command, Renewal, Reply};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use quorate_core::error::Error;
use quorate_core::lease::Terms;
use quorate_core::runtime::extract::Path;
use quorate_core::runtime::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(open))
        .routes(routes!(renew))
        .routes(routes!(close))
}

/// A session to open.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SessionIn {
    /// Its length: without a renewal for so long its leaderships pass on. 500 to 3600000.
    ttl_ms: u64,
    /// Whose it is, for people.
    #[serde(default)]
    label: String,
}

/// A session.
#[derive(Serialize, ToSchema)]
struct Session {
    /// Whoever knows it can act for its holder.
    session: String,
    ttl_ms: u64,
    /// It may be trusted for so long, counted from before the request was sent.
    valid_for_ms: u64,
}

fn trust_ms(terms: Terms) -> u64 {
    u64::try_from(terms.trust().as_millis()).unwrap_or(u64::MAX)
}

/// Opens a session.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", request_body = SessionIn,
    responses(
        (status = 201, body = Session),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn open(
    State(api): State<Api>,
    Operation { caller, body, .. }: Operation<SessionIn>,
) -> Result<(StatusCode, Json<Session>), Error> {
    let command = Command::OpenSession {
        ttl_ms: body.ttl_ms,
        label: body.label.into(),
    };
    let executed = api.execute(&caller, command).await?;
    let Reply::Session(opened) = executed.reply else {
        return Err(misfit());
    };
    Ok((
        StatusCode::CREATED,
        Json(Session {
            session: opened.session.to_string(),
            ttl_ms: opened.terms.lease_ms,
            valid_for_ms: if executed.replayed {
                0
            } else {
                trust_ms(opened.terms)
            },
        }),
    ))
}

/// Renews a session and all that hangs off it.
#[utoipa::path(post, path = "/v1/sessions/{session}/renew", tag = "sessions",
    params(("session" = String, Path)),
    responses(
        (status = 200, body = Session),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn renew(
    State(api): State<Api>,
    Path(id): Path<String>,
    Order(caller): Order,
) -> Result<Json<Session>, Error> {
    let id = session(&id)?;
    let renewal = Renewal {
        sessions: vec![id],
        elections: Vec::new(),
    };
    let renewed = api.renew(&caller, renewal).await?;
    let kept = renewed.live.iter().find(|kept| kept.session == id);
    let kept = kept.ok_or_else(|| expired(id))?;
    Ok(Json(Session {
        session: id.to_string(),
        ttl_ms: kept.terms.lease_ms,
        valid_for_ms: trust_ms(kept.terms),
    }))
}

/// Ends a session: its candidacies end, its leaderships pass on at once. Stop what depends on them
/// before you send it.
#[utoipa::path(delete, path = "/v1/sessions/{session}", tag = "sessions",
    params(("session" = String, Path)),
    responses(
        (status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn close(
    State(api): State<Api>,
    Path(id): Path<String>,
    Order(caller): Order,
) -> Result<StatusCode, Error> {
    let command = Command::CloseSession {
        session: session(&id)?,
    };
    api.execute(&caller, command).await?;
    Ok(StatusCode::NO_CONTENT)
}
