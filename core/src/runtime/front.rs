//! What stands before the router of a listener: guard, gate, and a net under panics.
//!
//! One place for REST and gRPC, before anything is routed, so that no route can be reached around it.

use super::guard::Guard;
use super::problem;
use crate::error::{Code, Error};
use crate::types::Principal;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures::FutureExt as _;
use http::Request;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::OnceLock;
use tower::Service as _;

/// When a caller that came too early should ask again.
const RETRY_AFTER_MS: u64 = 500;

/// Whom the certificate of a request's connection names.
#[derive(Clone, Debug)]
pub(super) struct Certified(pub(super) Principal);

/// The front of one listener.
#[derive(Debug)]
pub struct Front {
    guard: Guard,
    /// Answers from the first moment on: what may be asked before the service is ready.
    always: Router,
    always_paths: &'static [&'static str],
    service: OnceLock<Router>,
    waiting_for: Mutex<String>,
}

impl Front {
    /// A front that answers `always_paths` (whole paths) by `always` and everything else by 503 until
    /// it is opened.
    pub fn closed(guard: Guard, always: Router, always_paths: &'static [&'static str]) -> Self {
        Self {
            guard,
            always,
            always_paths,
            service: OnceLock::new(),
            waiting_for: Mutex::new("starting".to_owned()),
        }
    }

    /// A front that is open from the first moment on.
    pub fn opened(guard: Guard, service: Router) -> Self {
        let front = Self::closed(guard, Router::new(), &[]);
        front.open(service);
        front
    }

    /// Lets requests through to the service, which has its own fallbacks. Only the first call counts.
    pub fn open(&self, service: Router) {
        // A second call would be a bug of the caller, and harmless.
        let _ = self.service.set(service);
    }

    /// Why the front is still closed, for those who ask.
    pub fn waiting_for(&self, reason: &str) {
        let mut waiting_for = self
            .waiting_for
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        reason.clone_into(&mut waiting_for);
    }

    /// The rules of this listener.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Answers one request.
    pub async fn answer(&self, mut request: Request<Body>) -> Response {
        let certified = request.extensions_mut().remove::<Certified>();
        let principal = match self.guard.check(request.uri(), request.headers()) {
            Ok(principal) => principal,
            Err(error) => {
                metrics::counter!("quorate_http_refused_total", "code" => error.code.as_str())
                    .increment(1);
                return problem::refuse(request.headers(), error);
            }
        };
        let mut router = if self.always_paths.contains(&request.uri().path()) {
            self.always.clone()
        } else {
            match self.service.get() {
                Some(service) => service.clone(),
                None => return problem::refuse(request.headers(), self.too_early()),
            }
        };
        // A token says more than the certificate of the connection it came by, which may be a proxy's.
        let principal = match certified {
            Some(Certified(named)) if self.guard.tokens().is_none() => named,
            _ => principal,
        };
        request.extensions_mut().insert(principal);
        let grpc = problem::is_grpc(request.headers());
        let answered = AssertUnwindSafe(router.call(request)).catch_unwind().await;
        match answered {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_panic) => panicked(grpc),
        }
    }

    fn too_early(&self) -> Error {
        let waiting_for = self
            .waiting_for
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Error::new(
            Code::NoQuorum,
            format!("not ready yet ({waiting_for}): nothing was done, try again"),
        )
        .retry_after_ms(RETRY_AFTER_MS)
    }
}

/// The process's panic hook has told the place; the caller learns only that it was our fault.
fn panicked(grpc: bool) -> Response {
    let error = Error::new(
        Code::Internal,
        "a bug of Quorate: the log of this container has the place; whether anything was done is \
         unknown",
    );
    if grpc {
        tonic::Status::from(error).into_http()
    } else {
        use axum::response::IntoResponse as _;
        error.into_response()
    }
}
