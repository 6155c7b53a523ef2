//! Candidates: standing for election, renewing, giving up.

use super::operation::{Operation, Order};
use super::view::{Election, name, session};
use crate::api::Api;
use crate::api::campaign::Waited;
use crate::convert::reply::misfit;
use crate::machine::{Campaign, Command, Liveness, Reply};
use crate::service::Caller;
use axum::Json;
use axum::extract::State;
use quorate_core::error::{Code, Error};
use quorate_core::runtime::extract::{Path, Query as Parameters};
use quorate_core::runtime::problem::Problem;
use quorate_core::types::FencingToken;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Length of the session of a candidate that names neither a length nor a session.
const TTL_MS_DEFAULT: u64 = 10_000;

/// For the look before a resignation.
const LOOK_MAX: Duration = Duration::from_millis(500);

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(campaign, leave))
        .routes(routes!(renew))
        .routes(routes!(resign))
}

/// A candidate.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = CampaignRequest)]
struct CampaignIn {
    /// Length of the session that is opened for it, when `session` is absent; default 10000.
    ttl_ms: Option<u64>,
    /// An open session to hang off.
    session: Option<String>,
    /// Higher is elected first, up to 1000; among equals who came first.
    priority: u32,
    /// Text shown with the candidate, up to 1 KiB.
    metadata: String,
    /// Wait so long for leadership, up to 60000; the session is renewed meanwhile.
    wait_ms: u64,
}

/// The election answer and the session.
#[derive(Serialize, ToSchema)]
struct Campaigning {
    #[serde(flatten)]
    election: Election,
    /// Renew, resign and leave name it. Whoever knows it can act for the candidate.
    session: String,
}

/// Becomes a candidate and campaigns.
#[utoipa::path(put, path = "/v1/elections/{election}/candidates/{id}", tag = "candidates",
    params(("election" = String, Path), ("id" = String, Path)), request_body = CampaignIn,
    responses(
        (status = 200, body = Campaigning),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn campaign(
    State(api): State<Api>,
    Path((election, id)): Path<(String, String)>,
    Operation {
        caller,
        received,
        body,
    }: Operation<CampaignIn>,
) -> Result<Json<Campaigning>, Error> {
    let liveness = match (&body.session, body.ttl_ms) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid(
                "ttl_ms, session: both are there; a session has its length already, leave ttl_ms out",
            ));
        }
        (Some(text), None) => Liveness::Session(session(text)?),
        (None, ttl_ms) => Liveness::Ttl(ttl_ms.unwrap_or(TTL_MS_DEFAULT)),
    };
    let campaign = Campaign {
        election: name("election", &election)?,
        candidate: name("id", &id)?,
        liveness,
        priority: body.priority,
        metadata: body.metadata.into(),
    };
    let Waited {
        campaigned, answer, ..
    } = api
        .campaign_waiting(&caller, campaign, body.wait_ms, received)
        .await?;
    Ok(Json(Campaigning {
        election: answer.into(),
        session: campaigned.session.to_string(),
    }))
}

/// Whose renewal.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RenewIn {
    session: String,
}

/// Renews the whole session and answers how this candidate stands.
#[utoipa::path(post, path = "/v1/elections/{election}/candidates/{id}/renew", tag = "candidates",
    params(("election" = String, Path), ("id" = String, Path)), request_body = RenewIn,
    responses(
        (status = 200, body = Election),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn renew(
    State(api): State<Api>,
    Path((election, id)): Path<(String, String)>,
    Operation {
        caller,
        received,
        body,
    }: Operation<RenewIn>,
) -> Result<Json<Election>, Error> {
    let (election, id) = (name("election", &election)?, name("id", &id)?);
    let session = session(&body.session)?;
    let answer = api
        .renewed_answer(&caller, session, &election, &id, received)
        .await?;
    Ok(Json(answer.into()))
}

/// A leadership to give up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResignIn {
    session: String,
    fencing_token: u64,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
struct Ended {
    /// A leadership ended by it; false: the token was not current any more, or the candidate did not
    /// lead.
    ended: bool,
    revision: u64,
}

fn ended(reply: &Reply) -> Result<Json<Ended>, Error> {
    match reply {
        Reply::Ended {
            leadership,
            revision,
        } => Ok(Json(Ended {
            ended: *leadership,
            revision: *revision,
        })),
        _ => Err(misfit()),
    }
}

/// Gives leadership up, or confirms that a hand-over may go on; stays a candidate. Stop what depends on
/// it before you send this.
#[utoipa::path(post, path = "/v1/elections/{election}/candidates/{id}/resign", tag = "candidates",
    params(("election" = String, Path), ("id" = String, Path)), request_body = ResignIn,
    responses(
        (status = 200, body = Ended),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn resign(
    State(api): State<Api>,
    Path((election, id)): Path<(String, String)>,
    Operation { caller, body, .. }: Operation<ResignIn>,
) -> Result<Json<Ended>, Error> {
    let (election, id) = (name("election", &election)?, name("id", &id)?);
    let token = FencingToken(body.fencing_token);
    // A token belongs to one candidate for ever: nothing changes between this look and the resignation. What cannot be
    // looked at stops nobody from giving up.
    let look = Caller {
        timeout: caller.timeout.min(LOOK_MAX),
        ..caller.clone()
    };
    let view = api.view(&look, election.clone()).await.ok();
    let holder = view.as_ref().and_then(|view| view.held_under(token));
    if let Some(holder) = holder.filter(|holder| holder.candidate != id) {
        return Err(Error::new(
            Code::NotACandidate,
            format!(
                "{id} does not lead {election} under token {token}, {} does; name the candidate whose token it is",
                holder.candidate
            ),
        ));
    }
    let command = Command::Resign {
        election,
        session: session(&body.session)?,
        token,
    };
    ended(&api.execute(&caller, command).await?.reply)
}

/// Whose candidacy.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct LeaveQuery {
    session: String,
}

/// Is no candidate any more; if it leads, leadership passes on at once.
#[utoipa::path(delete, path = "/v1/elections/{election}/candidates/{id}", tag = "candidates",
    params(("election" = String, Path), ("id" = String, Path), LeaveQuery),
    responses(
        (status = 200, body = Ended),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn leave(
    State(api): State<Api>,
    Path((election, id)): Path<(String, String)>,
    Parameters(query): Parameters<LeaveQuery>,
    Order(caller): Order,
) -> Result<Json<Ended>, Error> {
    let command = Command::Leave {
        election: name("election", &election)?,
        candidate: name("id", &id)?,
        session: session(&query.session)?,
    };
    ended(&api.execute(&caller, command).await?.reply)
}
