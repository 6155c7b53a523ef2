//! What a fan-out is: its shards, when an answer is good enough, and how answers become one.
//!
//! A definition is data, from a file or over the API. [`FanoutSpec`] is its written form; reading
//! refuses unknown fields by name, and [`FanoutSpec::check`] refuses everything that could not work or
//! would not be true: a map with a hole or an overlap, a shard without replicas, a timeout of zero. What
//! passes can be used as it stands.

mod check;
mod file;
mod keys;
mod named;
mod policy;
mod template;

#[cfg(test)]
mod tests;

pub use check::{ATTEMPTS_MAX, SHARDS_MAX, TIMEOUT_MS_MAX, is_safe};
pub(crate) use check::{is_hop, is_ours};
pub(crate) use file::FANOUTS_MAX;
pub use file::{FileError, Loaded, load};
pub use keys::{KeyError, Keys, rendezvous};
pub(crate) use named::{Found, Named};
pub use policy::{PolicyOptions, PolicySpec};
pub use template::{Template, TemplateError, Values};

use crate::merge::MergeSpec;
use crate::pool::Protocol;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A fan-out as it is written.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FanoutSpec {
    /// Version of the map of shards. Absent: counted up by this process whenever the definition changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Name of the map, unique in a tree of fan-outs. Absent: the fan-out's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// The shards; results that have an order have this one.
    pub shards: Vec<ShardSpec>,
    /// When an answer is good enough.
    #[serde(default)]
    #[cfg_attr(feature = "server", schema(value_type = crate::api::schema::Policy))]
    pub policy: PolicySpec,
    /// How long a request may take, in milliseconds, the answer included.
    #[serde(default = "defaults::timeout_ms")]
    pub timeout_ms: u64,
    /// Kept of that for merging and sending; absent: a twentieth, at most 50 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve_ms: Option<u64>,
    /// A call that takes longer has failed, and may be retried elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_timeout_ms: Option<u64>,
    /// When a second replica is asked although the first has not failed; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<HedgeSpec>,
    /// What happens after a failed call.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: RetrySpec,
    /// A call may be made twice. Absent: true for `/query`, and by method for routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// How answers become one.
    #[cfg_attr(feature = "server", schema(value_type = crate::api::schema::Merge))]
    pub merge: MergeSpec,
    /// Ask one or two shards first, and the rest only if they live through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanarySpec>,
    /// What leaves are sent, where it is not simply what came.
    #[serde(default, skip_serializing_if = "is_default")]
    pub request: RequestSpec,
    /// Paths of this container that are scattered by this fan-out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSpec>,
    /// Which HTTP the leaves speak.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: Protocol,
    /// What the leaves are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub leaves: LeafKind,
    /// HTTP status of a partial answer: 200, 206 or 504.
    #[serde(default = "defaults::partial_status", skip_serializing_if = "is_200")]
    pub partial_status: u16,
    /// Bounds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: LimitsSpec,
}

impl FanoutSpec {
    /// These shards and this merger, and the default of everything else.
    pub fn new(shards: Vec<ShardSpec>, merge: MergeSpec) -> Self {
        Self {
            version: None,
            map: None,
            shards,
            policy: PolicySpec::default(),
            timeout_ms: defaults::timeout_ms(),
            reserve_ms: None,
            attempt_timeout_ms: None,
            hedge: None,
            retry: RetrySpec::default(),
            idempotent: None,
            merge,
            canary: None,
            request: RequestSpec::default(),
            routes: Vec::new(),
            protocol: Protocol::default(),
            leaves: LeafKind::default(),
            partial_status: defaults::partial_status(),
            limits: LimitsSpec::default(),
        }
    }
}

/// A shard.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardSpec {
    /// Its name in answers, unique.
    pub id: String,
    /// Where it can be asked: `http://host:port/base`, or `dns+http://name:port/base` for all addresses
    /// of a name, or `srv+http://_leaf._tcp.name/base` for all its services.
    pub replicas: Vec<String>,
    /// The keys it has: from the first, up to but without the second; `""` is the beginning or the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(String, String)>,
    /// How much of the whole it stands for, for coverage.
    #[serde(default = "defaults::weight", skip_serializing_if = "is_one")]
    pub weight: u32,
}

/// Hedging.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HedgeSpec {
    /// A call is late after this quantile of its replica's latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
    /// Or after a fixed time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Hedges for each call, over all requests.
    #[serde(default = "defaults::hedge_budget")]
    pub budget: f64,
    /// Hedges that can be saved up.
    #[serde(default = "defaults::burst")]
    pub burst: u32,
    /// Hedges for one shard of one request.
    #[serde(default = "defaults::hedges_max")]
    pub hedges_max: u8,
    /// If more than this share of a request's shards are late together, it is not hedged.
    #[serde(default = "defaults::late_together_max")]
    pub late_together_max: f64,
}

impl HedgeSpec {
    const DEFAULT: Self = Self {
        quantile: None,
        delay_ms: None,
        budget: defaults::hedge_budget(),
        burst: defaults::burst(),
        hedges_max: defaults::hedges_max(),
        late_together_max: defaults::late_together_max(),
    };

    /// Hedge what is slower than this quantile of its replica's latency, 0.95 say.
    pub const fn quantile(quantile: f64) -> Self {
        Self {
            quantile: Some(quantile),
            ..Self::DEFAULT
        }
    }

    /// Hedge after so long.
    pub const fn delay_ms(ms: u64) -> Self {
        Self {
            delay_ms: Some(ms),
            ..Self::DEFAULT
        }
    }
}

/// Retries.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySpec {
    /// Calls for one shard of one request in all, hedges included.
    pub attempts_max: u8,
    /// Retries for each call, over all requests.
    pub budget: f64,
    /// Retries that can be saved up.
    pub burst: u32,
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self {
            attempts_max: crate::gather::Plan::ATTEMPTS_DEFAULT,
            budget: 0.2,
            burst: defaults::burst(),
        }
    }
}

/// The canary.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanarySpec {
    /// How many shards are asked first, 1 or 2.
    pub shards: u8,
    /// How long they have.
    pub timeout_ms: u64,
    /// How long a request that killed its canary is refused.
    #[serde(default = "defaults::quarantine_ms")]
    pub quarantine_ms: u64,
}

/// What leaves are sent. Texts may have `${shard}`, `${from}`, `${to}` (the shard's range), `${body}`
/// and `${query}` (of the request) in them, and `$$` for a dollar.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestSpec {
    /// Another method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Path and query, appended to the replica's URL; absent: nothing for `/query`, the request's own
    /// for routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Headers to set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Another body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Headers of the request that are passed on although they are credentials: `authorization`,
    /// `cookie`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forward_headers: Vec<String>,
}

/// A path that is scattered.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// The path, or `/prefix/*` for everything below.
    pub path: String,
    /// Methods; absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
}

/// What is behind the replicas' addresses.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeafKind {
    /// Any HTTP service.
    #[default]
    Http,
    /// Roots like this one, each with a fan-out of its own behind the URL of its query.
    Nodes,
    /// Services of gRPC: `quorate.scatter.v1.Leaf`.
    Grpc,
}

/// Bounds of one request.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSpec {
    /// Body of a request.
    pub body_bytes: u64,
    /// Body of one leaf's answer.
    pub reply_bytes: u64,
    /// All answers of one request that are arriving or staged.
    pub request_bytes: u64,
    /// What the merger keeps.
    pub merge_bytes: u64,
    /// Calls of one request at once; further shards wait for their turn.
    pub calls: u32,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self {
            body_bytes: 4 << 20,
            reply_bytes: 16 << 20,
            request_bytes: 256 << 20,
            merge_bytes: 64 << 20,
            calls: 4_096,
        }
    }
}

mod defaults {
    pub(super) const fn timeout_ms() -> u64 {
        1_000
    }
    pub(super) const fn partial_status() -> u16 {
        200
    }
    pub(super) const fn weight() -> u32 {
        1
    }
    pub(super) const fn hedge_budget() -> f64 {
        0.05
    }
    pub(super) const fn burst() -> u32 {
        10
    }
    pub(super) const fn hedges_max() -> u8 {
        1
    }
    pub(super) const fn late_together_max() -> f64 {
        0.2
    }
    pub(super) const fn quarantine_ms() -> u64 {
        60_000
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_200(status: &u16) -> bool {
    *status == 200
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_one(weight: &u32) -> bool {
    *weight == 1
}
