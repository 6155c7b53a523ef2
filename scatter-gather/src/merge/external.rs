//! A merger in a container of its own, in any language: `POST /merge`.
//!
//! Answers are staged whole until the request's account is settled; then all of them go out in one
//! call, one JSON line a shard, in the shards' order:
//!
//! ```text
//! {"shard":"0","status":200,"body":{"value":1}}
//! {"shard":"1","status":200,"content_type":"text/plain","body_base64":"aGVsbG8="}
//! ```
//!
//! Over gRPC the same answers are messages of a stream (`quorate.scatter.v1.Merge`). What it answers with a success is
//! the result. The call is made once; only a merger that is declared
//! pure is called again after a failure.

use super::{Bounds, MergeFailure, Merged, Merger, Merging, Piece, Refusal, json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Content type of lines.
pub const NDJSON: &str = "application/x-ndjson";

/// Makes the call. Implemented by the pool of connections, and by tests.
pub trait MergeCall: Send + Sync + 'static {
    /// An answer as it is sent: a line of JSON, unless the container speaks something else.
    ///
    /// # Errors
    /// An answer that cannot be written so.
    fn encode(&self, piece: &Piece) -> Result<Bytes, Refusal> {
        line(piece)
    }

    /// Sends the encoded answers, one after the other, and gives the result, within the time given.
    fn merge(
        &self,
        pieces: Bytes,
        within: Duration,
    ) -> BoxFuture<'static, Result<Merged, MergeFailure>>;
}

/// See the module.
#[derive(Clone)]
pub struct External {
    call: Arc<dyn MergeCall>,
    pure: bool,
}

impl fmt::Debug for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("External")
            .field("pure", &self.pure)
            .finish_non_exhaustive()
    }
}

impl External {
    /// Merges by this call. A `pure` one is repeated once after a failure.
    pub fn new(call: Arc<dyn MergeCall>, pure: bool) -> Self {
        Self { call, pure }
    }
}

impl Merger for External {
    fn init(&self, bounds: Bounds) -> Box<dyn Merging> {
        Box::new(Staging {
            external: self.clone(),
            bounds,
            lines: BTreeMap::new(),
            bytes: 0,
        })
    }
}

struct Staging {
    external: External,
    bounds: Bounds,
    lines: BTreeMap<u32, Bytes>,
    bytes: usize,
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    shard: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

fn line(piece: &Piece) -> Result<Bytes, Refusal> {
    let given = piece.content_type.as_deref();
    // A body that calls itself JSON and is not is no answer; one that calls itself nothing may be
    // either.
    let parsed = serde_json::from_slice::<&RawValue>(&piece.body).ok();
    let is_json = given.is_some_and(json::is_json);
    if is_json && parsed.is_none() {
        return Err(Refusal::nonsense("the answer says it is JSON and is not"));
    }
    // A line is a line. Line breaks within JSON stand between tokens only, so that blanks say the same.
    let text = parsed
        .filter(|_| is_json || given.is_none())
        .map(|raw| raw.get().replace(['\n', '\r'], " "));
    let body = text
        .as_deref()
        .map(serde_json::from_str::<&RawValue>)
        .transpose()
        .map_err(|error| Refusal::nonsense(format!("the answer makes no line: {error}")))?;
    let line = Line {
        shard: &piece.shard,
        status: piece.status,
        content_type: given.filter(|_| body.is_none()),
        body,
        body_base64: body.is_none().then(|| STANDARD.encode(&piece.body)),
    };
    let mut text = serde_json::to_vec(&line)
        .map_err(|error| Refusal::nonsense(format!("the answer makes no line: {error}")))?;
    text.push(b'\n');
    Ok(text.into())
}

impl Staging {
    fn whole(&self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.bytes);
        for line in self.lines.values() {
            whole.extend_from_slice(line);
        }
        whole.freeze()
    }
}

impl Merging for Staging {
    fn push(&mut self, piece: Piece) -> Result<(), Refusal> {
        let line = self.external.call.encode(&piece)?;
        if self.bytes + line.len() > self.bounds.merge_bytes {
            return Err(Refusal::no_room(self.bounds.merge_bytes));
        }
        self.bytes += line.len();
        self.lines.insert(piece.index, line);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn partial(self: Box<Self>) -> Result<Merged, MergeFailure> {
        Err(MergeFailure::NoResult(
            "an external merger has no partial state".to_owned(),
        ))
    }

    fn finish(
        self: Box<Self>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Merged, MergeFailure>> {
        let lines = self.whole();
        let External { call, pure } = self.external;
        Box::pin(async move {
            let begin = std::time::Instant::now();
            match call.merge(lines.clone(), within).await {
                Err(MergeFailure::External(_)) if pure => {
                    call.merge(lines, within.saturating_sub(begin.elapsed()))
                        .await
                }
                other => other,
            }
        })
    }
}
