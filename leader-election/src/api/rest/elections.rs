//! Who leads: lists, answers, long-polls, settings, checks of tokens.

use super::operation::{Asker, Operation};
use super::view::{Election, Summary, name};
use crate::api::Api;
use crate::check;
use crate::convert::reply::misfit;
use crate::convert::{page_limit, page_token};
use crate::machine::{Answer, Command, Query, Settings};
use axum::Json;
use axum::extract::State;
use futures::StreamExt as _;
use quorate_core::error::Error;
use quorate_core::runtime::extract::{Path, Query as Parameters};
use quorate_core::runtime::problem::Problem;
use quorate_core::types::{FencingToken, Name};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, configure))
        .routes(routes!(check_token))
}

/// Which page of which names.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct ListQuery {
    /// Items of the page, 1 to 1000; 100 when absent.
    page_size: u32,
    /// As the page before answered it.
    page_token: String,
    /// Only names that begin so.
    prefix: String,
}

/// A page of elections.
#[derive(Serialize, ToSchema)]
struct Elections {
    items: Vec<Summary>,
    /// For `page_token` of the next request; null on the last page.
    next_page_token: Option<String>,
}

/// All elections, by name.
#[utoipa::path(get, path = "/v1/elections", tag = "elections", params(ListQuery),
    responses(
        (status = 200, body = Elections),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    State(api): State<Api>,
    Asker(caller): Asker,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<Elections>, Error> {
    let query = Query::Elections {
        after: page_token(&query.page_token)?,
        prefix: query.prefix.into(),
        max: page_limit(query.page_size)?,
    };
    let Answer::Elections { items, more, .. } = api.query(&caller, query).await? else {
        return Err(misfit());
    };
    let next = items.last().filter(|_| more);
    Ok(Json(Elections {
        next_page_token: next.map(|last| last.election.to_string()),
        items: items.into_iter().map(Summary::from).collect(),
    }))
}

/// Whose answer, and whether to wait for a change.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct GetQuery {
    /// Whose `self` and `valid_for_ms`; the sidecar's own candidate when absent.
    candidate: Option<String>,
    /// Answer once something happened after this revision.
    after_revision: Option<u64>,
    /// Wait so long for it, up to 60000; 30000 when absent.
    wait_ms: Option<u64>,
}

/// How long a long-poll waits that does not say.
const WAIT_MS_DEFAULT: u64 = 30_000;

/// Who leads. Linearizable; with `after_revision` it waits for a change, or at a sidecar until nothing is known
/// any more.
#[utoipa::path(get, path = "/v1/elections/{election}", tag = "elections",
    params(("election" = String, Path), GetQuery),
    responses(
        (status = 200, body = Election),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(api): State<Api>,
    Asker(caller): Asker,
    Path(election): Path<String>,
    Parameters(query): Parameters<GetQuery>,
) -> Result<Json<Election>, Error> {
    let election = name("election", &election)?;
    let candidate = query.candidate.as_deref();
    let candidate = candidate.map(|id| name("candidate", id)).transpose()?;
    let Some(after) = query.after_revision else {
        if query.wait_ms.is_some() {
            return Err(Error::invalid(
                "wait_ms: needs after_revision; pass the revision of the answer you have",
            ));
        }
        let answer = api.look(&caller, election, candidate).await?;
        return Ok(Json(answer.into()));
    };
    let wait_ms = query.wait_ms.unwrap_or(WAIT_MS_DEFAULT);
    check::wait_ms(wait_ms)?;
    let changed = async {
        let observed = api
            .service
            .observe(&caller, election.clone(), Some(after))
            .await?;
        tokio::select! {
            next = { let mut observed = observed; async move { observed.next().await } } => {
                next.transpose().map(drop)
            }
            () = api.drain.cancelled() => Ok(()),
        }
    };
    let waited = tokio::time::timeout(Duration::from_millis(wait_ms), changed).await;
    waited.unwrap_or(Ok(()))?;
    let answer = api.look(&caller, election, candidate).await?;
    Ok(Json(answer.without_validity().into()))
}

/// Settings; what is absent is the default.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = ElectionSettings)]
struct SettingsIn {
    /// How long nobody is elected after a leadership that ended without its holder's word; default 0.
    lock_delay_ms: u64,
    /// Who shall lead whenever it is there.
    preferred: Option<String>,
    /// Whether a candidate of higher priority takes over from a leader of lower; default false.
    preempt: bool,
    /// How long a better candidate must be there, and the leader have led, before it takes over; default
    /// 10000.
    stable_ms: u64,
    /// How long a leader may drain in a hand-over to a better candidate; default 10000.
    drain_ms: u64,
}

impl Default for SettingsIn {
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            lock_delay_ms: settings.lock_delay_ms,
            preferred: None,
            preempt: settings.preempt,
            stable_ms: settings.stable_ms,
            drain_ms: settings.drain_ms,
        }
    }
}

/// Sets an election up, or replaces its settings.
#[utoipa::path(put, path = "/v1/elections/{election}", tag = "elections",
    params(("election" = String, Path)), request_body = SettingsIn,
    responses(
        (status = 200, body = Election),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn configure(
    State(api): State<Api>,
    Path(election): Path<String>,
    Operation { caller, body, .. }: Operation<SettingsIn>,
) -> Result<Json<Election>, Error> {
    let election = name("election", &election)?;
    let preferred = body.preferred.as_deref();
    let settings = Settings {
        lock_delay_ms: body.lock_delay_ms,
        preferred: preferred.map(|id| name("preferred", id)).transpose()?,
        preempt: body.preempt,
        stable_ms: body.stable_ms,
        drain_ms: body.drain_ms,
    };
    let command = Command::Configure {
        election: election.clone(),
        settings: Some(settings),
    };
    api.execute(&caller, command).await?;
    shown(&api, &caller, election).await
}

/// The election after a change.
pub(super) async fn shown(
    api: &Api,
    caller: &crate::service::Caller,
    election: Name,
) -> Result<Json<Election>, Error> {
    Ok(Json(api.look(caller, election, None).await?.into()))
}

/// A token to check.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CheckIn {
    fencing_token: u64,
}

/// Whether it is current.
#[derive(Serialize, ToSchema)]
struct Checked {
    /// It is the token of the present leadership, as of an instant after the request was sent.
    current: bool,
}

/// Whether a token is that of the present leadership. Linearizable.
#[utoipa::path(post, path = "/v1/elections/{election}/check", tag = "elections",
    params(("election" = String, Path)), request_body = CheckIn,
    responses(
        (status = 200, body = Checked),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn check_token(
    State(api): State<Api>,
    Path(election): Path<String>,
    Operation { caller, body, .. }: Operation<CheckIn>,
) -> Result<Json<Checked>, Error> {
    let query = Query::Check {
        election: name("election", &election)?,
        token: FencingToken(body.fencing_token),
    };
    match api.query(&caller, query).await? {
        Answer::Current { current, .. } => Ok(Json(Checked { current })),
        _ => Err(misfit()),
    }
}
