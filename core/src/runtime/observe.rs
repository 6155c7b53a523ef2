//! Requests counted and timed by route, for Prometheus.
//!
//! Labels are routes, never paths: paths hold names that users choose, and their number has no bound.
//! axum makes one copy of the layer for each route and method, so that the handles of a route's
//! metrics are kept next to it instead of being looked up for every request.

use super::problem;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::response::Response;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Request;
use metrics::{Counter, Histogram};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::time::Instant;
use tower::{Layer, Service};

/// Methods with a label of their own; a token that somebody made up gets a common one.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The status of gRPC that says there is no such method.
const UNIMPLEMENTED: &str = "12";

/// Counts and times what passes through it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observe;

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed {
            inner,
            handles: Arc::default(),
        }
    }
}

/// One route, observed.
#[derive(Clone)]
pub(super) struct Observed<S> {
    inner: S,
    handles: Arc<Mutex<BTreeMap<Key, Handles>>>,
}

impl<S> std::fmt::Debug for Observed<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observed")
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    method: &'static str,
    /// Of a gRPC service, whose route stands for all its methods.
    grpc: Option<Arc<str>>,
    /// HTTP status, or `grpc 14`.
    status: Status,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    Http(u16),
    Grpc(u16),
}

#[derive(Clone)]
struct Handles {
    count: Counter,
    seconds: Histogram,
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let begin = Instant::now();
        let method = METHODS
            .into_iter()
            .find(|known| *known == request.method().as_str())
            .unwrap_or("other");
        let route = request.extensions().get::<MatchedPath>().cloned();
        // The routes of tonic stand for a whole service; the label then names the method.
        let service = route
            .as_ref()
            .is_some_and(|route| route.as_str().ends_with("/{*rest}"));
        let grpc: Option<Arc<str>> = (service && problem::is_grpc(request.headers()))
            .then(|| Arc::from(request.uri().path()));
        let handles = Arc::clone(&self.handles);
        let answered = self.inner.call(request);
        async move {
            let response = answered.await?;
            let key = key(method, grpc, &response);
            let handles = handles
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(key)
                .or_insert_with_key(|key| register(key, route.as_ref()))
                .clone();
            handles.count.increment(1);
            handles.seconds.record(begin.elapsed().as_secs_f64());
            Ok(response)
        }
        .boxed()
    }
}

fn key(method: &'static str, grpc: Option<Arc<str>>, response: &Response) -> Key {
    let Some(path) = grpc else {
        let status = Status::Http(response.status().as_u16());
        return Key {
            method,
            grpc: None,
            status,
        };
    };
    // A refusal comes as headers alone; the status of a stream comes at its end and is not seen here.
    let told = response
        .headers()
        .get("grpc-status")
        .and_then(|value| value.to_str().ok());
    let status = Status::Grpc(told.and_then(|text| text.parse().ok()).unwrap_or(0));
    // The paths of methods that exist are few; those that do not exist have no bound.
    let grpc = (told != Some(UNIMPLEMENTED)).then_some(path);
    Key {
        method,
        grpc,
        status,
    }
}

fn register(key: &Key, route: Option<&MatchedPath>) -> Handles {
    let route = match (&key.grpc, route) {
        (Some(method), _) => method.to_string(),
        (None, Some(route)) => route.as_str().to_owned(),
        (None, None) => "none".to_owned(),
    };
    let status = match key.status {
        Status::Http(status) => status.to_string(),
        Status::Grpc(status) => format!("grpc {status}"),
    };
    Handles {
        count: metrics::counter!(
            "quorate_http_requests_total",
            "method" => key.method, "route" => route.clone(), "status" => status
        ),
        seconds: metrics::histogram!(
            "quorate_http_request_seconds",
            "method" => key.method, "route" => route
        ),
    }
}
