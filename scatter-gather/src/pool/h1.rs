//! Calls over HTTP/1.1: one at a time on a connection, connections kept for the next.
//!
//! A call that is given up leaves an answer on its way. A small rest is read and thrown away, so that
//! the connection can be used again; a long one, or one that takes long, costs the connection.

use super::admission::Admission;
use super::call::{CallError, Reply, read};
use super::connect::{Dial, Speak};
use super::host::IDLE_MAX;
use crate::gather::Reason;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections to one host in use at once; further calls wait, within their deadline.
const CONNECTIONS_MAX: usize = 256;
/// Connections kept without a call.
const IDLE_CONNECTIONS_MAX: usize = 32;
/// What is read of an answer that nobody wants any more.
const DRAIN_BYTES_MAX: usize = 16 << 10;
const DRAIN_TIME_MAX: Duration = Duration::from_millis(50);
/// A connection whose answer has been read is ready after its task has run once more.
const READY_WITHIN: Duration = Duration::from_millis(20);
/// Headers of an answer.
const HEADERS_MAX: usize = 128;

type Sender = SendRequest<Full<Bytes>>;
type Pending = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

/// The connections of one host.
#[derive(Debug)]
pub(super) struct H1 {
    dial: Dial,
    idle: Arc<Idle>,
    free: Arc<Semaphore>,
    connected: AtomicU64,
}

#[derive(Debug, Default)]
struct Idle(Mutex<Vec<(Sender, Instant)>>);

impl Idle {
    fn take(&self) -> Option<Sender> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_MAX);
        // The one used last is the one least likely to be closed by the other side.
        all.pop().map(|(sender, _)| sender)
    }

    fn put(&self, sender: Sender) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < IDLE_CONNECTIONS_MAX && !sender.is_closed() {
            all.push((sender, Instant::now()));
        }
    }
}

impl H1 {
    pub(super) fn new(dial: Dial) -> Self {
        Self {
            dial,
            idle: Arc::default(),
            free: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            connected: AtomicU64::new(0),
        }
    }

    pub(super) fn connections(&self) -> usize {
        let idle = self.idle.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.len() + CONNECTIONS_MAX - self.free.available_permits()
    }

    pub(super) fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }

    /// A connection that can take a request, and whether it was used before.
    async fn sender(&self) -> Result<(Sender, bool), CallError> {
        while let Some(mut sender) = self.idle.take() {
            if let Ok(Ok(())) = tokio::time::timeout(READY_WITHIN, sender.ready()).await {
                return Ok((sender, true));
            }
        }
        // Seldom, and large: it must not lie in every call.
        Box::pin(self.connect()).await.map(|sender| (sender, false))
    }

    async fn connect(&self) -> Result<Sender, CallError> {
        let failed =
            |error: &dyn std::fmt::Display| CallError::new(Reason::Connect, error.to_string());
        let stream = self.dial.connect(Speak::Http1).await;
        let stream = stream.map_err(|e| failed(&e))?;
        let (sender, driver) = Builder::new()
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| failed(&e))?;
        self.connected.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "connection to a leaf ended");
            }
        });
        Ok(sender)
    }

    pub(super) async fn call(
        &self,
        mut request: Request<Full<Bytes>>,
        reply_bytes: u64,
        admission: &Arc<Admission>,
    ) -> Result<Reply, CallError> {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        let permit = permit.map_err(|error| CallError::new(Reason::Connect, error.to_string()))?;
        let mut flight = Flight {
            idle: Arc::clone(&self.idle),
            sender: None,
            rest: Rest::Nothing,
            permit: Some(permit),
        };
        loop {
            let (mut sender, used) = self.sender().await?;
            let (back, sent) = tokio::sync::oneshot::channel();
            let sending = sender.try_send_request(request);
            flight.sender = Some(sender);
            flight.rest = Rest::Head(Box::pin(async move {
                sending.await.map_err(|mut failed| {
                    // The channel is read below, unless the call was given up.
                    let _ = back.send(failed.take_message());
                    failed.into_error()
                })
            }));
            let outcome = flight.head().await;
            let response = match outcome {
                Ok(response) => response,
                Err(error) => {
                    flight.rest = Rest::Nothing;
                    flight.sender = None;
                    match sent.await.ok().flatten() {
                        // Closed by the other side before it took the request: certainly not sent.
                        Some(message) if used => {
                            request = message;
                            continue;
                        }
                        _ => return Err(before_an_answer(CallError::of(&error))),
                    }
                }
            };
            let (parts, body) = response.into_parts();
            flight.rest = Rest::Body(body);
            let Rest::Body(body) = &mut flight.rest else {
                return Err(CallError::new(Reason::Reset, "the answer is gone"));
            };
            let read = read(&parts.headers, body, reply_bytes, admission).await;
            let (body, trailers, held) = match read {
                Ok(whole) => whole,
                Err(error) => {
                    // Too long or broken off: nothing worth reading to its end.
                    flight.rest = Rest::Nothing;
                    flight.sender = None;
                    return Err(error);
                }
            };
            flight.rest = Rest::Nothing;
            return Ok(Reply {
                status: parts.status,
                headers: parts.headers,
                body,
                trailers,
                held,
            });
        }
    }
}

/// A connection that ends before the head of an answer has cut nothing off: it was reset.
fn before_an_answer(error: CallError) -> CallError {
    match error.reason {
        Reason::Truncated => CallError::new(Reason::Reset, error.detail),
        _ => error,
    }
}

/// What is still to come on a connection.
enum Rest {
    Nothing,
    Head(Pending),
    Body(Incoming),
}

/// One call on its connection. Dropped, it gives the connection back, or sees to the rest of the answer.
struct Flight {
    idle: Arc<Idle>,
    sender: Option<Sender>,
    rest: Rest,
    permit: Option<OwnedSemaphorePermit>,
}

impl Flight {
    async fn head(&mut self) -> hyper::Result<Response<Incoming>> {
        match &mut self.rest {
            Rest::Head(pending) => pending.await,
            // Called right after the head was set.
            Rest::Nothing | Rest::Body(_) => std::future::pending().await,
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Some(sender) = self.sender.take() else {
            return;
        };
        let rest = std::mem::replace(&mut self.rest, Rest::Nothing);
        if matches!(rest, Rest::Nothing) {
            self.idle.put(sender);
            return;
        }
        let (idle, permit) = (Arc::clone(&self.idle), self.permit.take());
        // Without a runtime there is nobody left to use the connection.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(true) = tokio::time::timeout(DRAIN_TIME_MAX, drain(rest)).await {
                    idle.put(sender);
                }
                drop(permit);
            });
        }
    }
}

/// Reads what is left. Whether the connection can be used again.
async fn drain(rest: Rest) -> bool {
    let mut body = match rest {
        Rest::Nothing => return true,
        Rest::Body(body) => body,
        Rest::Head(pending) => match pending.await {
            Ok(response) => response.into_body(),
            Err(_) => return false,
        },
    };
    let mut left = DRAIN_BYTES_MAX;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if bytes > left {
            return false;
        }
        left -= bytes;
    }
    true
}
