//! Jobs: adding them and looking at them.

use super::instant::Instant;
use super::operation::{Asker, Empty, Operation, Order};
use super::values::{
    AnyJson, Base64, BlobDto, NotBuilt, Page, blobs_in, blobs_out, given, labels_in, labels_out,
    raw, shown, shown_if,
};
use crate::api::Api;
use crate::convert::page::{page_limit, token};
use crate::convert::reply::misfit;
use crate::convert::within;
use crate::machine::{
    Answer, Attempt, AttemptOutcome, BatchId, Command, JobId, JobView, NewJob, Progress, Query,
    Reply, State as JobState,
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
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(enqueue, list))
        .routes(routes!(get))
        .routes(routes!(cancel))
        .routes(routes!(retry))
        .routes(routes!(skip))
}

/// A struct with the fields of a job and some of its own: serde can deny unknown fields or flatten,
/// not both.
macro_rules! job_in {
    ($(#[$doc:meta])* $name:ident as $schema:ident { $($(#[$own_doc:meta])* $own:ident: $own_type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        #[schema(as = $schema)]
        pub(super) struct $name {
            $(
                #[serde(default)]
                $(#[$own_doc])*
                pub(super) $own: $own_type,
            )*
            /// Any JSON value, handed out byte for byte. Up to 64 KiB.
            #[serde(default, deserialize_with = "raw")]
            #[schema(value_type = Option<AnyJson>)]
            payload: Option<Box<RawValue>>,
            /// Or any bytes.
            #[schema(value_type = Option<String>, content_encoding = "base64")]
            #[serde(default)]
            payload_base64: Option<Base64>,
            /// Files it needs.
            #[serde(default)]
            inputs: Vec<BlobDto>,
            /// 0 (first) to 15; first in, first out within. Default 8.
            priority: Option<u8>,
            /// Not before this time.
            not_before: Option<Instant>,
            /// A second job of the queue with the same key is answered with the first one's id, as long
            /// as that one is kept.
            dedupe_key: Option<String>,
            /// Failed attempts before it is dead; the queue's setting when absent.
            max_attempts: Option<u32>,
            /// The batch it belongs to; needs `index`.
            batch: Option<String>,
            /// Its place in the batch, from 0. A second job at the same place is the first one.
            index: Option<u32>,
            /// For lists.
            #[serde(default)]
            labels: BTreeMap<String, String>,
            #[serde(default)]
            #[schema(ignore)]
            deadline: NotBuilt,
            #[serde(default)]
            #[schema(ignore)]
            depends_on: NotBuilt,
            #[serde(default)]
            #[schema(ignore)]
            weight: NotBuilt,
            #[serde(default)]
            #[schema(ignore)]
            requires: NotBuilt,
            #[serde(default)]
            #[schema(ignore)]
            concurrency_key: NotBuilt,
            #[serde(default)]
            #[schema(ignore)]
            fairness_key: NotBuilt,
        }

        impl $name {
            /// The job, with the trace context of its request.
            pub(super) fn into_job(self, traceparent: Option<Arc<str>>) -> Result<NewJob, Error> {
                let Self {
                    deadline: NotBuilt,
                    depends_on: NotBuilt,
                    weight: NotBuilt,
                    requires: NotBuilt,
                    concurrency_key: NotBuilt,
                    fairness_key: NotBuilt,
                    ..
                } = self;
                let payload = given("payload", self.payload, self.payload_base64)?;
                let (payload, payload_is_json) = payload.unwrap_or_default();
                Ok(NewJob {
                    payload,
                    payload_is_json,
                    inputs: blobs_in(self.inputs),
                    priority: self.priority.unwrap_or(NewJob::PRIORITY_DEFAULT),
                    not_before: self.not_before.map(|instant| instant.0),
                    dedupe_key: self.dedupe_key.map(Arc::from),
                    max_attempts: self.max_attempts,
                    batch: place(self.batch, self.index)?,
                    labels: labels_in(self.labels),
                    traceparent,
                })
            }
        }
    };
}

job_in! {
    /// A job.
    JobIn as NewJob {}
}
job_in! {
    /// One job, or several under `jobs`.
    EnqueueIn as EnqueueOne {
        /// Several jobs, added all or none; then no other field may be there.
        #[schema(ignore)]
        jobs: Option<Vec<JobIn>>,
    }
}
job_in! {
    /// The job to run when all jobs of a batch are final.
    JoinIn as JoinJob {
        /// Its queue; the batch's when absent.
        queue: Option<String>,
    }
}

/// One job, or several that are added all or none.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(
    dead_code,
    reason = "for the OpenAPI text; EnqueueIn reads both in one pass"
)]
enum EnqueueRequest {
    One(JobIn),
    Many { jobs: Vec<JobIn> },
}

fn place(batch: Option<String>, index: Option<u32>) -> Result<Option<(BatchId, u32)>, Error> {
    match (batch, index) {
        (None, None) => Ok(None),
        (Some(batch), Some(index)) => {
            let batch = batch.parse().map_err(|e| within("batch", e))?;
            Ok(Some((batch, index)))
        }
        (Some(_), None) => Err(Error::invalid(
            "index: missing; a job of a batch has its place there, from 0",
        )),
        (None, Some(_)) => Err(Error::invalid(
            "batch: missing; an index is a place in a batch",
        )),
    }
}

impl EnqueueIn {
    fn into_jobs(mut self, traceparent: Option<Arc<str>>) -> Result<Vec<NewJob>, Error> {
        let Some(jobs) = self.jobs.take() else {
            return Ok(vec![self.into_job(traceparent)?]);
        };
        if !self.is_empty() {
            return Err(Error::invalid(
                "jobs: stands beside fields of a single job; put them into the jobs",
            ));
        }
        jobs.into_iter()
            .enumerate()
            .map(|(i, job)| {
                job.into_job(traceparent.clone())
                    .map_err(|e| within(format_args!("jobs[{i}]"), e))
            })
            .collect()
    }

    /// No field of a job is there.
    fn is_empty(&self) -> bool {
        self.payload.is_none()
            && self.payload_base64.is_none()
            && self.inputs.is_empty()
            && self.priority.is_none()
            && self.not_before.is_none()
            && self.dedupe_key.is_none()
            && self.max_attempts.is_none()
            && self.batch.is_none()
            && self.index.is_none()
            && self.labels.is_empty()
    }
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

/// Where a job stands.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = JobState)]
pub(super) enum StateDto {
    Ready,
    Delayed,
    Leased,
    Completed,
    Dead,
    Cancelled,
}

impl From<StateDto> for JobState {
    fn from(state: StateDto) -> Self {
        match state {
            StateDto::Ready => Self::Ready,
            StateDto::Delayed => Self::Delayed,
            StateDto::Leased => Self::Leased,
            StateDto::Completed => Self::Completed,
            StateDto::Dead => Self::Dead,
            StateDto::Cancelled => Self::Cancelled,
        }
    }
}

impl From<JobState> for StateDto {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Ready => Self::Ready,
            JobState::Delayed => Self::Delayed,
            JobState::Leased => Self::Leased,
            JobState::Completed => Self::Completed,
            JobState::Dead => Self::Dead,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// A job.
#[derive(Serialize, ToSchema)]
struct Job {
    id: String,
    queue: String,
    state: StateDto,
    /// The payload, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<AnyJson>)]
    payload: Option<Box<RawValue>>,
    /// The payload otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, content_encoding = "base64")]
    payload_base64: Option<Base64>,
    inputs: Vec<BlobDto>,
    priority: u8,
    not_before: Option<Instant>,
    dedupe_key: Option<String>,
    max_attempts: Option<u32>,
    batch: Option<String>,
    index: Option<u32>,
    labels: BTreeMap<String, String>,
    traceparent: Option<String>,
    enqueued_at: Instant,
    finished_at: Option<Instant>,
    /// When it will be ready, if delayed.
    ready_at: Option<Instant>,
    /// Failed attempts.
    failures: u32,
    /// Lost leases.
    losses: u32,
    /// Times it was given back.
    releases: u32,
    /// The last attempts, oldest first.
    attempts: Vec<AttemptOut>,
    progress: Option<ProgressDto>,
    /// The recorded outcome, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<AnyJson>)]
    result: Option<Box<RawValue>>,
    /// The recorded outcome otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, content_encoding = "base64")]
    result_base64: Option<Base64>,
    outputs: Vec<BlobDto>,
    /// Why it is not running; empty when it is or is final.
    waiting: String,
    dead_reason: String,
    /// A cancel was asked for and its lease has not ended.
    cancel_requested: bool,
}

impl From<JobView> for Job {
    fn from(view: JobView) -> Self {
        let job = view.job;
        let (payload, payload_base64) = shown(job.payload, job.payload_is_json);
        let (result, result_base64) = shown_if(view.result, view.result_is_json);
        Self {
            id: view.id.to_string(),
            queue: view.queue.to_string(),
            state: view.state.into(),
            payload,
            payload_base64,
            inputs: blobs_out(job.inputs),
            priority: job.priority,
            not_before: job.not_before.map(Instant),
            dedupe_key: job.dedupe_key.map(|key| key.to_string()),
            max_attempts: job.max_attempts,
            batch: job.batch.map(|(batch, _)| batch.to_string()),
            index: job.batch.map(|(_, index)| index),
            labels: labels_out(job.labels),
            traceparent: job.traceparent.map(|value| value.to_string()),
            enqueued_at: Instant(view.enqueued),
            finished_at: view.finished.map(Instant),
            ready_at: view.ready_at.map(Instant),
            failures: view.failures,
            losses: view.losses,
            releases: view.releases,
            attempts: view.attempts.into_iter().map(AttemptOut::from).collect(),
            progress: view.progress.map(ProgressDto::from),
            result,
            result_base64,
            outputs: blobs_out(view.outputs),
            waiting: view.waiting,
            dead_reason: view.dead_reason.to_string(),
            cancel_requested: view.cancel_requested,
        }
    }
}

/// An attempt of a job.
#[derive(Serialize, ToSchema)]
#[schema(as = Attempt)]
struct AttemptOut {
    /// 1 for the first.
    number: u32,
    lease_id: String,
    fencing_token: u64,
    worker: String,
    started_at: Instant,
    ended_at: Option<Instant>,
    /// How it ended; null while it runs.
    outcome: Option<OutcomeOut>,
    error: String,
    exit_code: Option<i32>,
    signal: Option<i32>,
    log_tail: String,
}

/// How an attempt ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AttemptOutcome)]
enum OutcomeOut {
    Completed,
    Failed,
    /// The worker was silent.
    Lost,
    Released,
    /// The grant never reached the worker.
    Unclaimed,
    /// No progress.
    Stalled,
    Cancelled,
}

impl From<Attempt> for AttemptOut {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            lease_id: attempt.lease.to_string(),
            fencing_token: attempt.lease.token().0,
            worker: attempt.worker.to_string(),
            started_at: Instant(attempt.started),
            ended_at: attempt.ended.map(Instant),
            outcome: attempt.outcome.map(|outcome| match outcome {
                AttemptOutcome::Completed => OutcomeOut::Completed,
                AttemptOutcome::Failed => OutcomeOut::Failed,
                AttemptOutcome::Lost => OutcomeOut::Lost,
                AttemptOutcome::Released => OutcomeOut::Released,
                AttemptOutcome::Unclaimed => OutcomeOut::Unclaimed,
                AttemptOutcome::Stalled => OutcomeOut::Stalled,
                AttemptOutcome::Cancelled => OutcomeOut::Cancelled,
            }),
            error: attempt.error.to_string(),
            exit_code: attempt.exit_code,
            signal: attempt.signal,
            log_tail: attempt.log_tail.to_string(),
        }
    }
}

/// How far an attempt is.
#[derive(Serialize, ToSchema)]
#[schema(as = Progress)]
struct ProgressDto {
    done: f64,
    /// 0 when unknown.
    total: f64,
    unit: String,
    message: String,
}

impl From<Progress> for ProgressDto {
    fn from(progress: Progress) -> Self {
        Self {
            done: progress.done,
            total: progress.total,
            unit: progress.unit.to_string(),
            message: progress.message.to_string(),
        }
    }
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

async fn view(api: &Api, caller: &Caller, job: JobId) -> Result<Json<Job>, Error> {
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
        Reply::Done => view(api, caller, job).await,
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
    view(&api, &caller, job.parse()?).await
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
