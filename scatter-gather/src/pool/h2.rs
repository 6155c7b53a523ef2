//! Calls over HTTP/2: a few connections, many calls on each.
//!
//! One connection is one lock inside and one TCP window, so a busy host gets several. Each connection
//! counts the streams it has reset: the peer, and our own library, tolerate only so many over its life
//! (CVE-2023-44487 and what came of it), so a connection that comes near gets no more calls, finishes
//! those it has and closes, while another one takes its place.

use super::admission::Admission;
use super::call::{CallError, Reply, read};
use super::connect::{Dial, Speak};
use super::host::Single;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Connections to one host.
const CONNECTIONS_MAX: usize = 4;
/// Another connection is opened when the least busy one has so many calls.
const CALLS_COMFORTABLE: u32 = 32;
/// A connection is retired after so many resets: half of what `h2` tolerates of late frames (1,024 a
/// life), and few enough that replacements are far below one per cent of the calls.
const RESETS_MAX: u32 = 512;
/// Streams that were reset are remembered, so that their late frames are known for what they are.
const RESETS_REMEMBERED: usize = 1_024;
/// An answer streams without waiting for us: a quarter of a megabyte a stream, eight a connection. What a
/// window lets in lies in memory before it is read, for each call beside the answer itself; leaves are
/// near, and a millisecond's way carries 250 MB/s through this one.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// A peer that is gone is noticed after one interval and one timeout.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The connections of one host.
#[derive(Debug)]
pub(super) struct H2 {
    dial: Dial,
    open: Arc<Open>,
    connecting: Single,
    growing: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Open {
    connections: Mutex<Vec<Arc<Connection>>>,
    connected: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    calls: AtomicU32,
    resets: AtomicU32,
}

impl Open {
    /// The least busy connection that can take calls, and whether there should be one more.
    fn pick(&self) -> Option<(Arc<Connection>, bool)> {
        let mut all = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.retain(|connection| {
            let spent = connection.resets.load(Ordering::Relaxed) >= RESETS_MAX;
            if spent {
                metrics::counter!("quorate_scatter_connections_retired_total").increment(1);
            }
            !spent && !connection.sender.is_closed()
        });
        let calls = |connection: &Arc<Connection>| connection.calls.load(Ordering::Relaxed);
        let best = all.iter().min_by_key(|connection| calls(connection))?;
        let grow = calls(best) >= CALLS_COMFORTABLE && all.len() < CONNECTIONS_MAX;
        Some((Arc::clone(best), grow))
    }

    async fn connect(self: &Arc<Self>, dial: &Dial) -> io::Result<Arc<Connection>> {
        let stream = dial.connect(Speak::Http2).await?;
        let (sender, driver) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_reset_streams(RESETS_REMEMBERED)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let open = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                open.lost.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, "connection to a leaf ended");
            }
        });
        let connection = Arc::new(Connection {
            sender,
            calls: AtomicU32::new(0),
            resets: AtomicU32::new(0),
        });
        self.connected.fetch_add(1, Ordering::Relaxed);
        let mut all = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&connection));
        Ok(connection)
    }
}

impl H2 {
    pub(super) fn new(dial: Dial) -> Self {
        Self {
            dial,
            open: Arc::default(),
            connecting: Single::default(),
            growing: Arc::default(),
        }
    }

    pub(super) fn connections(&self) -> usize {
        let mut all = self
            .open
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.retain(|connection| !connection.sender.is_closed());
        all.len()
    }

    pub(super) fn connected(&self) -> u64 {
        self.open.connected.load(Ordering::Relaxed)
    }

    pub(super) fn lost(&self) -> u64 {
        self.open.lost.load(Ordering::Relaxed)
    }

    async fn connection(&self) -> Result<Arc<Connection>, CallError> {
        if let Some((connection, grow)) = self.open.pick() {
            if grow {
                self.grow();
            }
            return Ok(connection);
        }
        let (open, dial) = (Arc::clone(&self.open), self.dial.clone());
        self.connecting
            .run(
                || self.open.pick().map(|(connection, _)| connection),
                // Seldom, and large: it must not lie in every call.
                Box::pin(async move { open.connect(&dial).await }),
            )
            .await
    }

    /// One more connection, for the calls to come.
    fn grow(&self) {
        if self.growing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (open, dial, growing) = (
            Arc::clone(&self.open),
            self.dial.clone(),
            Arc::clone(&self.growing),
        );
        tokio::spawn(async move {
            if let Err(error) = open.connect(&dial).await {
                tracing::debug!(%error, "no further connection to a leaf");
            }
            growing.store(false, Ordering::Release);
        });
    }

    pub(super) async fn call(
        &self,
        mut request: Request<Full<Bytes>>,
        reply_bytes: u64,
        admission: &Arc<Admission>,
    ) -> Result<Reply, CallError> {
        let mut again = true;
        loop {
            let mut stream = Stream::on(self.connection().await?);
            let mut sender = stream.connection.sender.clone();
            let response = match sender.try_send_request(request).await {
                Ok(response) => response,
                Err(mut failed) => {
                    stream.finished = true;
                    match failed.take_message() {
                        // The connection closed before it took the request: certainly not sent.
                        Some(back) if again => {
                            again = false;
                            request = back;
                            continue;
                        }
                        _ => return Err(CallError::of(failed.error())),
                    }
                }
            };
            let (parts, mut body) = response.into_parts();
            let (body, trailers, held) =
                read(&parts.headers, &mut body, reply_bytes, admission).await?;
            stream.finished = true;
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

/// One call on a connection. Dropped before it has finished, it was reset.
struct Stream {
    connection: Arc<Connection>,
    finished: bool,
}

impl Stream {
    fn on(connection: Arc<Connection>) -> Self {
        connection.calls.fetch_add(1, Ordering::Relaxed);
        Self {
            connection,
            finished: false,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.calls.fetch_sub(1, Ordering::Relaxed);
        if !self.finished {
            self.connection.resets.fetch_add(1, Ordering::Relaxed);
        }
    }
}
