//! Health as probes ask for it: on the ops port by HTTP, on the API port by `grpc.health.v1`.
//!
//! Live means that the process answers; started means that the service was started; ready means that
//! requests should come here. Readiness never depends on the application next to the container.

use super::info::{Common, Condition, Info, Phase};
use super::metrics::Metrics;
use axum::Router;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use serde::Serialize;
use std::fmt::Write as _;
use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// What the ops handlers share.
#[derive(Clone, Debug)]
pub struct Ops {
    /// Identity and condition.
    pub common: Common,
    /// The process's metrics; `None` when another recorder was installed first.
    pub metrics: Option<Metrics>,
}

/// The answer of a probe.
#[derive(Debug, Serialize)]
struct Probe<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

/// The router of the ops listener: reads only, shows no payloads.
pub fn router(ops: Ops) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .route("/metrics", get(render))
        .route("/", get(page))
        .with_state(ops)
}

fn probe(good: bool, word: &'static str, reason: &str) -> Response {
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        axum::Json(Probe {
            status: word,
            reason,
        }),
    )
        .into_response()
}

async fn livez() -> Response {
    probe(true, "live", "")
}

async fn readyz(State(ops): State<Ops>) -> Response {
    let condition = ops.common.condition.borrow().clone();
    let ready = condition.ready();
    probe(
        ready,
        if ready { "ready" } else { "not_ready" },
        condition.reason(),
    )
}

async fn startupz(State(ops): State<Ops>) -> Response {
    let condition = ops.common.condition.borrow().clone();
    let started = condition.phase != Phase::Starting;
    let reason = if started { "" } else { condition.reason() };
    probe(
        started,
        if started { "started" } else { "starting" },
        reason,
    )
}

async fn render(State(ops): State<Ops>) -> Response {
    match &ops.metrics {
        Some(metrics) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(CONTENT_TYPE, kind)], metrics.render()).into_response()
        }
        None => probe(
            false,
            "unavailable",
            "another metrics recorder is installed in this process",
        ),
    }
}

/// The status page: what `/v1/info` and `/readyz` say, for eyes.
async fn page(State(ops): State<Ops>) -> Response {
    let condition = ops.common.condition.borrow().clone();
    let info = Info::new(ops.common.identity, &condition.status);
    let known = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    let ready = if condition.ready() {
        "ready"
    } else {
        "not ready"
    };
    let rows = [
        ("health", ready.to_owned()),
        ("reason", condition.reason().to_owned()),
        ("role", info.role),
        ("version", info.version),
        ("cluster", known(info.cluster_id)),
        ("node", known(info.node_id.map(|id| id.to_string()))),
        (
            "leader",
            known(info.leader.map(|leader| format!("node {}", leader.node_id))),
        ),
    ];
    let mut table = String::new();
    for (name, value) in rows {
        // Writing to a string never fails.
        let _ = write!(table, "<tr><th>{}<td>{}", escape(name), escape(&value));
    }
    let title = escape(&info.pattern);
    let html = Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>\
         <title>quorate {title}</title>\
         <style>body{{font:16px system-ui;margin:2em}}th{{text-align:left;padding-right:2em}}</style>\
         <h1>quorate {title}</h1><table>{table}</table>\
         <p><a href=/metrics>metrics</a> <a href=/readyz>readyz</a></p></html>"
    ));
    let headers = [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, html).into_response()
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// The routes of `grpc.health.v1`, and the reporter behind them. Nothing serves until it is said.
pub async fn grpc() -> (HealthReporter, Router) {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("", ServingStatus::NotServing)
        .await;
    let routes = tonic::service::Routes::new(service);
    (reporter, routes.into_axum_router())
}

/// Keeps the reporter in step with the condition, for the container as a whole and for each service
/// named. Ends with the container.
pub async fn report(
    reporter: HealthReporter,
    services: Vec<String>,
    mut condition: watch::Receiver<Condition>,
) {
    loop {
        let ready = condition.borrow_and_update().ready();
        let status = if ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in std::iter::once("").chain(services.iter().map(String::as_str)) {
            reporter.set_service_status(service, status).await;
        }
        if condition.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            escape("<a href='x'>&\""),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;"
        );
    }
}
