//! Scatter/gather as a library.
//!
//! ```no_run
//! # async fn example() -> Result<(), quorate_core::Error> {
//! use quorate_scatter_gather::Scatter;
//! use quorate_scatter_gather::definition::{HedgeSpec, PolicyOptions, PolicySpec};
//! use quorate_scatter_gather::merge::MergeSpec;
//!
//! let scatter = Scatter::builder()
//!     .shard("0", ["http://10.0.0.1:9000/search", "http://10.0.1.1:9000/search"])
//!     .shard("1", ["http://10.0.0.2:9000/search", "http://10.0.1.2:9000/search"])
//!     .policy(PolicySpec::Options(PolicyOptions { coverage: Some(0.5), ..Default::default() }))
//!     .hedge(HedgeSpec::quantile(0.95))
//!     .merge(MergeSpec::sum("/hits")?)
//!     .build()?;
//! let answer = scatter.query("needle").await?;
//! println!("{:?}, complete: {}", answer.merged.body, answer.complete);
//! # Ok(())
//! # }
//! ```
//!
//! The library is a [`crate::root::Root`] with one fan-out: what the containers do, it does, without a
//! listener, and it is a [`tower::Service`] of a [`Question`]. Leaves may also live in this process ([`Builder::shard_of`]), merged by a [`Merger`](crate::merge::Merger) of
//! one's own.

mod builder;
mod service;

#[cfg(test)]
mod replay;
#[cfg(test)]
mod tests;

pub use builder::Builder;

pub use crate::pool::{Leaf, LeafAnswer, LeafError, LeafRequest, leaf_fn};
pub use crate::root::{Answer, Question};

use crate::pool::{Host, Hosts};
use crate::root::{Fanout, Root, TargetsView};
use bytes::Bytes;
use quorate_core::error::Error;
use std::sync::Arc;

/// A fan-out of this process. Clones share everything.
#[derive(Clone, Debug)]
pub struct Scatter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: Arc<Root>,
    fanout: Arc<Fanout>,
    /// Leaves of this process are hosts as long as these live.
    _local: Vec<Arc<Host>>,
}

impl Scatter {
    /// Begins a definition.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Sends a body to every shard and gathers one answer. Dropping the future ends all its calls.
    ///
    /// # Errors
    /// `insufficient_shards`, `deadline_exceeded`, `over_quota`, or what the request lacks.
    pub async fn query(&self, body: impl Into<Bytes>) -> Result<Answer, Error> {
        self.ask(Question::query(body.into())).await
    }

    /// The same with everything a request may say: keys, headers, its own time.
    ///
    /// # Errors
    /// See [`Scatter::query`].
    pub async fn ask(&self, question: Question) -> Result<Answer, Error> {
        self.inner.root.ask(&self.inner.fanout, question).await
    }

    /// Its connections.
    pub fn hosts(&self) -> &Arc<Hosts> {
        self.inner.root.hosts()
    }

    /// Health and speed of the replicas, and what is left of the budgets.
    pub fn targets(&self) -> TargetsView {
        self.inner.fanout.targets()
    }
}
