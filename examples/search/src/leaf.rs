//! A leaf: an index behind HTTP. It knows nothing of scatter/gather.
//!
//! `GET /search?q=words&k=10`, or the same as a `POST` of `{"q":"words","k":10}`, answers
//! `{"hits":[{"id","score"}],"facets":{…},"total":n}`.

use crate::index::{Found, Searchable};
use anyhow::Result;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// Most hits of an answer.
const K_MAX: usize = 1_000;

/// A running leaf. It ends when it is dropped.
pub struct Leaf {
    /// Where it listens.
    pub address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// What a leaf is asked.
#[derive(Deserialize)]
struct Question {
    q: String,
    k: usize,
}

#[derive(Clone)]
struct Shared {
    index: Arc<Searchable>,
    delay_ms: Arc<AtomicU64>,
}

impl Leaf {
    /// Starts one at `address`; port 0 is any.
    pub async fn start(index: Arc<Searchable>, address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let delay_ms = Arc::new(AtomicU64::new(0));
        let shared = Shared {
            index,
            delay_ms: Arc::clone(&delay_ms),
        };
        let router = Router::new()
            .route("/search", get(by_query).post(by_body))
            .with_state(shared);
        let task = tokio::spawn(serve(listener, router));
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

    /// Runs until the process is told to stop.
    pub async fn run(mut self) -> Result<()> {
        Ok((&mut self.task).await?)
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, router: Router) {
    // Connections end with the leaf, as they do when a process dies.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let builder = Builder::new(TokioExecutor::new());
            // A connection that ends badly is the other side's business.
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

type Answered = Result<Json<Found>, (StatusCode, String)>;

async fn by_query(State(shared): State<Shared>, Query(question): Query<Question>) -> Answered {
    answer(&shared, &question).await
}

async fn by_body(State(shared): State<Shared>, Json(question): Json<Question>) -> Answered {
    answer(&shared, &question).await
}

async fn answer(shared: &Shared, question: &Question) -> Answered {
    let found = shared.index.search(&question.q, question.k.min(K_MAX));
    let delay = Duration::from_millis(shared.delay_ms.load(Ordering::Relaxed));
    tokio::time::sleep(delay).await;
    match found {
        Ok(found) => Ok(Json(found)),
        Err(error) => Err((StatusCode::BAD_REQUEST, format!("{error:#}"))),
    }
}
