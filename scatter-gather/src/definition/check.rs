//! What a definition must be before it is used.

use super::{FanoutSpec, LeafKind, Named, ShardSpec, Template};
use crate::gather::{HedgePolicy, Plan, ReplicaSet, Share};
use crate::merge::MergeSpec;
use crate::pool::{LeafUrl, Protocol};
use http::header::{HeaderName, HeaderValue};
use http::{Method, Uri};
use quorate_core::error::Error;
use quorate_core::types::Name;
use std::collections::BTreeSet;

/// Shards of a fan-out. Wider fan-outs are built as trees.
pub const SHARDS_MAX: usize = 4_096;
/// An hour: nobody waits longer for an answer.
pub const TIMEOUT_MS_MAX: u64 = 3_600_000;
/// See [`Plan::ATTEMPTS_MAX`].
pub const ATTEMPTS_MAX: u8 = Plan::ATTEMPTS_MAX;
/// Routes of a fan-out.
const ROUTES_MAX: usize = 100;
/// Headers that are set.
const HEADERS_MAX: usize = 50;
/// Bytes of a key where a range begins or ends.
const KEY_BYTES_MAX: usize = 1_024;
/// Bytes of a shard's id.
const ID_BYTES_MAX: usize = 128;

/// Whether a method promises to change nothing (RFC 9110, section 9.2.1), and may therefore be sent
/// twice.
pub fn is_safe(method: &Method) -> bool {
    method.is_safe()
}

fn refuse<T>(field: &str, problem: impl std::fmt::Display) -> Result<T, Error> {
    Err(Error::invalid(format!("{field}: {problem}")))
}

impl FanoutSpec {
    /// Refuses what cannot work or would not be true. The message names the field and what to write.
    pub fn check(&self) -> Result<(), Error> {
        if self.version == Some(0) {
            return refuse("version", "0 is no version: count from 1, or leave it out");
        }
        if let Some(map) = &self.map {
            Name::new(map).map_err(|error| Error::invalid(format!("map: {error}")))?;
        }
        check_shards(&self.shards)?;
        self.check_policy()?;
        self.check_times()?;
        self.check_hedge()?;
        self.check_merge()?;
        self.check_request()?;
        self.check_routes()?;
        self.check_limits()?;
        if !matches!(self.partial_status, 200 | 206 | 504) {
            return refuse("partial_status", "use 200, 206 or 504");
        }
        if self.leaves == LeafKind::Grpc {
            self.check_grpc()?;
        }
        if self.leaves == LeafKind::Nodes && self.hedge.is_some() {
            return refuse(
                "hedge",
                "the leaves are nodes: only the level next to the leaves hedges, leave it out here",
            );
        }
        Ok(())
    }

    fn check_policy(&self) -> Result<(), Error> {
        let policy = self.policy.policy();
        let shards = self.shards.len();
        for (what, asked) in [("quorum", policy.quorum), ("first", policy.first)] {
            if let Some(asked) = asked
                && (asked == 0 || asked as usize > shards)
            {
                return refuse(
                    &format!("policy.{what}"),
                    format!("{asked} of {shards} shards: use 1 to {shards}"),
                );
            }
        }
        if let super::PolicySpec::Options(options) = &self.policy
            && let Some(coverage) = options.coverage
            && (Share::of(coverage).is_none() || coverage == 0.0)
        {
            return refuse("policy.coverage", "use a number above 0 and up to 1");
        }
        for id in self.policy.required() {
            if !self.shards.iter().any(|shard| shard.id == *id) {
                return refuse(
                    "policy.required",
                    format!(
                        "there is no shard {:?}",
                        id.chars().take(64).collect::<String>()
                    ),
                );
            }
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), Error> {
        let within = |field: &str, ms: u64, most: u64| {
            if ms == 0 || ms > most {
                return refuse(field, format!("{ms} ms: use 1 to {most}"));
            }
            Ok(())
        };
        within("timeout_ms", self.timeout_ms, TIMEOUT_MS_MAX)?;
        if let Some(reserve) = self.reserve_ms
            && reserve >= self.timeout_ms
        {
            return refuse(
                "reserve_ms",
                format!(
                    "{reserve} ms of {} leave nothing for the leaves: use less",
                    self.timeout_ms
                ),
            );
        }
        if let Some(ms) = self.attempt_timeout_ms {
            within("attempt_timeout_ms", ms, self.timeout_ms)?;
        }
        if let Some(canary) = &self.canary {
            if !(1..=2).contains(&canary.shards) {
                return refuse("canary.shards", "use 1 or 2");
            }
            within("canary.timeout_ms", canary.timeout_ms, self.timeout_ms)?;
            within("canary.quarantine_ms", canary.quarantine_ms, TIMEOUT_MS_MAX)?;
        }
        Ok(())
    }

    fn check_hedge(&self) -> Result<(), Error> {
        if !(1..=ATTEMPTS_MAX).contains(&self.retry.attempts_max) {
            return refuse("retry.attempts_max", format!("use 1 to {ATTEMPTS_MAX}"));
        }
        if Share::of(self.retry.budget).is_none() {
            return refuse("retry.budget", "use a number from 0 to 1");
        }
        let Some(hedge) = &self.hedge else {
            return Ok(());
        };
        match (hedge.quantile, hedge.delay_ms) {
            (Some(quantile), None) if quantile > 0.0 && quantile < 1.0 => {}
            (Some(_), None) => {
                return refuse(
                    "hedge.quantile",
                    "use a number between 0 and 1, such as 0.95",
                );
            }
            (None, Some(ms)) if ms > 0 && ms < self.timeout_ms => {}
            (None, Some(ms)) => {
                return refuse(
                    "hedge.delay_ms",
                    format!(
                        "{ms} ms: use at least 1 and less than timeout_ms ({})",
                        self.timeout_ms
                    ),
                );
            }
            (None, None) => return refuse("hedge", "name quantile or delay_ms"),
            (Some(_), Some(_)) => return refuse("hedge", "name quantile or delay_ms, not both"),
        }
        if Share::of(hedge.budget).is_none() {
            return refuse("hedge.budget", "use a number from 0 to 1");
        }
        if Share::of(hedge.late_together_max).is_none() {
            return refuse("hedge.late_together_max", "use a number from 0 to 1");
        }
        if !(1..ATTEMPTS_MAX).contains(&hedge.hedges_max) {
            return refuse("hedge.hedges_max", format!("use 1 to {}", ATTEMPTS_MAX - 1));
        }
        Ok(())
    }

    fn check_merge(&self) -> Result<(), Error> {
        self.merge
            .check()
            .map_err(|error| Error::invalid(format!("merge.{error}")))?;
        let (name, options) = match &self.merge {
            MergeSpec::Http(options) => ("http", options),
            MergeSpec::Grpc(options) => ("grpc", options),
            _ => return Ok(()),
        };
        let url = LeafUrl::parse(&options.url)
            .map_err(|error| Error::invalid(format!("merge.{name}: {error}")))?;
        if name == "grpc" && !url.base().is_empty() {
            return refuse("merge.grpc", "it has no path: write http://host:port");
        }
        Ok(())
    }

    /// Whether anything is to be called over TLS.
    pub(crate) fn is_secured(&self) -> bool {
        let replicas = self.shards.iter().flat_map(|shard| &shard.replicas);
        let merge = match &self.merge {
            MergeSpec::Http(options) | MergeSpec::Grpc(options) => Some(&options.url),
            _ => None,
        };
        replicas.chain(merge).any(|url| url.contains("https://"))
    }

    /// Leaves of gRPC have one method, which is found at the root of their address.
    fn check_grpc(&self) -> Result<(), Error> {
        if self.protocol == Protocol::Http1 {
            return refuse("protocol", "gRPC needs HTTP/2: leave it out");
        }
        for (i, shard) in self.shards.iter().enumerate() {
            for replica in &shard.replicas {
                let named = Named::parse(replica);
                if named.is_ok_and(|named| !named.url.base().is_empty()) {
                    return refuse(
                        &format!("shards[{i}].replicas"),
                        format!("{replica}: a leaf of gRPC has no path, write http://host:port"),
                    );
                }
            }
        }
        Ok(())
    }

    fn check_request(&self) -> Result<(), Error> {
        let request = &self.request;
        if let Some(method) = &request.method
            && (method.parse::<Method>().is_err() || method == "CONNECT")
        {
            return refuse("request.method", "it is no method: use GET, POST, …");
        }
        if let Some(path) = &request.path {
            let template = template("request.path", path)?;
            if template.has_body() {
                return refuse("request.path", "a body has no place in a path");
            }
            let sample = super::Values {
                shard: "s",
                from: "",
                to: "",
                body: &bytes::Bytes::new(),
                query: "",
            };
            let sample = template.path(&sample);
            if !sample.starts_with('/') || sample.parse::<Uri>().is_err() {
                return refuse(
                    "request.path",
                    "write /path?query, with other characters as %XX",
                );
            }
        }
        if let Some(body) = &request.body {
            template("request.body", body)?;
        }
        if request.headers.len() > HEADERS_MAX {
            return refuse("request.headers", format!("set at most {HEADERS_MAX}"));
        }
        for (name, value) in &request.headers {
            let field = format!(
                "request.headers.{}",
                name.chars().take(64).collect::<String>()
            );
            let Ok(parsed) = HeaderName::try_from(name.as_str()) else {
                return refuse(&field, "it is no name of a header");
            };
            if is_ours(&parsed) {
                return refuse(&field, "this header is set by the connection: leave it out");
            }
            if HeaderValue::from_str(value).is_err() {
                return refuse(&field, "a header's value has no control characters");
            }
            if template(&field, value)?.has_body() {
                return refuse(&field, "a body has no place in a header");
            }
        }
        for name in &request.forward_headers {
            if HeaderName::try_from(name.as_str()).is_err() {
                return refuse(
                    "request.forward_headers",
                    "one of them is no name of a header",
                );
            }
        }
        Ok(())
    }

    fn check_routes(&self) -> Result<(), Error> {
        if self.routes.len() > ROUTES_MAX {
            return refuse("routes", format!("name at most {ROUTES_MAX}"));
        }
        for (i, route) in self.routes.iter().enumerate() {
            let field = format!("routes[{i}].path");
            let path = route.path.strip_suffix("/*").unwrap_or(&route.path);
            let plain = path.is_empty() && route.path == "/*"
                || path.starts_with('/') && path.parse::<Uri>().is_ok();
            if !plain || path.contains(['*', '?', '{', '}']) || route.path.len() > 1_024 {
                return refuse(&field, "write /path, or /prefix/* for everything below");
            }
            let reserved = ["/v1", "/quorate.", "/grpc.", "/openapi.json"];
            if reserved.iter().any(|own| path.starts_with(own)) {
                return refuse(
                    &field,
                    "this path is the container's own: choose another one",
                );
            }
            for method in &route.methods {
                if method.parse::<Method>().is_err() {
                    return refuse(&format!("routes[{i}].methods"), "one of them is no method");
                }
            }
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), Error> {
        let limits = &self.limits;
        for (field, bytes) in [
            ("limits.body_bytes", limits.body_bytes),
            ("limits.reply_bytes", limits.reply_bytes),
            ("limits.request_bytes", limits.request_bytes),
            ("limits.merge_bytes", limits.merge_bytes),
        ] {
            if bytes == 0 || bytes > 1 << 36 || usize::try_from(bytes).is_err() {
                return refuse(field, "use 1 byte to 64 GiB");
            }
        }
        if limits.calls == 0 {
            return refuse("limits.calls", "use 1 or more");
        }
        Ok(())
    }

    /// The engine's hedging, if there is any.
    pub fn hedge_policy(&self) -> Option<HedgePolicy> {
        let hedge = self.hedge.as_ref()?;
        let share = |part: f64| Share::of(part).unwrap_or(Share::ZERO);
        let policy = match (hedge.quantile, hedge.delay_ms) {
            (Some(quantile), _) => HedgePolicy::quantile(share(quantile)),
            (None, Some(ms)) => HedgePolicy::delay(std::time::Duration::from_millis(ms)),
            (None, None) => return None,
        };
        Some(HedgePolicy {
            hedges_max: hedge.hedges_max,
            late_together_max: share(hedge.late_together_max),
            ..policy
        })
    }
}

fn template(field: &str, text: &str) -> Result<Template, Error> {
    Template::parse(text).map_err(|error| Error::invalid(format!("{field}: {error}")))
}

/// Headers that say what we say ourselves to whom we ask, and those of [`is_hop`].
pub(crate) fn is_ours(name: &HeaderName) -> bool {
    is_hop(name) || name.as_str().starts_with("quorate-")
}

/// Headers that belong to a connection and not to what is sent over it (RFC 9110, section 7.6.1).
pub(crate) fn is_hop(name: &HeaderName) -> bool {
    const HOP: &[&str] = &[
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    HOP.contains(&name.as_str())
}

fn check_shards(shards: &[ShardSpec]) -> Result<(), Error> {
    if shards.is_empty() {
        return refuse("shards", "there is none: name at least one");
    }
    if shards.len() > SHARDS_MAX {
        return refuse(
            "shards",
            format!("at most {SHARDS_MAX}: build a tree of fan-outs"),
        );
    }
    let mut ids = BTreeSet::new();
    for (i, shard) in shards.iter().enumerate() {
        let shown: String = shard.id.chars().take(64).collect();
        if shard.id.is_empty()
            || shard.id.len() > ID_BYTES_MAX
            || !shard
                .id
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b";,=\"\\".contains(&b))
        {
            return refuse(
                &format!("shards[{i}].id"),
                format!(
                    "{shown:?}: use 1 to {ID_BYTES_MAX} visible ASCII characters without ; , = \" \\"
                ),
            );
        }
        if !ids.insert(&shard.id) {
            return refuse(
                &format!("shards[{i}].id"),
                format!("{shown:?} is there twice: every shard needs a name of its own"),
            );
        }
        check_replicas(i, shard)?;
        if shard.weight == 0 {
            return refuse(&format!("shards[{i}].weight"), "use 1 or more");
        }
    }
    check_ranges(shards)
}

fn check_replicas(i: usize, shard: &ShardSpec) -> Result<(), Error> {
    let field = format!("shards[{i}].replicas");
    if shard.replicas.is_empty() {
        return refuse(&field, "there is none: name at least one http://host:port");
    }
    if shard.replicas.len() > usize::from(ReplicaSet::REPLICAS_MAX) {
        return refuse(&field, format!("name at most {}", ReplicaSet::REPLICAS_MAX));
    }
    let mut seen = BTreeSet::new();
    for replica in &shard.replicas {
        let named =
            Named::parse(replica).map_err(|error| Error::invalid(format!("{field}: {error}")))?;
        let url = &named.url;
        if !seen.insert((named.how, url.clone())) {
            return refuse(
                &field,
                format!("{url} is there twice: one call must not count as two replicas"),
            );
        }
    }
    Ok(())
}

fn check_ranges(shards: &[ShardSpec]) -> Result<(), Error> {
    let with = shards.iter().filter(|shard| shard.range.is_some()).count();
    if with == 0 {
        return Ok(());
    }
    if let Some(i) = shards.iter().position(|shard| shard.range.is_none()) {
        return refuse(
            &format!("shards[{i}].range"),
            "it is missing: give every shard a range, or none",
        );
    }
    let mut ranges: Vec<(&str, &str, &str)> = shards
        .iter()
        .filter_map(|shard| {
            let (from, to) = shard.range.as_ref()?;
            Some((from.as_str(), to.as_str(), shard.id.as_str()))
        })
        .collect();
    ranges.sort_unstable();
    for (from, to, id) in &ranges {
        if from.len().max(to.len()) > KEY_BYTES_MAX {
            return refuse(
                "shards.range",
                format!("a key of shard {id} is over {KEY_BYTES_MAX} bytes"),
            );
        }
        if !to.is_empty() && from >= to {
            return refuse(
                "shards.range",
                format!("the range of shard {id} is empty: {from:?} is not before {to:?}"),
            );
        }
    }
    for pair in ranges.windows(2) {
        let ((_, end, left), (begin, _, right)) = (pair[0], pair[1]);
        if end.is_empty() || begin < end {
            return refuse(
                "shards.range",
                format!(
                    "shards {left} and {right} overlap from {begin:?}: a key must have one shard"
                ),
            );
        }
        if begin > end {
            return refuse(
                "shards.range",
                format!(
                    "there is a hole from {end:?} to {begin:?}, between the shards {left} and {right}: \
                     no answer could be complete"
                ),
            );
        }
    }
    Ok(())
}
