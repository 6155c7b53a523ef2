//! Batches: fan-out and join.

use super::instant::Instant;
use super::jobs::{JoinIn, StateDto};
use super::operation::{Asker, Empty, Operation, Order};
use super::queues::CountsOut;
use super::values::{AnyJson, Base64, BlobDto, Page, PageQuery, blobs_out, shown_if};
use crate::api::Api;
use crate::convert::page::{page_limit, token};
use crate::convert::reply::misfit;
use crate::convert::within;
use crate::machine::{
    Answer, BatchId, BatchState, BatchView, ChildView, Command, OnDead, Query, Reply,
};
use crate::service::Caller;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use quorate_core::error::Error;
use quorate_core::runtime::extract::{Path, Query as Params};
use quorate_core::runtime::problem::Problem;
use quorate_core::types::Name;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get))
        .routes(routes!(seal))
        .routes(routes!(cancel))
        .routes(routes!(results))
}

/// A batch to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBatch)]
struct CreateIn {
    /// Queue of its jobs.
    queue: String,
    /// The job to run once all jobs of the batch are final.
    #[serde(default)]
    join: Option<JoinIn>,
    /// What to do about a dead job. Default `hold`.
    #[serde(default)]
    on_dead: OnDeadDto,
    /// A second create under the same key answers the first batch.
    #[serde(default)]
    key: Option<String>,
}

/// What a batch does about a dead job.
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OnDead)]
enum OnDeadDto {
    /// The join waits until it is retried or skipped.
    #[default]
    Hold,
    /// It counts as final.
    Join,
    /// It cancels the batch.
    Cancel,
}

impl From<OnDeadDto> for OnDead {
    fn from(on_dead: OnDeadDto) -> Self {
        match on_dead {
            OnDeadDto::Hold => Self::Hold,
            OnDeadDto::Join => Self::Join,
            OnDeadDto::Cancel => Self::Cancel,
        }
    }
}

impl From<OnDead> for OnDeadDto {
    fn from(on_dead: OnDead) -> Self {
        match on_dead {
            OnDead::Hold => Self::Hold,
            OnDead::Join => Self::Join,
            OnDead::Cancel => Self::Cancel,
        }
    }
}

/// State of a batch.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BatchState)]
enum StateOut {
    /// Takes jobs.
    Open,
    /// Sealed; its jobs run.
    Running,
    /// A dead job holds the join.
    Held,
    /// The join job runs.
    Joining,
    Completed,
    /// The join job is dead.
    Dead,
    Cancelled,
}

impl From<BatchState> for StateOut {
    fn from(state: BatchState) -> Self {
        match state {
            BatchState::Open => Self::Open,
            BatchState::Running => Self::Running,
            BatchState::Held => Self::Held,
            BatchState::Joining => Self::Joining,
            BatchState::Completed => Self::Completed,
            BatchState::Dead => Self::Dead,
            BatchState::Cancelled => Self::Cancelled,
        }
    }
}

/// A batch.
#[derive(Serialize, ToSchema)]
struct Batch {
    id: String,
    key: Option<String>,
    queue: String,
    state: StateOut,
    on_dead: OnDeadDto,
    /// Number of its jobs once it is sealed.
    expected: Option<u32>,
    /// Its jobs by state.
    counts: CountsOut,
    /// Dead jobs that were skipped.
    skipped: u64,
    /// The join job once it was fired.
    join_job_id: Option<String>,
    created_at: Instant,
    finished_at: Option<Instant>,
    /// Estimated time to the end of its jobs, from the rate so far.
    eta_ms: Option<u64>,
}

impl From<BatchView> for Batch {
    fn from(batch: BatchView) -> Self {
        Self {
            id: batch.id.to_string(),
            key: batch.key.map(|key| key.to_string()),
            queue: batch.queue.to_string(),
            state: batch.state.into(),
            on_dead: batch.on_dead.into(),
            expected: batch.expected,
            counts: batch.counts.into(),
            skipped: batch.skipped,
            join_job_id: batch.join.map(|job| job.to_string()),
            created_at: Instant(batch.created),
            finished_at: batch.finished.map(Instant),
            eta_ms: batch.eta_ms,
        }
    }
}

async fn view(api: &Api, caller: &Caller, batch: BatchId) -> Result<Json<Batch>, Error> {
    match api.query(caller, Query::Batch { batch }).await? {
        Answer::Batch(batch) => Ok(Json((*batch).into())),
        _ => Err(misfit()),
    }
}

async fn order(
    api: &Api,
    caller: &Caller,
    batch: BatchId,
    command: Command,
) -> Result<Json<Batch>, Error> {
    match api.execute(caller, command).await? {
        Reply::Done => view(api, caller, batch).await,
        _ => Err(misfit()),
    }
}

/// Creates a batch: 201, or 200 with the batch that the key names already.
#[utoipa::path(post, path = "/v1/batches", tag = "batches", request_body = CreateIn,
    responses(
        (status = 201, body = Batch),
        (status = 200, body = Batch),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(api): State<Api>,
    operation: Operation<CreateIn>,
) -> Result<(StatusCode, Json<Batch>), Error> {
    let Operation {
        caller,
        traceparent,
        body,
    } = operation;
    let queue = Name::new(&body.queue).map_err(|e| within("queue", e.into()))?;
    let join = body.join.map(|mut join| {
        let queue = match join.queue.take() {
            Some(queue) => Name::new(&queue).map_err(|e| within("join.queue", e.into()))?,
            None => queue.clone(),
        };
        let job = join.into_job(traceparent).map_err(|e| within("join", e))?;
        Ok::<_, Error>((queue, job))
    });
    let command = Command::CreateBatch {
        join: join.transpose()?,
        queue,
        on_dead: body.on_dead.into(),
        key: body.key.map(Into::into),
    };
    let Reply::Batch(batch, existing) = api.execute(&caller, command).await? else {
        return Err(misfit());
    };
    let status = if existing {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, view(&api, &caller, batch).await?))
}

/// Batches in the order of their ids.
#[utoipa::path(get, path = "/v1/batches", tag = "batches", params(PageQuery),
    responses(
        (status = 200, body = Page<Batch>),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    State(api): State<Api>,
    Asker(caller): Asker,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<Batch>>, Error> {
    let query = Query::Batches {
        after: token(&page.page_token, |text| text.parse().ok())?,
        limit: page_limit(page.page_size)?,
    };
    match api.query(&caller, query).await? {
        Answer::Batches(batches, next) => Ok(Page::new(batches, next, Batch::from)),
        _ => Err(misfit()),
    }
}

/// One batch: state, counts, estimated time to the end.
#[utoipa::path(get, path = "/v1/batches/{batch}", tag = "batches", params(("batch" = String, Path)),
    responses(
        (status = 200, body = Batch),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(api): State<Api>,
    Asker(caller): Asker,
    Path(batch): Path<String>,
) -> Result<Json<Batch>, Error> {
    view(&api, &caller, batch.parse()?).await
}

/// How many jobs there are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Seal {
    /// So many, at the indexes from 0 without a gap.
    expected: u32,
}

/// No more jobs: the join runs once those that are there are final.
#[utoipa::path(post, path = "/v1/batches/{batch}/seal", tag = "batches",
    params(("batch" = String, Path)), request_body = Seal,
    responses(
        (status = 200, body = Batch),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn seal(
    State(api): State<Api>,
    Path(batch): Path<String>,
    Operation { caller, body, .. }: Operation<Seal>,
) -> Result<Json<Batch>, Error> {
    let batch = batch.parse()?;
    let expected = body.expected;
    order(&api, &caller, batch, Command::SealBatch { batch, expected }).await
}

/// Cancels a batch and its jobs.
#[utoipa::path(post, path = "/v1/batches/{batch}/cancel", tag = "batches",
    params(("batch" = String, Path)),
    responses(
        (status = 200, body = Batch),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn cancel(
    State(api): State<Api>,
    Path(batch): Path<String>,
    Order {
        caller,
        body: Empty {},
    }: Order,
) -> Result<Json<Batch>, Error> {
    let batch = batch.parse()?;
    order(&api, &caller, batch, Command::CancelBatch { batch }).await
}

/// A job of a batch and what came out of it.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchResult)]
struct ChildOut {
    index: u32,
    job_id: String,
    state: StateDto,
    /// Attempts so far.
    attempts: u32,
    /// The recorded outcome, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<AnyJson>)]
    result: Option<Box<RawValue>>,
    /// The recorded outcome otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, content_encoding = "base64")]
    result_base64: Option<Base64>,
    outputs: Vec<BlobDto>,
}

impl From<ChildView> for ChildOut {
    fn from(child: ChildView) -> Self {
        let (result, result_base64) = shown_if(child.result, child.result_is_json);
        Self {
            index: child.index,
            job_id: child.job.to_string(),
            state: child.state.into(),
            attempts: child.attempts,
            result,
            result_base64,
            outputs: blobs_out(child.outputs),
        }
    }
}

/// Its jobs by index, with their results: the manifest that the join reads.
#[utoipa::path(get, path = "/v1/batches/{batch}/results", tag = "batches",
    params(("batch" = String, Path), PageQuery),
    responses(
        (status = 200, body = Page<ChildOut>),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn results(
    State(api): State<Api>,
    Asker(caller): Asker,
    Path(batch): Path<String>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<ChildOut>>, Error> {
    let query = Query::BatchResults {
        batch: batch.parse()?,
        from: token(&page.page_token, |text| text.parse().ok())?.unwrap_or(0),
        limit: page_limit(page.page_size)?,
    };
    match api.query(&caller, query).await? {
        Answer::BatchResults(children, next) => Ok(Page::new(children, next, ChildOut::from)),
        _ => Err(misfit()),
    }
}
