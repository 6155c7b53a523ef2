//! Jobs: adding them and looking at them.

mod new;
mod view;

pub(super) use new::JoinIn;
pub(super) use view::StateDto;

use super::operation::{Asker, Empty, Operation, Order};
use super::values::Page;
use crate::api::Api;
use crate::convert::page::{page_limit, token};
use crate::convert::reply::misfit;
use crate::machine::{Answer, Command, JobId, Query, Reply, State as JobState};
use crate::service::Caller;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use new::{EnqueueIn, EnqueueRequest};
use quorate_core::error::Error;
use quorate_core::runtime::extract::{Path, Query as Params};
use quorate_core::runtime::problem::Problem;
use quorate_core::types::Name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use view::Job;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(enqueue, list))
        .routes(routes!(get))
        .routes(routes!(cancel))
        .routes(routes!(retry))
        .routes(routes!(skip))
}

/// What became of the jobs.
#[derive(Serialize, ToSchema)]
struct Enqueued {
    /// In the order of the request.
    jobs: Vec<EnqueuedJob>,
}

/// What became of one job.
#[derive(Serialize, ToSchema)]
struct EnqueuedJob {
    id: String,
    /// It was there before: same dedupe key, or same place in the batch.
    duplicate: bool,
}

/// Adds jobs, all or none.
#[utoipa::path(post, path = "/v1/queues/{queue}/jobs", tag = "jobs",
    params(("queue" = String, Path)), request_body = EnqueueRequest,
    responses(
        (status = 201, body = Enqueued),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn enqueue(
    State(api): State<Api>,
    Path(queue): Path<String>,
    operation: Operation<EnqueueIn>,
) -> Result<(StatusCode, Json<Enqueued>), Error> {
    let command = Command::Enqueue {
        queue: Name::new(&queue)?,
        jobs: operation.body.into_jobs(operation.traceparent)?,
    };
    let Reply::Enqueued(jobs) = api.execute(&operation.caller, command).await? else {
        return Err(misfit());
    };
    let jobs = jobs.into_iter().map(|(id, duplicate)| EnqueuedJob {
        id: id.to_string(),
        duplicate,
    });
    let enqueued = Enqueued {
        jobs: jobs.collect(),
    };
    Ok((StatusCode::CREATED, Json(enqueued)))
}

/// Which jobs.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct JobsQuery {
    /// Only jobs in this state.
    state: Option<StateDto>,
    /// Only jobs with this label, as `key=value`.
    label: Option<String>,
    /// Items of the page, 1 to 1000; 100 when absent.
    page_size: u32,
    /// As the page before answered it.
    page_token: String,
}

/// Jobs of a queue in the order of their ids.
#[utoipa::path(get, path = "/v1/queues/{queue}/jobs", tag = "jobs",
    params(("queue" = String, Path), JobsQuery),
    responses(
        (status = 200, body = Page<Job>),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    State(api): State<Api>,
    Asker(caller): Asker,
    Path(queue): Path<String>,
    Params(which): Params<JobsQuery>,
) -> Result<Json<Page<Job>>, Error> {
    let label = which.label.as_deref().map(|label| {
        let pair = label.split_once('=').filter(|(key, _)| !key.is_empty());
        pair.map(|(key, value)| (key.into(), value.into()))
            .ok_or_else(|| Error::invalid("label: not of the form key=value"))
    });
    let query = Query::Jobs {
        queue: Name::new(&queue)?,
        state: which.state.map(JobState::from),
        label: label.transpose()?,
        after: token(&which.page_token, |text| text.parse().ok())?,
        limit: page_limit(which.page_size)?,
    };
    match api.query(&caller, query).await? {
        Answer::Jobs(jobs, next) => Ok(Page::new(jobs, next, Job::from)),
        _ => Err(misfit()),
    }
}

async fn look(api: &Api, caller: &Caller, job: JobId) -> Result<Json<Job>, Error> {
    match api.query(caller, Query::Job { job }).await? {
        Answer::Job(job) => Ok(Json((*job).into())),
        _ => Err(misfit()),
    }
}

async fn order(
    api: &Api,
    caller: &Caller,
    job: JobId,
    command: Command,
) -> Result<Json<Job>, Error> {
    match api.execute(caller, command).await? {
        Reply::Done => look(api, caller, job).await,
        _ => Err(misfit()),
    }
}

/// One job: state, attempts, progress, result, why it is waiting.
#[utoipa::path(get, path = "/v1/jobs/{job}", tag = "jobs", params(("job" = String, Path)),
    responses(
        (status = 200, body = Job),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(api): State<Api>,
    Asker(caller): Asker,
    Path(job): Path<String>,
) -> Result<Json<Job>, Error> {
    look(&api, &caller, job.parse()?).await
}

/// Cancels a job; a running one is told, and its lease ends.
#[utoipa::path(post, path = "/v1/jobs/{job}/cancel", tag = "jobs", params(("job" = String, Path)),
    responses(
        (status = 200, body = Job),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn cancel(
    State(api): State<Api>,
    Path(job): Path<String>,
    Order {
        caller,
        body: Empty {},
    }: Order,
) -> Result<Json<Job>, Error> {
    let job = job.parse()?;
    order(&api, &caller, job, Command::CancelJob { job }).await
}

/// Makes a dead job ready again with its counts reset.
#[utoipa::path(post, path = "/v1/jobs/{job}/retry", tag = "jobs", params(("job" = String, Path)),
    responses(
        (status = 200, body = Job),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn retry(
    State(api): State<Api>,
    Path(job): Path<String>,
    Order {
        caller,
        body: Empty {},
    }: Order,
) -> Result<Json<Job>, Error> {
    let job = job.parse()?;
    order(&api, &caller, job, Command::RetryJob { job }).await
}

/// Counts a dead child of a batch as final, so that the batch goes on without it.
#[utoipa::path(post, path = "/v1/jobs/{job}/skip", tag = "jobs", params(("job" = String, Path)),
    responses(
        (status = 200, body = Job),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn skip(
    State(api): State<Api>,
    Path(job): Path<String>,
    Order {
        caller,
        body: Empty {},
    }: Order,
) -> Result<Json<Job>, Error> {
    let job = job.parse()?;
    order(&api, &caller, job, Command::SkipChild { job }).await
}
