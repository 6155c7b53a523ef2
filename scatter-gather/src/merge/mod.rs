//! Many answers into one.
//!
//! A [`Merger`] is what a fan-out is defined with; it makes one [`Merging`] for each request. A
//! merging takes whole answers one by one, in whatever order they come, and gives the same bytes for
//! every order. It refuses an answer that it cannot read or has no room for, and is then as it was
//! before, so that the shard can be reported as failed and its contribution is not half in.
//!
//! **Trees.** The result of a merger has the shape of the answers it takes, so that an inner node is
//! a leaf to its parent. What a result alone cannot tell (the runners-up below a `top_k`'s page, the
//! votes behind a `majority`) goes up as [`Merging::partial`] and comes in as a [`Piece`] that is
//! `nested`. Hence `merge(merge(a, b), c)` equals `merge(a, b, c)`; `concat`, `first` and the order
//! among equals follow the shards' order in the map, at each level.
//!
//! **Memory.** [`Bounds::merge_bytes`] bounds what a merging keeps. The refusal of the answer that
//! goes over it is [`Reason::MergeBytes`].

mod concat;
mod count;
mod deep;
mod each;
mod external;
mod extreme;
mod first;
mod fold;
mod group_by;
mod histogram;
mod json;
mod majority;
mod number;
mod pointer;
mod spec;
mod sum;
mod top_k;

#[cfg(test)]
mod tests;

pub use external::{External, MergeCall, NDJSON};
pub use pointer::{Pointer, PointerError};
pub use spec::{
    Builtin, ConcatOptions, CountOptions, GroupByOptions, HistogramOptions, HttpOptions,
    JsonOptions, MajorityOptions, MergeSpec, NoOptions, OnArrays, OnConflict, Order,
    PointerOptions, SpecError, TopKOptions,
};

#[cfg(all(test, feature = "server"))]
pub(crate) use spec::NAMES;

use crate::gather::Reason;
use bytes::Bytes;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// One shard's whole answer, accepted for merging.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The shard's id.
    pub shard: Arc<str>,
    /// Its place in the map: the order of results that have one.
    pub index: u32,
    /// HTTP status of the answer, always a success.
    pub status: u16,
    /// Its content type, if it named one.
    pub content_type: Option<Box<str>>,
    /// Its body.
    pub body: Bytes,
    /// It is an inner node's [`Merging::partial`], not a leaf's answer.
    pub nested: bool,
}

/// What a merger made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Content type of the body.
    pub content_type: Option<Box<str>>,
    /// The body.
    pub body: Bytes,
}

impl Merged {
    /// A JSON document.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self {
            content_type: Some("application/json".into()),
            body: body.into(),
        }
    }
}

/// Why an answer was not taken. The merging is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// For the account.
    pub reason: Reason,
    /// For people; never holds a part of the answer.
    pub detail: String,
}

impl Refusal {
    /// The answer is not what this merger reads.
    pub fn nonsense(detail: impl Into<String>) -> Self {
        Self {
            reason: Reason::Nonsense,
            detail: detail.into(),
        }
    }

    /// There is no room for it.
    pub fn no_room(merge_bytes: usize) -> Self {
        Self {
            reason: Reason::MergeBytes,
            detail: format!(
                "with this answer the merger would hold more than merge_bytes ({merge_bytes}): \
                 raise it, or let the leaves answer less"
            ),
        }
    }
}

/// Why there is no result although enough shards were merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeFailure {
    /// The answers contradict each other, or nothing follows from them.
    #[error("{0}")]
    NoResult(String),
    /// An external merger did not answer in time.
    #[error("the merge container {0} did not answer in time")]
    Timeout(String),
    /// An external merger failed.
    #[error("{0}")]
    External(String),
}

/// What one merging may use.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes it may keep.
    pub merge_bytes: usize,
}

impl Bounds {
    /// 64 MiB.
    pub const MERGE_BYTES_DEFAULT: usize = 64 << 20;
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            merge_bytes: Self::MERGE_BYTES_DEFAULT,
        }
    }
}

/// How the answers of a fan-out become one.
pub trait Merger: Send + Sync + 'static {
    /// Begins a request's merging.
    fn init(&self, bounds: Bounds) -> Box<dyn Merging>;

    /// What leaves are asked for in `Accept` when the client's own cannot be passed on.
    fn accepts(&self) -> &'static str {
        "*/*"
    }
}

/// One request's merging. Nothing in it may depend on the order of the pushes.
pub trait Merging: Send {
    /// Takes a whole answer, once a shard. After an error it must be as before.
    fn push(&mut self, piece: Piece) -> Result<(), Refusal>;

    /// Bytes it keeps at present.
    fn bytes(&self) -> usize;

    /// The state so far in a form that another merging of the same kind takes as a nested piece:
    /// what an inner node sends up.
    fn partial(self: Box<Self>) -> Result<Merged, MergeFailure>;

    /// The result, within the time given.
    fn finish(
        self: Box<Self>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Merged, MergeFailure>>;
}
