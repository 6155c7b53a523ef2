//! An HTTP service that takes no request of an old leader: a tower layer that reads the fencing token
//! from the header [`HEADER`].
//!
//! A request with a token below the highest seen is refused with 409 and `stale_fencing_token`. One
//! that changes something and has no token is refused with 400. Reads without a token pass: whoever
//! only looks need not lead.
//!
//! Comparing alone would not do: a request could pass the comparison, be slow, and write after a newer
//! leader's request. So requests of one token run side by side, and a request with a newer token first
//! waits until those in flight with older ones have been answered. To **seal** is to send any request
//! with the new token, for example the very `GET` that reads the state: what it sees is the last word
//! of all older leaders.
//!
//! What it rests on: the handler's effects happen before it answers. What a handler leaves running in
//! the background, or another replica of the service with a fence of its own, is not held back; put the
//! fence into the database then (module `sql`).

use super::{FileError, SharedFile, admit};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use quorate_core::error::{Code, Error};
use quorate_core::types::FencingToken;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use tower::{Layer, Service, ServiceExt as _};

/// Carries the fencing token of whoever sends the request, in decimal.
pub const HEADER: &str = "quorate-fencing-token";

/// How long a request with a newer token waits for older ones in flight.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts a fence in front of a service. Clones, and all services made by them, share it.
///
/// ```
/// # use axum::{Router, routing::post};
/// use quorate_leader_election::guard::http::FenceLayer;
///
/// # async fn charge() {}
/// let app: Router = Router::new().route("/charges", post(charge)).layer(FenceLayer::in_memory());
/// ```
#[derive(Clone, Debug)]
pub struct FenceLayer {
    fence: Arc<Fence>,
}

#[derive(Debug)]
struct Fence {
    /// The highest token. Held for reading by each request while it runs, for writing while it is
    /// raised.
    highest: Arc<RwLock<FencingToken>>,
    kept: Option<SharedFile>,
    patience: Duration,
    needs_token: fn(&Method) -> bool,
}

impl FenceLayer {
    /// A fence that forgets with the process: for services whose state does the same. After a restart
    /// an old leader's token would count as new.
    pub fn in_memory() -> Self {
        Self::new(FencingToken(0), None)
    }

    /// A fence that keeps the highest token in the file `path` with `.token` appended, synced before a
    /// request with a newer one is let through. Blocks while it reads the file.
    ///
    /// # Errors
    /// The file cannot be read or holds something else.
    pub fn persistent(path: impl Into<PathBuf>) -> Result<Self, FileError> {
        let file = SharedFile::new(path);
        Ok(Self::new(file.highest()?, Some(file)))
    }

    fn new(highest: FencingToken, kept: Option<SharedFile>) -> Self {
        Self {
            fence: Arc::new(Fence {
                highest: Arc::new(RwLock::new(highest)),
                kept,
                patience: PATIENCE,
                needs_token: |method| !method.is_safe(),
            }),
        }
    }

    /// Which methods are refused without a token, instead of all but GET, HEAD, OPTIONS and TRACE.
    #[must_use]
    pub fn needs_token(self, needs_token: fn(&Method) -> bool) -> Self {
        self.with(|fence| fence.needs_token = needs_token)
    }

    /// How long a request with a newer token waits for older ones in flight before it is refused with
    /// 503, instead of 10 s.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        self.with(|fence| fence.patience = patience)
    }

    fn with(self, change: impl FnOnce(&mut Fence)) -> Self {
        let mut fence = Fence {
            highest: Arc::clone(&self.fence.highest),
            kept: self.fence.kept.clone(),
            ..*self.fence
        };
        change(&mut fence);
        Self {
            fence: Arc::new(fence),
        }
    }
}

impl<S> Layer<S> for FenceLayer {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Fenced<S> {
        Fenced {
            fence: Arc::clone(&self.fence),
            inner,
        }
    }
}

/// A service behind a fence.
#[derive(Clone, Debug)]
pub struct Fenced<S> {
    fence: Arc<Fence>,
    inner: S,
}

impl<S, In, Out> Service<Request<In>> for Fenced<S>
where
    S: Service<Request<In>, Response = Response<Out>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    In: Send + 'static,
    Out: From<String>,
{
    type Response = Response<Out>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The inner service is asked once the fence has let the request through: a place in it must
        // not be held by one that waits.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let fence = Arc::clone(&self.fence);
        let inner = self.inner.clone();
        Box::pin(async move {
            let in_flight = match fence.enter(request.method(), request.headers()).await {
                Ok(in_flight) => in_flight,
                Err(error) => return Ok(refusal(&error)),
            };
            let response = inner.oneshot(request).await;
            drop(in_flight);
            response
        })
    }
}

/// One request in flight: as long as it is held, no newer token gets in.
type InFlight = OwnedRwLockReadGuard<FencingToken>;

impl Fence {
    /// Lets a request in. A request without a token that needs none is not held back and holds nobody
    /// back.
    async fn enter(&self, method: &Method, headers: &HeaderMap) -> Result<Option<InFlight>, Error> {
        match token(headers)? {
            Some(token) => {
                let entered = tokio::time::timeout(self.patience, self.admit(token));
                entered.await.unwrap_or_else(|_| Err(busy())).map(Some)
            }
            None if (self.needs_token)(method) => Err(Error::invalid(format!(
                "{HEADER}: missing; send the fencing token you lead with"
            ))),
            None => Ok(None),
        }
    }

    async fn admit(&self, token: FencingToken) -> Result<InFlight, Error> {
        let seen = Arc::clone(&self.highest).read_owned().await;
        if admit(*seen, token)? == *seen {
            return Ok(seen);
        }
        drop(seen);
        // Waits for all in flight, and those that come meanwhile wait for it.
        let mut highest = Arc::clone(&self.highest).write_owned().await;
        if admit(*highest, token)? > *highest {
            self.keep(token).await?;
            *highest = token;
        }
        Ok(highest.downgrade())
    }

    async fn keep(&self, token: FencingToken) -> Result<(), Error> {
        let Some(file) = self.kept.clone() else {
            return Ok(());
        };
        let kept = tokio::task::spawn_blocking(move || file.seal(token)).await;
        match kept {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(FileError::Stale(stale))) => Err(stale.into()),
            Ok(Err(error)) => Err(Error::new(Code::Internal, error.to_string())),
            Err(error) => Err(Error::new(Code::Internal, error.to_string())),
        }
    }
}

fn busy() -> Error {
    let detail = "requests of an older leader are still running here; try again";
    Error::new(Code::NoQuorum, detail).retry_after_ms(1_000)
}

fn token(headers: &HeaderMap) -> Result<Option<FencingToken>, Error> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    match (number, values.next()) {
        (Some(number), None) => Ok(Some(FencingToken(number))),
        _ => Err(Error::invalid(format!(
            "{HEADER}: send one decimal number, the fencing token you lead with"
        ))),
    }
}

/// The refusal as `application/problem+json`, as Quorate's own APIs write it.
fn refusal<B: From<String>>(error: &Error) -> Response<B> {
    let body = serde_json::json!({
        "type": format!("urn:quorate:problem:{}", error.code),
        "title": error.code.title(),
        "status": error.code.http_status(),
        "detail": error.detail,
        "code": error.code.as_str(),
        "retryable": error.code.retryable(),
        "retry_after_ms": error.retry_after_ms,
    });
    let mut response = Response::new(B::from(body.to_string()));
    *response.status_mut() =
        StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::CONFLICT);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if let Some(ms) = error.retry_after_ms {
        headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
    }
    response
}
