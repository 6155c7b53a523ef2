//! What operators do: hand leadership over, revoke it, take it by force.

use super::elections::shown;
use super::operation::Operation;
use super::view::{Election, name};
use crate::api::Api;
use crate::check;
use crate::convert::reply::misfit;
use crate::machine::{Command, Reply};
use axum::Json;
use axum::extract::State;
use quorate_core::error::Error;
use quorate_core::runtime::extract::Path;
use quorate_core::runtime::problem::Problem;
use quorate_core::types::FencingToken;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How long a leader may drain in a hand-over that does not say.
const DRAIN_MS_DEFAULT: u64 = 10_000;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(transfer))
        .routes(routes!(revoke))
        .routes(routes!(force_release))
}

/// A hand-over.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TransferIn {
    /// The candidate that shall lead.
    to: String,
    /// How long the leader may drain, up to 3600000; default 10000.
    drain_ms: Option<u64>,
    /// Only if this is the current token.
    fencing_token: Option<u64>,
}

/// A hand-over under way.
#[derive(Serialize, ToSchema)]
struct Transferring {
    from: String,
    to: String,
    /// The token of the leadership that shall end.
    fencing_token: u64,
    /// `to` leads already.
    done: bool,
    /// Wait for what comes after it to see the end.
    revision: u64,
}

/// Orders a hand-over: the leader drains, acknowledges, and the successor follows.
#[utoipa::path(post, path = "/v1/elections/{election}/transfer", tag = "orders",
    params(("election" = String, Path)), request_body = TransferIn,
    responses(
        (status = 200, body = Transferring),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn transfer(
    State(api): State<Api>,
    Path(election): Path<String>,
    Operation { caller, body, .. }: Operation<TransferIn>,
) -> Result<Json<Transferring>, Error> {
    let command = Command::Transfer {
        election: name("election", &election)?,
        to: name("to", &body.to)?,
        drain_ms: body.drain_ms.unwrap_or(DRAIN_MS_DEFAULT),
        token: body.fencing_token.map(FencingToken),
    };
    match api.execute(&caller, command).await?.reply {
        Reply::Transferring(transferring) => Ok(Json(Transferring {
            from: transferring.from.to_string(),
            to: transferring.to.to_string(),
            fencing_token: transferring.token.0,
            done: transferring.done,
            revision: transferring.revision,
        })),
        _ => Err(misfit()),
    }
}

/// A revocation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RevokeIn {
    /// Why, for people.
    reason: String,
    /// Only if this is the current token.
    fencing_token: Option<u64>,
}

/// Ends a leadership in good order: it is renewed no more, and ends at its holder's word or when its time
/// is over.
#[utoipa::path(post, path = "/v1/elections/{election}/revoke", tag = "orders",
    params(("election" = String, Path)), request_body = RevokeIn,
    responses(
        (status = 200, body = Election),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn revoke(
    State(api): State<Api>,
    Path(election): Path<String>,
    Operation { caller, body, .. }: Operation<RevokeIn>,
) -> Result<Json<Election>, Error> {
    let election = name("election", &election)?;
    let command = Command::Revoke {
        election: election.clone(),
        token: body.fencing_token.map(FencingToken),
        reason: body.reason.into(),
    };
    api.execute(&caller, command).await?;
    shown(&api, &caller, election).await
}

/// A release by force.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ForceIn {
    /// Why; logged with who asked.
    reason: String,
    /// Must be true: the old leader may go on believing that it leads while a new one is elected.
    #[serde(default)]
    i_accept_two_leaders: bool,
    /// Only if this is the current token.
    fencing_token: Option<u64>,
}

/// Ends a leadership now, though its holder may still believe in it. Voids the exclusion, never the
/// token.
#[utoipa::path(post, path = "/v1/elections/{election}/force-release", tag = "orders",
    params(("election" = String, Path)), request_body = ForceIn,
    responses(
        (status = 200, body = Election),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn force_release(
    State(api): State<Api>,
    Path(election): Path<String>,
    Operation { caller, body, .. }: Operation<ForceIn>,
) -> Result<Json<Election>, Error> {
    let election = name("election", &election)?;
    check::two_leaders(body.i_accept_two_leaders)?;
    let command = Command::ForceRelease {
        election: election.clone(),
        token: body.fencing_token.map(FencingToken),
        reason: body.reason.into(),
    };
    api.execute(&caller, command).await?;
    shown(&api, &caller, election).await
}
