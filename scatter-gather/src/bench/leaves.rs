//! Leaves for measurements: small servers on loopback, on a thread of their own, so that their time is
//! not counted as the root's.

use super::wheel::Wheel;
use crate::sim::Latency;
use crate::sim::rng::Rng;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

/// Bytes of a short answer.
pub(super) const REPLY_BYTES: usize = 128;

/// How leaves answer. Those that look at their path are asked at `/{shard}/{replica}`.
#[derive(Clone, Debug)]
pub enum Manner {
    /// At once.
    AtOnce,
    /// After a time that follows from the request's number (its body), the shard and the replica. The first
    /// `hung` servers take requests and never answer.
    Delayed {
        /// The distribution of times.
        latency: Latency,
        /// What they follow from, beside the request.
        seed: u64,
        /// Servers that hang.
        hung: usize,
    },
    /// So many at a time, in the order they came, each for so long. What is given up is not worked on.
    Working {
        /// At a time, for each server.
        workers: usize,
        /// Each takes this long.
        takes: Duration,
    },
    /// Shard 0 at once, all others never.
    OnlyTheFirst,
    /// A page of hits, so many bytes long.
    Hits {
        /// Bytes of the answer, roughly.
        bytes: usize,
    },
}

/// Servers in HTTP/2 without TLS. They end when this is dropped.
#[derive(Debug)]
pub struct Leaves {
    urls: Vec<String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Leaves {
    /// So many servers.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn start(servers: usize, manner: Manner) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (ready, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("leaves".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => runtime.block_on(serve(servers, &manner, &ready, stopped)),
                    Err(error) => drop(ready.send(Err(error))),
                }
            })?;
        let urls = told.recv().map_err(io::Error::other)??;
        Ok(Self {
            urls,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where they are.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }
}

impl Drop for Leaves {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of a server has been printed already.
            let _ = thread.join();
        }
    }
}

async fn serve(
    servers: usize,
    manner: &Manner,
    ready: &mpsc::Sender<io::Result<Vec<String>>>,
    stopped: oneshot::Receiver<()>,
) {
    let mut urls = Vec::with_capacity(servers);
    let wheel = match Wheel::start() {
        Ok(wheel) => wheel,
        Err(error) => return drop(ready.send(Err(error))),
    };
    for server in 0..servers {
        let bound = match TcpListener::bind("127.0.0.1:0").await {
            Ok(listener) => listener.local_addr().map(|address| (listener, address)),
            Err(error) => Err(error),
        };
        match bound {
            Ok((listener, address)) => {
                urls.push(format!("http://{address}"));
                let server = Server::new(server, manner, &wheel);
                tokio::spawn(accept(listener, Arc::new(server)));
            }
            Err(error) => return drop(ready.send(Err(error))),
        }
    }
    let _ = ready.send(Ok(urls));
    // Ends when the sender is dropped.
    let _ = stopped.await;
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    while let Ok((stream, _)) = listener.accept().await {
        // A connection without it is only slower.
        let _ = stream.set_nodelay(true);
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let server = Arc::clone(&server);
                async move {
                    Ok::<_, Infallible>(Response::new(Full::new(server.answer(request).await)))
                }
            });
            let connection = http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(4_096)
                .serve_connection(TokioIo::new(stream), answer);
            // The client closes when it has done.
            let _ = connection.await;
        });
    }
}

struct Server {
    number: usize,
    manner: Manner,
    wheel: Wheel,
    free: Semaphore,
    hits: Bytes,
}

impl Server {
    fn new(number: usize, manner: &Manner, wheel: &Wheel) -> Self {
        let (workers, bytes) = match manner {
            Manner::Working { workers, .. } => (*workers, 0),
            Manner::Hits { bytes } => (1, *bytes),
            _ => (1, 0),
        };
        Self {
            number,
            manner: manner.clone(),
            wheel: wheel.clone(),
            free: Semaphore::new(workers),
            hits: hits(number, bytes),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Bytes {
        static REPLY: [u8; REPLY_BYTES] = [b'x'; REPLY_BYTES];
        match &self.manner {
            Manner::AtOnce => {}
            Manner::Delayed { hung, .. } if self.number < *hung => std::future::pending().await,
            Manner::Delayed { latency, seed, .. } => {
                let (shard, replica) = place(request.uri().path());
                let body = request.into_body().collect().await.ok();
                let body = body.map(Collected::to_bytes);
                let number = body.and_then(|body| body.as_ref().try_into().ok());
                let number = number.map_or(0, u64::from_le_bytes);
                let mut rng = Rng::of(&[*seed, number, shard, replica]);
                self.wheel.sleep(latency.draw(&mut rng)).await;
            }
            Manner::Working { takes, .. } => {
                // Never closed.
                let _turn = self.free.acquire().await;
                self.wheel.sleep(*takes).await;
            }
            Manner::OnlyTheFirst if place(request.uri().path()).0 == 0 => {}
            Manner::OnlyTheFirst => std::future::pending().await,
            Manner::Hits { .. } => return self.hits.clone(),
        }
        Bytes::from_static(&REPLY)
    }
}

fn place(path: &str) -> (u64, u64) {
    let mut parts = path.trim_start_matches('/').split('/');
    let mut next = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    (next(), next())
}

/// `{"hits":[{"id":…,"score":…,"text":…},…]}`, about so long.
fn hits(server: usize, bytes: usize) -> Bytes {
    let text = "x".repeat(900);
    let mut all = String::with_capacity(bytes + 1_024);
    all.push_str("{\"hits\":[");
    let mut rng = Rng::new(server as u64);
    let mut number = 0;
    while all.len() < bytes {
        let comma = if number == 0 { "" } else { "," };
        let score = rng.below(1_000_000);
        all.push_str(&format!(
            "{comma}{{\"id\":\"{server}-{number}\",\"score\":{score},\"text\":\"{text}\"}}"
        ));
        number += 1;
    }
    all.push_str("]}");
    all.into()
}
