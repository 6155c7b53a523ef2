//! A leaf in this process: called without a connection, and otherwise a replica like any other.

use super::admission::{Admission, Held};
use super::call::{Call, CallError, Reply};
use crate::gather::Reason;
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// What a leaf is asked.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    /// The shard's id in the root's map, if the root told.
    pub shard: Option<Arc<str>>,
    /// The shard's keys, if its map has ranges and the root told.
    pub range: Option<(String, String)>,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: PathAndQuery,
    /// Headers.
    pub headers: Arc<HeaderMap>,
    /// The body.
    pub body: Bytes,
    /// How long an answer is of use.
    pub remaining: Option<Duration>,
    /// It is a hedge: do it last.
    pub low_priority: bool,
}

/// What it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeafAnswer {
    /// Content type of the body, if it has one.
    pub content_type: Option<Box<str>>,
    /// The body.
    pub body: Bytes,
    /// Something is missing in it.
    pub partial: bool,
}

impl LeafAnswer {
    /// A whole answer in JSON.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self {
            content_type: Some("application/json".into()),
            body: body.into(),
            partial: false,
        }
    }
}

/// Why it has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// It has too much to do: hedging stops.
    #[error("the leaf has too much to do")]
    Busy,
    /// It failed; another replica may do better. The text is for people.
    #[error("the leaf failed: {0}")]
    Failed(String),
    /// The request is wrong; another replica would say the same.
    #[error("the leaf refused the request: {0}")]
    Refused(String),
}

/// One replica of a shard, in this process or behind [`crate::application::leaf_router`].
///
/// The future is dropped when the answer is no longer of use. A panic is a failure of this call and
/// no more.
#[async_trait]
pub trait Leaf: Send + Sync + 'static {
    /// Answers for its shard.
    ///
    /// # Errors
    /// See [`LeafError`].
    async fn answer(&self, request: LeafRequest) -> Result<LeafAnswer, LeafError>;
}

/// A leaf from a function.
pub fn leaf_fn<F, A>(answer: F) -> Arc<dyn Leaf>
where
    F: Fn(LeafRequest) -> A + Send + Sync + 'static,
    A: Future<Output = Result<LeafAnswer, LeafError>> + Send + 'static,
{
    struct Function<F>(F);

    #[async_trait]
    impl<F, A> Leaf for Function<F>
    where
        F: Fn(LeafRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Result<LeafAnswer, LeafError>> + Send + 'static,
    {
        async fn answer(&self, request: LeafRequest) -> Result<LeafAnswer, LeafError> {
            (self.0)(request).await
        }
    }
    Arc::new(Function(answer))
}

/// The call, as the pool makes it.
pub(super) async fn call(
    leaf: &dyn Leaf,
    call: &Call,
    admission: &Arc<Admission>,
) -> Result<Reply, CallError> {
    let request = LeafRequest {
        shard: call.shard.as_ref().map(|shard| Arc::clone(&shard.id)),
        range: call.shard.as_ref().and_then(|shard| shard.range.clone()),
        method: call.method.clone(),
        path: call.path.clone(),
        remaining: call.remaining,
        low_priority: call.low_priority,
        headers: Arc::clone(&call.headers),
        body: call.body.clone(),
    };
    let answered = AssertUnwindSafe(leaf.answer(request)).catch_unwind().await;
    let answer = match answered {
        Err(_) => {
            return Err(CallError::new(Reason::Reset, "the leaf panicked"));
        }
        Ok(Err(error)) => {
            let reason = match error {
                LeafError::Busy => Reason::Pushback,
                LeafError::Failed(_) => Reason::Status(StatusCode::INTERNAL_SERVER_ERROR.as_u16()),
                LeafError::Refused(_) => Reason::Status(StatusCode::BAD_REQUEST.as_u16()),
            };
            return Err(CallError {
                pushback: error == LeafError::Busy,
                ..CallError::new(reason, error.to_string())
            });
        }
        Ok(Ok(answer)) => answer,
    };
    if answer.body.len() as u64 > call.reply_bytes {
        return Err(CallError::new(
            Reason::TooLarge,
            format!(
                "the answer is over {} bytes (limits.reply_bytes)",
                call.reply_bytes
            ),
        ));
    }
    let mut held = Held::default();
    admission
        .reserve(&mut held, answer.body.len())
        .map_err(|reason| CallError::new(reason, "this process holds too many bytes of answers"))?;
    let mut headers = HeaderMap::new();
    let content_type = answer.content_type.as_deref();
    if let Some(value) = content_type.and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(CONTENT_TYPE, value);
    }
    if answer.partial {
        headers.insert("quorate-complete", HeaderValue::from_static("false"));
    }
    Ok(Reply {
        status: StatusCode::OK,
        headers,
        body: answer.body,
        trailers: None,
        held,
    })
}
