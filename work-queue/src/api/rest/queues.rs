//! Queues: settings, counts and control.

use super::operation::{Asker, Empty, Order};
use super::values::{Count, NotBuilt, Page, PageQuery};
use crate::api::Api;
use crate::convert::page::{page_limit, token};
use crate::convert::reply::misfit;
use crate::machine::{Answer, Command, Counts, Query, QueueView, Reply, Settings, limits};
use crate::service::Caller;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use quorate_core::error::Error;
use quorate_core::runtime::extract::{Path, Query as Params};
use quorate_core::runtime::problem::Problem;
use quorate_core::types::Name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(purge))
        .routes(routes!(redrive))
        .routes(routes!(scaling))
}

/// Settings of a queue. What is absent gets the default.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QueueSettings)]
struct SettingsIn {
    /// Default length of a lease. Default 30000.
    lease_ms: Option<u64>,
    /// A lease whose progress does not change for so long is revoked; 0, the default, is off.
    stall_ms: Option<u64>,
    /// Failed attempts before a job is dead. Default 5.
    max_attempts: Option<u32>,
    /// Delay after a failed attempt.
    #[serde(default)]
    backoff: BackoffIn,
    /// Jobs that are not final, at the most.
    max_jobs: Option<u64>,
    /// Payload bytes of jobs that are not final, at the most.
    max_bytes: Option<u64>,
    /// How long final jobs are kept. Default one day.
    retention_ms: Option<u64>,
    #[serde(default)]
    #[schema(ignore)]
    rate: NotBuilt,
    #[serde(default)]
    #[schema(ignore)]
    concurrency: NotBuilt,
    #[serde(default)]
    #[schema(ignore)]
    dead_letter: NotBuilt,
}

/// Delay after a failed attempt; doubles with each.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BackoffSettings)]
struct BackoffIn {
    /// The first delay. Default 1000.
    initial_ms: Option<u64>,
    /// The longest delay. Default 300000.
    max_ms: Option<u64>,
}

impl From<SettingsIn> for Settings {
    fn from(given: SettingsIn) -> Self {
        let SettingsIn {
            rate: NotBuilt,
            concurrency: NotBuilt,
            dead_letter: NotBuilt,
            ..
        } = given;
        let default = Self::default();
        Self {
            lease_ms: given.lease_ms.unwrap_or(default.lease_ms),
            stall_ms: given.stall_ms.unwrap_or(default.stall_ms),
            max_attempts: given.max_attempts.unwrap_or(default.max_attempts),
            backoff_initial_ms: given
                .backoff
                .initial_ms
                .unwrap_or(default.backoff_initial_ms),
            backoff_max_ms: given.backoff.max_ms.unwrap_or(default.backoff_max_ms),
            max_jobs: given.max_jobs.unwrap_or(default.max_jobs),
            max_bytes: given.max_bytes.unwrap_or(default.max_bytes),
            retention_ms: given.retention_ms.unwrap_or(default.retention_ms),
        }
    }
}

/// A queue: its settings and how full it is.
#[derive(Serialize, ToSchema)]
struct Queue {
    name: String,
    paused: bool,
    lease_ms: u64,
    stall_ms: u64,
    max_attempts: u32,
    backoff: Backoff,
    max_jobs: u64,
    max_bytes: u64,
    retention_ms: u64,
    counts: CountsOut,
    /// Payload bytes of jobs that are not final.
    bytes: u64,
    /// Age of the oldest ready job; 0 when there is none.
    oldest_age_ms: u64,
}

/// Delay after a failed attempt.
#[derive(Serialize, ToSchema)]
struct Backoff {
    initial_ms: u64,
    max_ms: u64,
}

/// Jobs by state.
#[derive(Serialize, ToSchema)]
#[schema(as = Counts)]
pub(super) struct CountsOut {
    ready: u64,
    delayed: u64,
    leased: u64,
    /// Those that are still kept.
    completed: u64,
    dead: u64,
    /// Those that are still kept.
    cancelled: u64,
}

impl From<Counts> for CountsOut {
    fn from(counts: Counts) -> Self {
        Self {
            ready: counts.ready,
            delayed: counts.delayed,
            leased: counts.leased,
            completed: counts.completed,
            dead: counts.dead,
            cancelled: counts.cancelled,
        }
    }
}

impl From<QueueView> for Queue {
    fn from(queue: QueueView) -> Self {
        let settings = queue.settings;
        Self {
            name: queue.name.to_string(),
            paused: queue.paused,
            lease_ms: settings.lease_ms,
            stall_ms: settings.stall_ms,
            max_attempts: settings.max_attempts,
            backoff: Backoff {
                initial_ms: settings.backoff_initial_ms,
                max_ms: settings.backoff_max_ms,
            },
            max_jobs: settings.max_jobs,
            max_bytes: settings.max_bytes,
            retention_ms: settings.retention_ms,
            counts: queue.counts.into(),
            bytes: queue.bytes,
            oldest_age_ms: queue.oldest_age_ms,
        }
    }
}

async fn view(api: &Api, caller: &Caller, queue: Name) -> Result<QueueView, Error> {
    match api.query(caller, Query::Queue { queue }).await? {
        Answer::Queue(queue) => Ok(*queue),
        _ => Err(misfit()),
    }
}

/// Carries out an order about a queue and answers how the queue stands then.
async fn order(
    api: &Api,
    caller: &Caller,
    queue: Name,
    command: Command,
) -> Result<Json<Queue>, Error> {
    match api.execute(caller, command).await? {
        Reply::Done => Ok(Json(view(api, caller, queue).await?.into())),
        _ => Err(misfit()),
    }
}

async fn count(api: &Api, caller: &Caller, command: Command) -> Result<Json<Count>, Error> {
    match api.execute(caller, command).await? {
        Reply::Count(count) => Ok(Json(Count { count })),
        _ => Err(misfit()),
    }
}

/// Queues by name.
#[utoipa::path(get, path = "/v1/queues", tag = "queues", params(PageQuery), responses(
    (status = 200, body = Page<Queue>),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
async fn list(
    State(api): State<Api>,
    Asker(caller): Asker,
    Params(page): Params<PageQuery>,
) -> Result<Json<Page<Queue>>, Error> {
    let query = Query::Queues {
        after: token(&page.page_token, |text| text.parse().ok())?,
        limit: page_limit(page.page_size)?,
    };
    match api.query(&caller, query).await? {
        Answer::Queues(queues, next) => Ok(Page::new(queues, next, Queue::from)),
        _ => Err(misfit()),
    }
}

/// One queue: settings, counts by state, age of the oldest ready job.
#[utoipa::path(get, path = "/v1/queues/{queue}", tag = "queues", params(("queue" = String, Path)),
    responses(
        (status = 200, body = Queue),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(api): State<Api>,
    Asker(caller): Asker,
    Path(queue): Path<String>,
) -> Result<Json<Queue>, Error> {
    Ok(Json(view(&api, &caller, Name::new(&queue)?).await?.into()))
}

/// Creates a queue or replaces its settings.
#[utoipa::path(put, path = "/v1/queues/{queue}", tag = "queues", params(("queue" = String, Path)),
    request_body = SettingsIn,
    responses(
        (status = 200, body = Queue),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn put(
    State(api): State<Api>,
    Path(queue): Path<String>,
    Order { caller, body }: Order<SettingsIn>,
) -> Result<Json<Queue>, Error> {
    let queue = Name::new(&queue)?;
    let command = Command::Configure {
        queue: queue.clone(),
        settings: body.into(),
    };
    order(&api, &caller, queue, command).await
}

/// Deletes a queue that holds no job that is not final.
#[utoipa::path(delete, path = "/v1/queues/{queue}", tag = "queues", params(("queue" = String, Path)),
    responses(
        (status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(
    State(api): State<Api>,
    Path(queue): Path<String>,
    Order {
        caller,
        body: Empty {},
    }: Order,
) -> Result<StatusCode, Error> {
    let queue = Name::new(&queue)?;
    match api.execute(&caller, Command::DeleteQueue { queue }).await? {
        Reply::Done => Ok(StatusCode::NO_CONTENT),
        _ => Err(misfit()),
    }
}

/// Hands out no more work until resumed.
#[utoipa::path(post, path = "/v1/queues/{queue}/pause", tag = "queues",
    params(("queue" = String, Path)),
    responses(
        (status = 200, body = Queue),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn pause(
    State(api): State<Api>,
    Path(queue): Path<String>,
    Order {
        caller,
        body: Empty {},
    }: Order,
) -> Result<Json<Queue>, Error> {
    let queue = Name::new(&queue)?;
    let command = Command::Pause {
        queue: queue.clone(),
        paused: true,
    };
    order(&api, &caller, queue, command).await
}

/// Hands out work again.
#[utoipa::path(post, path = "/v1/queues/{queue}/resume", tag = "queues",
    params(("queue" = String, Path)),
    responses(
        (status = 200, body = Queue),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn resume(
    State(api): State<Api>,
    Path(queue): Path<String>,
    Order {
        caller,
        body: Empty {},
    }: Order,
) -> Result<Json<Queue>, Error> {
    let queue = Name::new(&queue)?;
    let command = Command::Pause {
        queue: queue.clone(),
        paused: false,
    };
    order(&api, &caller, queue, command).await
}

/// Cancels all ready and delayed jobs.
#[utoipa::path(post, path = "/v1/queues/{queue}/purge", tag = "queues",
    params(("queue" = String, Path)),
    responses(
        (status = 200, body = Count),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn purge(
    State(api): State<Api>,
    Path(queue): Path<String>,
    Order {
        caller,
        body: Empty {},
    }: Order,
) -> Result<Json<Count>, Error> {
    let queue = Name::new(&queue)?;
    count(&api, &caller, Command::Purge { queue }).await
}

/// How many dead jobs to make ready.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Redrive {
    /// At most so many; absent is as many as one request may.
    max: Option<u32>,
}

/// Makes dead jobs ready again.
#[utoipa::path(post, path = "/v1/queues/{queue}/redrive", tag = "queues",
    params(("queue" = String, Path)), request_body = Redrive,
    responses(
        (status = 200, body = Count),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn redrive(
    State(api): State<Api>,
    Path(queue): Path<String>,
    Order { caller, body }: Order<Redrive>,
) -> Result<Json<Count>, Error> {
    let queue = Name::new(&queue)?;
    let max = body.max.unwrap_or(limits::REDRIVE_MAX);
    count(&api, &caller, Command::Redrive { queue, max }).await
}

/// How many jobs one worker takes at a time.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
struct ScalingQuery {
    /// Leases that one worker holds at a time; 1 when absent.
    slots: Option<u64>,
}

/// What an autoscaler wants to know.
#[derive(Serialize, ToSchema)]
struct Scaling {
    ready: u64,
    leased: u64,
    delayed: u64,
    /// Age of the oldest ready job; 0 when there is none.
    oldest_age_ms: u64,
    /// Workers that would have something to do now: ready and leased jobs by slots, rounded up. 0 for
    /// the ready jobs of a paused queue, since nobody gets them.
    desired_workers: u64,
}

/// What an autoscaler wants to know: leased jobs count, so that a busy worker is not taken away.
#[utoipa::path(get, path = "/v1/queues/{queue}/scaling", tag = "queues",
    params(("queue" = String, Path), ScalingQuery),
    responses(
        (status = 200, body = Scaling),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ))]
async fn scaling(
    State(api): State<Api>,
    Asker(caller): Asker,
    Path(queue): Path<String>,
    Params(query): Params<ScalingQuery>,
) -> Result<Json<Scaling>, Error> {
    let slots = query.slots.unwrap_or(1);
    if slots == 0 {
        return Err(Error::invalid(
            "slots: 0 leases for each worker would need endlessly many; use 1 or more",
        ));
    }
    let queue = view(&api, &caller, Name::new(&queue)?).await?;
    let counts = queue.counts;
    let ready = if queue.paused { 0 } else { counts.ready };
    Ok(Json(Scaling {
        ready: counts.ready,
        leased: counts.leased,
        delayed: counts.delayed,
        oldest_age_ms: queue.oldest_age_ms,
        desired_workers: ready.saturating_add(counts.leased).div_ceil(slots),
    }))
}
