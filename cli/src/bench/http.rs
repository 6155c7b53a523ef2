//! Plain HTTP/1.1 with JSON, one job a request, as a program in any language would do it.
//!
//! Every job in flight has a connection of its own that is kept open, since HTTP/1.1 answers one
//! request at a time. The connections are spread over all nodes.

use super::body;
use super::driver::{Driver, Failed, Lane};
use super::ledger::Ledger;
use crate::measure::Latency;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Longest answer: a lease of the largest payload with room to spare.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// For one answer. A request for work waits less.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A request for work waits so long at the server.
const LEASE_WAIT_MS: u64 = 500;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Length of a lease. Nothing here sends heartbeats, so a grant whose answer was lost with the node
/// that was killed comes again only when this is over.
const LEASE_MS: u64 = 10_000;
/// A second try after a failure: the node that was killed takes a while to be missed.
const RETRY_DELAY: Duration = Duration::from_millis(5);
/// Tries of one request before its outcome is called unknown.
const TRIES_MAX: u32 = 2_000;

/// All connections of a load.
pub(super) struct Http {
    queue: String,
    payload: usize,
    /// Whether requests carry an idempotency key, which makes them safe to repeat.
    keyed: bool,
    /// Apart from those of the workers, because both may be at work at the same time.
    producers: Vec<Vec<Mutex<Connection>>>,
    workers: Vec<Vec<Mutex<Connection>>>,
}

impl Http {
    /// `connections` × `inflight` connections for producers and as many for workers, spread over these
    /// nodes; opened when first used.
    pub(super) fn new(
        addresses: &[SocketAddr],
        queue: &str,
        payload: usize,
        (connections, inflight): (u32, u32),
        keyed: bool,
    ) -> Self {
        let nodes: Arc<[Node]> = addresses
            .iter()
            .map(|&address| Node::new(address))
            .collect();
        let mut serial = 0;
        let mut connection = || {
            serial += 1;
            Mutex::new(Connection {
                nodes: Arc::clone(&nodes),
                at: serial,
                sender: None,
            })
        };
        let mut lanes = || -> Vec<Vec<Mutex<Connection>>> {
            (0..connections)
                .map(|_| (0..inflight).map(|_| connection()).collect())
                .collect()
        };
        Self {
            queue: queue.to_owned(),
            payload,
            keyed,
            producers: lanes(),
            workers: lanes(),
        }
    }
}

fn lane(lanes: &[Vec<Mutex<Connection>>], lane: Lane) -> &Mutex<Connection> {
    &lanes[lane.connection as usize][lane.slot as usize]
}

#[async_trait]
impl Driver for Http {
    async fn enqueue(&self, lane: Lane, number: u64) -> Result<(), Failed> {
        let payload = body::make(number, self.payload);
        let text = [b"{\"payload\":", &payload[..], b"}"].concat();
        let path = format!("/v1/queues/{}/jobs", self.queue);
        let key = self.keyed.then(|| format!("bench-{number}"));
        let mut connection = self::lane(&self.producers, lane).lock().await;
        connection
            .post(&path, Bytes::from(text), key.as_deref())
            .await
            .map(drop)
    }

    async fn work(
        &self,
        lane: Lane,
        ledger: &Ledger,
        stop: &CancellationToken,
    ) -> Result<Latency, Failed> {
        let mut latency = Latency::default();
        let mut session = None;
        let mut connection = self::lane(&self.workers, lane).lock().await;
        let path = format!("/v1/queues/{}/leases", self.queue);
        while !stop.is_cancelled() {
            let ask = serde_json::json!({
                "worker": format!("bench-{}-{}", lane.connection, lane.slot),
                "session": session,
                "max": 1,
                "lease_ms": LEASE_MS,
                "wait_ms": LEASE_WAIT_MS,
            });
            let answer = match connection
                .post(&path, Bytes::from(ask.to_string()), None)
                .await
            {
                Ok(answer) => answer,
                // The session was forgotten; the next request opens another.
                Err(Failed::Gone(_)) => {
                    session = None;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let leased: Leased = serde_json::from_slice(&answer).map_err(|error| {
                Failed::refused(format!("the answer to a lease is not understood: {error}"))
            })?;
            session = Some(leased.session);
            for lease in leased.leases {
                let number = body::number(lease.payload.get().as_bytes())
                    .ok_or_else(|| Failed::refused("a lease without the number of its job"))?;
                ledger.handed_out(number);
                let begun = Instant::now();
                let path = format!("/v1/leases/{}/complete", lease.lease_id);
                // The same settlement again gets the first answer, so this is safe to repeat.
                match connection
                    .post(&path, Bytes::from_static(b"{}"), None)
                    .await
                {
                    Ok(_) => {
                        latency.record(begun.elapsed());
                        ledger.completed(number);
                    }
                    // The lease was lost meanwhile; the job comes again.
                    Err(Failed::Gone(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(latency)
    }
}

#[derive(Deserialize)]
struct Leased {
    session: String,
    leases: Vec<Lease>,
}

#[derive(Deserialize)]
struct Lease {
    lease_id: String,
    payload: Box<serde_json::value::RawValue>,
}

/// A node, and what requests to it carry as `Host`.
struct Node {
    address: SocketAddr,
    host: HeaderValue,
}

impl Node {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            host: HeaderValue::from_str(&address.to_string())
                .expect("an address is written in ASCII without control characters"),
        }
    }
}

/// One connection that is opened again, to the next node, when it breaks.
struct Connection {
    nodes: Arc<[Node]>,
    at: usize,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// Posts until there is an answer other than "not now".
    async fn post(&mut self, path: &str, body: Bytes, key: Option<&str>) -> Result<Bytes, Failed> {
        let mut last = String::new();
        for _ in 0..TRIES_MAX {
            let answer =
                tokio::time::timeout(ANSWER_TIMEOUT, self.try_post(path, body.clone(), key));
            match answer.await {
                Ok(Ok((status, answer))) if status.is_success() => return Ok(answer),
                Ok(Ok((status, answer))) => {
                    let text = String::from_utf8_lossy(&answer).into_owned();
                    match status {
                        StatusCode::SERVICE_UNAVAILABLE
                        | StatusCode::GATEWAY_TIMEOUT
                        | StatusCode::TOO_MANY_REQUESTS => last = text,
                        StatusCode::GONE | StatusCode::CONFLICT => return Err(Failed::Gone(text)),
                        _ => {
                            return Err(Failed::refused(format!(
                                "{path} answered {status}: {text}"
                            )));
                        }
                    }
                    self.next_node();
                }
                Ok(Err(error)) => {
                    last = error;
                    self.next_node();
                }
                Err(_) => {
                    last = format!("no answer within {ANSWER_TIMEOUT:?}");
                    self.next_node();
                }
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
        Err(Failed::Unknown(last))
    }

    async fn try_post(
        &mut self,
        path: &str,
        body: Bytes,
        key: Option<&str>,
    ) -> Result<(StatusCode, Bytes), String> {
        let node = &self.nodes[self.at % self.nodes.len()];
        let sender = match &mut self.sender {
            Some(sender) => sender,
            None => self.sender.insert(open(node.address).await?),
        };
        sender.ready().await.map_err(|error| error.to_string())?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, node.host.clone())
            .header(CONTENT_TYPE, JSON);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }

    fn next_node(&mut self) {
        self.sender = None;
        self.at += 1;
    }
}

async fn open(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        // An error here also ends the request that waits, and is told there.
        let _told_there = connection.await;
    });
    Ok(sender)
}
