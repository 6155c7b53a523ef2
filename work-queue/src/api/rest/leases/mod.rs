//! Leases: taking work, keeping it, settling it.

mod handout;

use super::operation::{Asker, Operation, Order};
use super::settle::{Complete, Fail, Release, SettleMany, SettledOut, session_in};
use super::values::{AnyJson, Base64, NotBuilt, given, raw};
use crate::api::Api;
use crate::convert::reply::misfit;
use crate::machine::{
    Command, LeaseId, LeaseRequest, Progress, Renewal, Reply, SessionId, Settle, limits,
};
use crate::service::Caller;
use axum::Json;
use axum::extract::State;
use handout::{LeaseIn, Leased, leased};
use quorate_core::error::Error;
use quorate_core::runtime::extract::{Json as Body, Path};
use quorate_core::runtime::problem::Problem;
use quorate_core::types::Name;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(lease))
        .routes(routes!(settle))
        .routes(routes!(complete))
        .routes(routes!(fail))
        .routes(routes!(release))
        .routes(routes!(extend))
        .routes(routes!(progress))
        .routes(routes!(checkpoint))
}

/// Takes work: waits for it if asked to, and settles earlier work in the same step.
#[utoipa::path(post, path = "/v1/queues/{queue}/leases", tag = "leases",
    params(("queue" = String, Path)), request_body = LeaseIn,
    responses(
        (status = 200, body = Leased),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn lease(
    State(api): State<Api>,
    Path(queue): Path<String>,
    Operation { caller, body, .. }: Operation<LeaseIn>,
) -> Result<Json<Leased>, Error> {
    let LeaseIn {
        provides: NotBuilt, ..
    } = body;
    let request = LeaseRequest {
        queue: Name::new(&queue)?,
        worker: body.worker.into(),
        session: session_in(body.session.as_deref())?,
        max: body.max.unwrap_or(1),
        lease_ms: body.lease_ms,
        heartbeat: 0,
    };
    let many = SettleMany::new(body.complete, body.fail, body.release);
    let (settle, answers) = many.into_settle()?;
    if answers.is_empty() {
        let command = Command::Lease(request);
        return match api.execute_waiting(&caller, command, body.wait_ms).await? {
            Reply::Leased { session, leases } => Ok(leased(session, leases, None)),
            _ => Err(misfit()),
        };
    }
    let command = Command::Settle {
        settle,
        then: Some(request),
    };
    match api.execute_waiting(&caller, command, body.wait_ms).await? {
        Reply::Settled {
            outcomes,
            leased: Some((session, leases)),
        } => {
            let settled = answers.with(outcomes);
            Ok(leased(session, leases, Some(settled)))
        }
        _ => Err(misfit()),
    }
}

/// What became of each settlement.
#[derive(Serialize, ToSchema)]
struct SettledMany {
    /// In the order complete, fail, release.
    items: Vec<SettledOut>,
}

/// Settles several leases, each on its own.
#[utoipa::path(post, path = "/v1/leases/settle", tag = "leases", request_body = SettleMany,
    responses(
        (status = 200, body = SettledMany),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn settle(
    State(api): State<Api>,
    Operation { caller, body, .. }: Operation<SettleMany>,
) -> Result<Json<SettledMany>, Error> {
    let (settle, answers) = body.into_settle()?;
    if answers.is_empty() {
        return Err(Error::invalid(
            "complete, fail, release: all empty; name at least one lease",
        ));
    }
    let command = Command::Settle { settle, then: None };
    match api.execute(&caller, command).await? {
        Reply::Settled { outcomes, .. } => Ok(Json(SettledMany {
            items: answers.with(outcomes),
        })),
        _ => Err(misfit()),
    }
}

/// How a lease stands for its holder.
#[derive(Serialize, ToSchema)]
struct Kept {
    /// The holder should stop. After a settlement there is nothing to stop.
    cancel_requested: bool,
    /// The lease lives so long, counted from before the request was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
}

impl Kept {
    fn answer(cancel_requested: bool) -> Json<Self> {
        Json(Self {
            cancel_requested,
            deadline_ms: None,
        })
    }
}

async fn settle_one(api: &Api, caller: &Caller, settle: Settle) -> Result<Json<Kept>, Error> {
    let command = Command::Settle {
        settle: vec![settle],
        then: None,
    };
    let Reply::Settled { outcomes, .. } = api.execute(caller, command).await? else {
        return Err(misfit());
    };
    outcomes.into_iter().next().ok_or_else(misfit)??;
    Ok(Kept::answer(false))
}

/// The work is done. The same again gets the same answer; another settlement `already_settled`.
#[utoipa::path(post, path = "/v1/leases/{lease}/complete", tag = "leases",
    params(("lease" = String, Path)), request_body = Complete,
    responses(
        (status = 200, body = Kept),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn complete(
    State(api): State<Api>,
    Path(lease): Path<String>,
    Order { caller, body }: Order<Complete>,
) -> Result<Json<Kept>, Error> {
    settle_one(&api, &caller, body.of(&lease)?).await
}

/// The attempt failed.
#[utoipa::path(post, path = "/v1/leases/{lease}/fail", tag = "leases",
    params(("lease" = String, Path)), request_body = Fail,
    responses(
        (status = 200, body = Kept),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn fail(
    State(api): State<Api>,
    Path(lease): Path<String>,
    Order { caller, body }: Order<Fail>,
) -> Result<Json<Kept>, Error> {
    settle_one(&api, &caller, body.of(&lease)?).await
}

/// The work was not begun: the job is ready again and no attempt is charged.
#[utoipa::path(post, path = "/v1/leases/{lease}/release", tag = "leases",
    params(("lease" = String, Path)), request_body = Release,
    responses(
        (status = 200, body = Kept),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn release(
    State(api): State<Api>,
    Path(lease): Path<String>,
    Order { caller, body }: Order<Release>,
) -> Result<Json<Kept>, Error> {
    settle_one(&api, &caller, body.of(&lease)?).await
}

/// A new length.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Extend {
    /// Counted from now.
    lease_ms: u64,
    /// The session that holds the lease, checked when given.
    #[serde(default)]
    session: Option<String>,
}

/// Gives a lease a new length, counted from now, and renews it.
#[utoipa::path(post, path = "/v1/leases/{lease}/extend", tag = "leases",
    params(("lease" = String, Path)), request_body = Extend,
    responses(
        (status = 200, body = Kept),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn extend(
    State(api): State<Api>,
    Path(lease): Path<String>,
    Operation { caller, body, .. }: Operation<Extend>,
) -> Result<Json<Kept>, Error> {
    let command = Command::Extend {
        lease: lease.parse()?,
        session: session_in(body.session.as_deref())?,
        lease_ms: body.lease_ms,
    };
    match api.execute(&caller, command).await? {
        Reply::Kept { cancel_requested } => Ok(Json(Kept {
            cancel_requested,
            // The lease of a cancelled job gets no more time.
            deadline_ms: (!cancel_requested).then_some(body.lease_ms),
        })),
        _ => Err(misfit()),
    }
}

/// How far the work is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProgressReport)]
struct ProgressIn {
    /// The session that holds the lease, checked when given.
    #[serde(default)]
    session: Option<String>,
    /// Units done.
    done: f64,
    /// Units in all; 0, the default, when unknown.
    #[serde(default)]
    total: f64,
    /// `frames`, `bytes`, …
    #[serde(default)]
    unit: String,
    /// For people.
    #[serde(default)]
    message: String,
}

/// Says how far the work is, and renews the lease. Not logged.
#[utoipa::path(post, path = "/v1/leases/{lease}/progress", tag = "leases",
    params(("lease" = String, Path)), request_body = ProgressIn,
    responses(
        (status = 200, body = Kept),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn progress(
    State(api): State<Api>,
    Asker(caller): Asker,
    Path(lease): Path<String>,
    Body(body): Body<ProgressIn>,
) -> Result<Json<Kept>, Error> {
    let lease: LeaseId = lease.parse()?;
    let session = session_in(body.session.as_deref())?.unwrap_or(SessionId::NONE);
    let progress = Progress {
        done: body.done,
        total: body.total,
        unit: body.unit.into(),
        message: body.message.into(),
    };
    let renewal = Renewal {
        session,
        number: 0,
        leases: vec![lease],
        progress: vec![(lease, progress)],
        complete: false,
    };
    let renewed = api.renew(&caller, renewal).await?;
    if renewed.live.contains(&lease) {
        Ok(Kept::answer(false))
    } else if renewed.cancelled.contains(&lease) {
        Ok(Kept::answer(true))
    } else {
        // Why not, is for the log to say: an extension changes nothing of a lease that has ended.
        let command = Command::Extend {
            lease,
            session: (session != SessionId::NONE).then_some(session),
            lease_ms: *limits::LEASE_MS.start(),
        };
        match api.execute(&caller, command).await? {
            Reply::Kept { cancel_requested } => Ok(Kept::answer(cancel_requested)),
            _ => Err(misfit()),
        }
    }
}

/// State of the work so far.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Checkpoint)]
struct CheckpointIn {
    /// Any JSON value, handed to the next attempt. Up to 64 KiB.
    #[serde(default, deserialize_with = "raw")]
    #[schema(value_type = Option<AnyJson>)]
    data: Option<Box<RawValue>>,
    /// Or any bytes. Bytes that are a JSON text are handed out as JSON.
    #[schema(value_type = Option<String>, content_encoding = "base64")]
    data_base64: Option<Base64>,
    /// The session that holds the lease, checked when given.
    session: Option<String>,
}

/// Keeps the state of the work, for the next attempt.
#[utoipa::path(post, path = "/v1/leases/{lease}/checkpoint", tag = "leases",
    params(("lease" = String, Path)), request_body = CheckpointIn,
    responses(
        (status = 200, body = Kept),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn checkpoint(
    State(api): State<Api>,
    Path(lease): Path<String>,
    Operation { caller, body, .. }: Operation<CheckpointIn>,
) -> Result<Json<Kept>, Error> {
    let data = given("data", body.data, body.data_base64)?;
    let (data, _) =
        data.ok_or_else(|| Error::invalid("data: missing; send any JSON value, or data_base64"))?;
    let command = Command::Checkpoint {
        lease: lease.parse()?,
        session: session_in(body.session.as_deref())?,
        data,
    };
    match api.execute(&caller, command).await? {
        Reply::Kept { cancel_requested } => Ok(Kept::answer(cancel_requested)),
        _ => Err(misfit()),
    }
}
