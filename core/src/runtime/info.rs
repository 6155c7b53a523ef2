//! What a container knows about itself, and the two calls that every API has: `/v1/info`, `/v1/wait`.

use super::extract::Query;
use super::settings::Pattern;
use crate::error::{Code, Error};
use crate::types::{ClusterId, NodeId};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::watch;

/// The state of a pattern's service, as the pattern reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Requests can be served.
    pub ready: bool,
    /// Why not, or something worth knowing.
    pub reason: String,
    /// The cluster, once it is known.
    pub cluster_id: Option<ClusterId>,
    /// This replica.
    pub node_id: Option<NodeId>,
    /// The replica that leads.
    pub leader: Option<NodeId>,
}

/// Where the container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Listening; the service is being started.
    #[default]
    Starting,
    /// The service runs.
    Running,
    /// Told to stop.
    Draining,
}

/// Phase and status together: what probes and callers are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Where the container is in its life.
    pub phase: Phase,
    /// What the service reports.
    pub status: Status,
}

impl Condition {
    /// Whether new requests should come here.
    pub fn ready(&self) -> bool {
        self.phase == Phase::Running && self.status.ready
    }

    /// Why not, in words.
    pub fn reason(&self) -> &str {
        match self.phase {
            Phase::Draining => "draining: this container was told to stop",
            Phase::Starting if self.status.reason.is_empty() => "starting",
            Phase::Running if self.status.reason.is_empty() && !self.status.ready => "not ready",
            Phase::Starting | Phase::Running => &self.status.reason,
        }
    }
}

/// What never changes while a container runs.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The pattern.
    pub pattern: Pattern,
    /// `serve`, `sidecar`, `work`, `dev`.
    pub role: &'static str,
    /// Version of the build.
    pub version: &'static str,
}

/// The answer of `GET /v1/info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Info {
    /// Version of the build.
    pub version: String,
    /// The pattern.
    pub pattern: String,
    /// The role.
    pub role: String,
    /// The cluster; null until it is known.
    pub cluster_id: Option<String>,
    /// This replica; null for a sidecar.
    pub node_id: Option<u64>,
    /// The replica that leads; null when none is known.
    pub leader: Option<Leader>,
}

/// The replica that leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Leader {
    /// Its number.
    pub node_id: u64,
}

impl Info {
    /// The answer for this container as it is.
    pub fn new(identity: Identity, status: &Status) -> Self {
        Self {
            version: identity.version.to_owned(),
            pattern: identity.pattern.to_string(),
            role: identity.role.to_owned(),
            cluster_id: status.cluster_id.map(|id| id.to_string()),
            node_id: status.node_id.map(|node| node.0),
            leader: status.leader.map(|node| Leader { node_id: node.0 }),
        }
    }
}

/// The answer of `GET /v1/wait`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Ready {
    /// Always true: what is not ready answers a problem.
    pub ready: bool,
}

/// The question of `GET /v1/wait`.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// How long to wait in milliseconds, at most 300,000.
    #[serde(default = "Wait::default_ms")]
    pub timeout_ms: u64,
}

impl Wait {
    const MS_MAX: u64 = 300_000;

    const fn default_ms() -> u64 {
        30_000
    }
}

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Common {
    /// What never changes.
    pub identity: Identity,
    /// What does.
    pub condition: watch::Receiver<Condition>,
}

/// The calls that every API has. They answer from the first moment on, before the service is ready.
pub fn router(common: Common) -> Router {
    Router::new()
        .route(INFO_PATH, get(info))
        .route(WAIT_PATH, get(wait))
        .with_state(common)
}

pub(super) const INFO_PATH: &str = "/v1/info";
pub(super) const WAIT_PATH: &str = "/v1/wait";

/// The OpenAPI text of these calls, to be merged into a pattern's own.
#[derive(Debug, utoipa::OpenApi)]
#[openapi(paths(info, wait), components(schemas(super::problem::Problem)))]
pub struct ApiDoc;

/// Who answers here, and who leads.
#[utoipa::path(get, path = "/v1/info", tag = "container", responses((status = 200, body = Info)))]
async fn info(State(common): State<Common>) -> axum::Json<Info> {
    let condition = common.condition.borrow().clone();
    axum::Json(Info::new(common.identity, &condition.status))
}

/// Answers when the container is ready.
#[utoipa::path(get, path = "/v1/wait", tag = "container", params(Wait), responses(
    (status = 200, body = Ready),
    (status = 503, description = "it was told to stop", body = super::problem::Problem, content_type = "application/problem+json"),
    (status = 504, description = "it was not ready in time", body = super::problem::Problem, content_type = "application/problem+json"),
))]
async fn wait(
    State(mut common): State<Common>,
    Query(wait): Query<Wait>,
) -> Result<axum::Json<Ready>, Error> {
    if wait.timeout_ms > Wait::MS_MAX {
        return Err(Error::invalid(format!(
            "timeout_ms: {} is over {}; wait less and ask again",
            wait.timeout_ms,
            Wait::MS_MAX
        )));
    }
    let limit = Duration::from_millis(wait.timeout_ms);
    let settled = common
        .condition
        .wait_for(|condition| condition.ready() || condition.phase == Phase::Draining);
    match tokio::time::timeout(limit, settled).await {
        Ok(Ok(condition)) if condition.ready() => return Ok(axum::Json(Ready { ready: true })),
        Ok(_) => {
            let told = Error::new(
                Code::NoQuorum,
                "this container was told to stop; ask another one",
            );
            return Err(told.retry_after_ms(1000));
        }
        Err(_) => {}
    }
    let reason = common.condition.borrow().reason().to_owned();
    Err(Error::new(
        Code::DeadlineExceeded,
        format!("not ready after {} ms: {reason}", wait.timeout_ms),
    ))
}
