//! A leaf: an index behind HTTP. It knows nothing of scatter/gather.
//!
//! `POST /search` with `{"q":"words","k":10}` answers `{"hits":[{"id","score"}],"facets":{…},"total":n}`.

use crate::index::Searchable;
use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde::Deserialize;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Longest question in bytes.
const QUESTION_BYTES_MAX: usize = 64 << 10;

/// A running leaf. It ends when it is dropped.
pub struct Leaf {
    /// Where it listens.
    pub address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Deserialize)]
struct Question {
    q: String,
    k: usize,
}

impl Leaf {
    /// Starts one on a port of its own.
    pub async fn start(index: Arc<Searchable>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let delay_ms = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(serve(listener, index, Arc::clone(&delay_ms)));
        Ok(Self {
            address,
            delay_ms,
            task,
        })
    }

    /// From now on each answer comes so much later.
    pub fn slow_down(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.delay_ms.store(ms, Ordering::Relaxed);
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, index: Arc<Searchable>, delay_ms: Arc<AtomicU64>) {
    // Connections end with the leaf, as they do when a process dies.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (index, delay_ms) = (Arc::clone(&index), Arc::clone(&delay_ms));
        let service = service_fn(move |request| {
            let (index, delay_ms) = (Arc::clone(&index), Arc::clone(&delay_ms));
            async move {
                let answer = answer(&index, request).await;
                let delay = Duration::from_millis(delay_ms.load(Ordering::Relaxed));
                tokio::time::sleep(delay).await;
                Ok::<_, Infallible>(answer)
            }
        });
        connections.spawn(async move {
            let builder = Builder::new(TokioExecutor::new());
            // A connection that ends badly is the other side's business.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(index: &Searchable, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let refuse = |status, why: String| {
        let mut response = Response::new(Full::from(why));
        *response.status_mut() = status;
        response
    };
    let body = Limited::new(request.into_body(), QUESTION_BYTES_MAX).collect().await;
    let body = match body {
        Ok(body) => body.to_bytes(),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let question: Question = match serde_json::from_slice(&body) {
        Ok(question) => question,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let found = index.search(&question.q, question.k);
    match found.map(|found| serde_json::to_vec(&found)) {
        Ok(Ok(text)) => {
            let mut response = Response::new(Full::from(text));
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(http::header::CONTENT_TYPE, json);
            response
        }
        Ok(Err(error)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        Err(error) => refuse(StatusCode::BAD_REQUEST, error.to_string()),
    }
}
