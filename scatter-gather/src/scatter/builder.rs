//! The definition of a fan-out in Rust.

use super::{Inner, Leaf, Scatter};
use crate::definition::{
    CanarySpec, FanoutSpec, HedgeSpec, LimitsSpec, PolicySpec, RetrySpec, ShardSpec,
};
use crate::merge::{ConcatOptions, MergeSpec, Merger};
use crate::pool::{Admission, AdmissionCaps, Hosts, LeafUrl, Protocol};
use crate::root::{Origin, Root};
use quorate_core::error::Error;
#[cfg(feature = "tls")]
use quorate_core::tls::upstream::Upstream;
use quorate_core::types::Name;
use std::sync::Arc;
use std::time::Duration;

/// See [`Scatter::builder`]. What is not said has the default of a definition.
#[derive(Default)]
pub struct Builder {
    shards: Vec<ShardSpec>,
    local: Vec<(String, Arc<dyn Leaf>)>,
    edits: Vec<Edit>,
    merger: Option<Arc<dyn Merger>>,
    caps: AdmissionCaps,
    #[cfg(feature = "tls")]
    upstream: Option<Upstream>,
}

type Edit = Box<dyn FnOnce(&mut FanoutSpec) + Send>;

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// A shard and the URLs of its replicas.
    #[must_use]
    pub fn shard<R: Into<String>>(
        mut self,
        id: impl Into<String>,
        replicas: impl IntoIterator<Item = R>,
    ) -> Self {
        let replicas = replicas.into_iter().map(Into::into).collect();
        self.push(id.into(), replicas);
        self
    }

    /// A shard whose replicas are in this process.
    #[must_use]
    pub fn shard_of(
        mut self,
        id: impl Into<String>,
        replicas: impl IntoIterator<Item = Arc<dyn Leaf>>,
    ) -> Self {
        let place = self.shards.len();
        let mut urls = Vec::new();
        for (replica, leaf) in replicas.into_iter().enumerate() {
            // A name that no resolver knows (RFC 6761).
            let url = format!("http://shard{place}-replica{replica}.in-process.invalid");
            urls.push(url.clone());
            self.local.push((url, leaf));
        }
        self.push(id.into(), urls);
        self
    }

    fn push(&mut self, id: String, replicas: Vec<String>) {
        self.shards.push(ShardSpec {
            id,
            replicas,
            range: None,
            weight: 1,
        });
    }

    /// When an answer is good enough.
    #[must_use]
    pub fn policy(self, policy: PolicySpec) -> Self {
        self.edit(|spec| spec.policy = policy)
    }

    /// When a second replica is asked although the first has not failed; without it, never.
    #[must_use]
    pub fn hedge(self, hedge: HedgeSpec) -> Self {
        self.edit(|spec| spec.hedge = Some(hedge))
    }

    /// What happens after a failed call.
    #[must_use]
    pub fn retry(self, retry: RetrySpec) -> Self {
        self.edit(|spec| spec.retry = retry)
    }

    /// Ask one or two shards first.
    #[must_use]
    pub fn canary(self, canary: CanarySpec) -> Self {
        self.edit(|spec| spec.canary = Some(canary))
    }

    /// A merger that is built in, or a merge container. Concatenation if nothing is said.
    #[must_use]
    pub fn merge(self, merge: MergeSpec) -> Self {
        self.edit(|spec| spec.merge = merge)
    }

    /// A merger of one's own.
    #[must_use]
    pub fn merger(mut self, merger: impl Merger) -> Self {
        self.merger = Some(Arc::new(merger));
        self
    }

    /// How long a request may take, the answer included. At least a millisecond.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.edit(move |spec| spec.timeout_ms = ms)
    }

    /// A call that takes longer has failed.
    #[must_use]
    pub fn attempt_timeout(self, timeout: Duration) -> Self {
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.edit(move |spec| spec.attempt_timeout_ms = Some(ms))
    }

    /// Whether calls may be made twice; they may if nothing is said.
    #[must_use]
    pub fn idempotent(self, idempotent: bool) -> Self {
        self.edit(move |spec| spec.idempotent = Some(idempotent))
    }

    /// Which HTTP the leaves speak.
    #[must_use]
    pub fn protocol(self, protocol: Protocol) -> Self {
        self.edit(move |spec| spec.protocol = protocol)
    }

    /// Bounds of one request.
    #[must_use]
    pub fn limits(self, limits: LimitsSpec) -> Self {
        self.edit(|spec| spec.limits = limits)
    }

    /// Bounds of all requests together.
    #[must_use]
    pub fn caps(mut self, caps: AdmissionCaps) -> Self {
        self.caps = caps;
        self
    }

    /// The authorities that leaves behind `https://` must be signed by; without it none is called.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, upstream: Upstream) -> Self {
        self.upstream = Some(upstream);
        self
    }

    fn hosts(&self) -> Result<Arc<Hosts>, Error> {
        let admission = Admission::new(self.caps);
        #[cfg(feature = "tls")]
        if let Some(upstream) = &self.upstream {
            return Hosts::secured(admission, upstream)
                .map_err(|error| Error::invalid(error.to_string()));
        }
        Ok(Hosts::new(admission))
    }

    /// Anything else of a definition.
    #[must_use]
    pub fn edit(mut self, edit: impl FnOnce(&mut FanoutSpec) + Send + 'static) -> Self {
        self.edits.push(Box::new(edit));
        self
    }

    /// The fan-out. Needs a tokio runtime, on which it looks after its replicas.
    ///
    /// # Errors
    /// A definition that could not work, with the field.
    pub fn build(self) -> Result<Scatter, Error> {
        let root = Root::over(self.hosts()?, None);
        let mut spec = FanoutSpec::new(self.shards, MergeSpec::Concat(ConcatOptions::default()));
        for edit in self.edits {
            edit(&mut spec);
        }
        let mut local = Vec::with_capacity(self.local.len());
        for (url, leaf) in self.local {
            let url = LeafUrl::parse(&url).map_err(|error| Error::invalid(error.to_string()))?;
            local.push(root.hosts().put_local(&url, spec.protocol, leaf));
        }
        let name = Name::new("scatter")?;
        let fanout = root.put_with(&name, spec, Origin::Api, self.merger)?;
        Ok(Scatter {
            inner: Arc::new(Inner {
                root,
                fanout,
                _local: local,
            }),
        })
    }
}
