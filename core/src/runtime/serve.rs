//! Serving one listener: HTTP/1.1 and HTTP/2 on one port, with TLS or without, everything bounded.
//!
//! hyper is driven directly, because the bounds matter more than the convenience: connections, the
//! time to the first request, headers in number and bytes, streams, idleness. A drain closes the
//! listener, lets every request in flight finish and then the connection; a cut ends what is left.

use super::front::{Certified, Front};
use crate::tls::listener::{Greeted, ListenerTls};
use crate::types::Principal;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections; further ones wait in the kernel's backlog.
    pub connections: usize,
    /// From accept to the end of the first request's headers.
    pub opening: Duration,
    /// A connection of HTTP/1.1 may be idle that long between requests.
    pub idle: Duration,
    /// Headers of one request.
    pub headers: usize,
    /// Bytes of all headers of one request.
    pub header_bytes: usize,
    /// Requests in flight on one connection of HTTP/2.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            opening: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            headers: 100,
            header_bytes: 16 * 1024,
            streams: 100,
        }
    }
}

/// A peer that is gone is noticed after one interval and one timeout of HTTP/2 pings.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The same for HTTP/1.1, by TCP.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// After a failed accept (no file descriptors left) trying at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a client of HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How often a connection that sent a part of the preface is looked at again.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);

/// One listener being served.
#[derive(Debug)]
pub struct Server {
    /// What answers.
    pub front: Arc<Front>,
    /// Its bounds.
    pub limits: Limits,
    /// Its certificates; without them it talks in the clear.
    pub(crate) tls: Option<Arc<ListenerTls>>,
    /// Cancelled: accept nothing more, finish what is in flight.
    pub drain: CancellationToken,
    /// Cancelled: end what is still in flight.
    pub cut: CancellationToken,
    /// One task a connection.
    pub connections: TaskTracker,
    /// `api` or `ops`, in metrics.
    pub name: &'static str,
}

impl Server {
    /// A listener without TLS that ends, with all that is in flight, when `stop` is cancelled.
    pub fn plain(
        front: Arc<Front>,
        limits: Limits,
        stop: &CancellationToken,
        name: &'static str,
    ) -> Self {
        Self {
            front,
            limits,
            tls: None,
            drain: stop.clone(),
            cut: stop.clone(),
            connections: TaskTracker::new(),
            name,
        }
    }

    /// Accepts connections until the drain begins. Connections live on in their own tasks.
    pub async fn run(self, listener: TcpListener) {
        let free = Arc::new(Semaphore::new(self.limits.connections));
        let open = metrics::gauge!("quorate_http_connections", "listener" => self.name);
        let accepted = metrics::counter!("quorate_http_connections_total", "listener" => self.name);
        let limits = self.limits;
        loop {
            let permit = tokio::select! {
                () = self.drain.cancelled() => return,
                permit = Arc::clone(&free).acquire_owned() => permit,
            };
            // The semaphore is never closed.
            let Ok(permit) = permit else { return };
            let stream = tokio::select! {
                () = self.drain.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(listener = self.name, %error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            accepted.increment(1);
            let (front, tls) = (Arc::clone(&self.front), self.tls.clone());
            let (drain, cut, open) = (self.drain.clone(), self.cut.clone(), open.clone());
            self.connections.spawn(async move {
                open.increment(1.0);
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = connection(stream, front, tls, limits, drain) => {}
                }
                open.decrement(1.0);
                drop(permit);
            });
        }
    }
}

async fn connection(
    stream: TcpStream,
    front: Arc<Front>,
    tls: Option<Arc<ListenerTls>>,
    limits: Limits,
    drain: CancellationToken,
) {
    // Answers are small and waited for. A socket that refuses an option is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE);
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);

    let begin = tokio::time::Instant::now();
    let greeting = async {
        match tls {
            None => {
                let http2 = speaks_http2(&stream).await.ok()?;
                Some((Stream::Plain(stream), http2, None))
            }
            Some(tls) => match tls.accept(stream).await {
                Ok(Greeted {
                    stream,
                    http2,
                    principal,
                }) => Some((Stream::Secured(Box::new(stream)), http2, principal)),
                Err(error) => {
                    tracing::debug!(%error, "no TLS on a connection to the API");
                    metrics::counter!("quorate_http_refused_total", "code" => "tls").increment(1);
                    None
                }
            },
        }
    };
    let (stream, http2, principal) = tokio::select! {
        () = drain.cancelled() => return,
        found = tokio::time::timeout(limits.opening, greeting) => match found {
            Ok(Some(found)) => found,
            Ok(None) | Err(_) => return,
        },
    };
    let opening = Opening {
        // HTTP/1.1 has a deadline for the first request; HTTP/2 begins with its preface, and its pings
        // tell whether the peer lives.
        asked: Arc::new(AtomicBool::new(http2)),
        deadline: begin + limits.opening,
        drain,
    };
    match stream {
        Stream::Plain(stream) => speak(stream, http2, principal, front, limits, opening).await,
        Stream::Secured(stream) => speak(stream, http2, principal, front, limits, opening).await,
    }
}

enum Stream {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

/// HTTP over a connection that was greeted.
async fn speak<S>(
    stream: S,
    http2: bool,
    principal: Option<Principal>,
    front: Arc<Front>,
    limits: Limits,
    opening: Opening,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::clone(&opening.asked);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if !asked.load(Ordering::Relaxed) {
            asked.store(true, Ordering::Relaxed);
        }
        if let Some(principal) = &principal {
            request
                .extensions_mut()
                .insert(Certified(principal.clone()));
        }
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.answer(request.map(Body::new)).await) }
    });
    let io = TokioIo::new(stream);
    if http2 {
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(io, service);
        drive(
            connection,
            opening,
            hyper::server::conn::http2::Connection::graceful_shutdown,
        )
        .await;
    } else {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_headers(limits.headers)
            .max_header_size(limits.header_bytes)
            .serve_connection(io, service);
        drive(
            connection,
            opening,
            hyper::server::conn::http1::Connection::graceful_shutdown,
        )
        .await;
    }
}

struct Opening {
    asked: Arc<AtomicBool>,
    deadline: tokio::time::Instant,
    drain: CancellationToken,
}

/// Runs a connection to its end: by the peer, by the deadline of its first request, or by the drain.
async fn drive<C>(connection: C, opening: Opening, graceful: fn(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let mut waiting = !opening.asked.load(Ordering::Relaxed);
    let mut draining = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = tokio::time::sleep_until(opening.deadline), if waiting => {
                if !opening.asked.load(Ordering::Relaxed) {
                    tracing::debug!("connection closed: no request in time");
                    return;
                }
                waiting = false;
            }
            () = opening.drain.cancelled(), if !draining => {
                if !opening.asked.load(Ordering::Relaxed) {
                    return;
                }
                draining = true;
                graceful(connection.as_mut());
            }
        }
    }
}

/// Whether the client begins with the preface of HTTP/2. Looks at the bytes without taking them.
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut bytes = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut bytes).await?;
        if seen == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if bytes[..seen] != PREFACE[..seen] {
            return Ok(false);
        }
        if seen == PREFACE.len() {
            return Ok(true);
        }
        // A part of the preface stays readable, so that waiting for readiness would spin.
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}
