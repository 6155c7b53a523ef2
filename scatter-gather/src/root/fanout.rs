//! A fan-out as it runs: its definition with replicas, budgets and merger.

use super::meters::Meters;
use super::{Origin, Root};
use crate::definition::{FanoutSpec, Found, Keys, LeafKind, Named, Template};
use crate::gather::{Budget, MapId, Quarantine, Share};
use crate::merge::{External, MergeCall, MergeSpec, Merger};
use crate::pool::{
    Addressed, GrpcMerge, Hosts, HttpMerge, LeafUrl, Protocol, Replicas, Target, TargetView,
};
use http::header::{HeaderName, HeaderValue};
use quorate_core::error::{Code, Error};
use quorate_core::types::Name;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;
use tokio::sync::OnceCell;

/// How often replicas are looked after.
const UPKEEP_EVERY: Duration = Duration::from_millis(250);
/// How often names are resolved anew, in upkeeps: every 5 s.
const RESOLVE_UPKEEPS: u32 = 20;
/// Replicas a name may resolve to.
const RESOLVED_MAX: usize = 64;
/// Requests in quarantine.
const QUARANTINE_MAX: usize = 1_024;

/// A fan-out of a [`super::Root`].
pub struct Fanout {
    name: Name,
    spec: FanoutSpec,
    version: u64,
    origin: Origin,
    map: MapId,
    keys: Keys,
    shards: Vec<Shard>,
    /// Some replicas are services of a name.
    services: bool,
    /// Names have been resolved once.
    found: OnceCell<()>,
    hedges: Arc<Budget>,
    retries: Arc<Budget>,
    merger: Arc<dyn Merger>,
    meters: Meters,
    pub(super) request: Prepared,
    /// What its leaves are shown.
    pub(super) credential: Option<HeaderValue>,
    pub(super) quarantine: Mutex<Quarantine>,
    hosts: Arc<Hosts>,
    protocol: Protocol,
}

impl std::fmt::Debug for Fanout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fanout")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What the definition says about requests, read once.
pub(super) struct Prepared {
    pub(super) path: Option<Template>,
    pub(super) body: Option<Template>,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) forward: Vec<HeaderName>,
}

#[derive(Debug)]
struct Shard {
    addressed: Arc<Addressed>,
    /// Without it there is no answer.
    required: bool,
    /// As the definition names them.
    named: Vec<Named>,
    replicas: RwLock<Arc<Replicas>>,
}

/// A shard with its replicas, for people.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Serialize)]
pub struct ShardView {
    /// Its id.
    pub shard: String,
    /// Its range of keys, if the map has ranges.
    pub range: Option<(String, String)>,
    /// Its replicas.
    pub replicas: Vec<TargetView>,
}

/// All replicas of a fan-out, for people.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Serialize)]
pub struct TargetsView {
    /// Its name.
    pub fanout: String,
    /// Version of its map.
    pub version: u64,
    /// Shard by shard.
    pub shards: Vec<ShardView>,
    /// Hedges that may be sent at once.
    pub hedge_tokens: u64,
    /// Hedges allowed for each call.
    pub hedge_budget: f64,
    /// Retries that may be sent at once.
    pub retry_tokens: u64,
    /// Retries allowed for each call.
    pub retry_budget: f64,
    /// Calls under way, of all fan-outs of this process.
    pub calls_in_flight: u64,
    /// Bytes of answers in memory, of all fan-outs of this process.
    pub bytes_in_flight: u64,
}

impl Fanout {
    pub(super) fn start(
        name: Name,
        spec: FanoutSpec,
        version: u64,
        origin: Origin,
        root: &Root,
        before: Option<&Self>,
        merger: Option<Arc<dyn Merger>>,
    ) -> Result<Arc<Self>, Error> {
        let hosts = &root.hosts;
        let merger = match merger {
            Some(merger) => merger,
            None => self::merger(&spec, hosts)?,
        };
        let map = MapId {
            name: spec.map.as_deref().unwrap_or(name.as_str()).into(),
            version,
        };
        let protocol = match spec.leaves {
            LeafKind::Http => spec.protocol,
            // Our own, and gRPC, speak HTTP/2.
            LeafKind::Nodes | LeafKind::Grpc => Protocol::Http2,
        };
        let known = before.map(Self::known).unwrap_or_default();
        let required = spec.policy.required().iter().map(String::as_str);
        let required: BTreeSet<&str> = required.collect();
        let mut shards = Vec::with_capacity(spec.shards.len());
        for (seed, shard) in (1_u64..).zip(&spec.shards) {
            let named = shard.replicas.iter().map(|text| Named::parse(text));
            let named: Result<Vec<Named>, _> = named.collect();
            let named = named.map_err(|error| Error::invalid(error.to_string()))?;
            // Names are resolved right after the start. Until then a host stands for its addresses; a service
            // is not known before.
            let targets = named
                .iter()
                .filter(|n| n.how != Found::Services)
                .map(|n| target(hosts, protocol, &known, &shard.id, &n.url));
            let replicas =
                Replicas::new(targets.collect(), seed.wrapping_mul(0xa076_1d64_78bd_642f));
            shards.push(Shard {
                addressed: Arc::new(Addressed {
                    id: shard.id.as_str().into(),
                    range: shard.range.clone(),
                    grpc: spec.leaves == LeafKind::Grpc,
                }),
                required: required.contains(shard.id.as_str()),
                named,
                replicas: RwLock::new(Arc::new(replicas)),
            });
        }
        let (hedges, retries) = budgets(&spec, before);
        let quarantine_ms = spec
            .canary
            .as_ref()
            .map_or(1, |canary| canary.quarantine_ms);
        let fanout = Arc::new(Self {
            keys: Keys::new(&spec.shards),
            meters: Meters::of(name.as_str()),
            merger,
            request: Prepared::of(&spec)?,
            credential: root.credential.clone().filter(|_| origin == Origin::File),
            quarantine: Mutex::new(Quarantine::new(
                Duration::from_millis(quarantine_ms),
                QUARANTINE_MAX,
            )),
            hosts: Arc::clone(hosts),
            name,
            version,
            origin,
            map,
            services: shards
                .iter()
                .any(|s| s.named.iter().any(|n| n.how == Found::Services)),
            found: OnceCell::new(),
            shards,
            hedges,
            retries,
            protocol,
            spec,
        });
        tokio::spawn(upkeep(Arc::downgrade(&fanout)));
        Ok(fanout)
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its definition.
    pub fn spec(&self) -> &FanoutSpec {
        &self.spec
    }

    /// Version of its map.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Where its definition came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The refusal of a body over its bound.
    pub(crate) fn body_too_large(&self) -> Error {
        let limit = self.spec.limits.body_bytes;
        Error::new(
            Code::TooLarge,
            format!("the body is over {limit} bytes (limits.body_bytes): send less, or raise it"),
        )
    }

    /// Its map.
    pub fn map(&self) -> &MapId {
        &self.map
    }

    /// Which shards keys belong to.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn merger(&self) -> &Arc<dyn Merger> {
        &self.merger
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.meters
    }

    pub(super) fn budgets(&self) -> crate::gather::Budgets<'_> {
        crate::gather::Budgets {
            hedges: &self.hedges,
            retries: &self.retries,
        }
    }

    pub(super) fn shard_id(&self, shard: usize) -> &Arc<str> {
        &self.shards[shard].addressed.id
    }

    pub(super) fn is_required(&self, shard: usize) -> bool {
        self.shards[shard].required
    }

    pub(super) fn addressed(&self, shard: usize) -> &Arc<Addressed> {
        &self.shards[shard].addressed
    }

    /// The replicas of a shard as they are now.
    pub(super) fn replicas(&self, shard: usize) -> Arc<Replicas> {
        let replicas = self.shards[shard].replicas.read();
        Arc::clone(&replicas.unwrap_or_else(PoisonError::into_inner))
    }

    /// Health and speed of all replicas.
    pub fn targets(&self) -> TargetsView {
        let shards = self.shards.iter().zip(&self.spec.shards).enumerate();
        let shards = shards.map(|(i, (shard, spec))| ShardView {
            shard: shard.addressed.id.to_string(),
            range: spec.range.clone(),
            replicas: self
                .replicas(i)
                .targets()
                .iter()
                .map(|t| t.view())
                .collect(),
        });
        TargetsView {
            fanout: self.name.to_string(),
            version: self.version,
            shards: shards.collect(),
            hedge_tokens: self.hedges.tokens(),
            hedge_budget: self.hedges.ratio().fraction(),
            retry_tokens: self.retries.tokens(),
            retry_budget: self.retries.ratio().fraction(),
            calls_in_flight: self.hosts.admission().calls(),
            bytes_in_flight: self.hosts.admission().bytes(),
        }
    }

    /// Every target by shard and URL, so that a new definition keeps what is known of them.
    fn known(&self) -> BTreeMap<(Arc<str>, LeafUrl), Arc<Target>> {
        let mut known = BTreeMap::new();
        for (i, shard) in self.shards.iter().enumerate() {
            for target in self.replicas(i).targets() {
                let key = (Arc::clone(&shard.addressed.id), target.url().clone());
                known.insert(key, Arc::clone(target));
            }
        }
        known
    }

    /// The quantile after which a call is late; the 95th percentile where nothing is hedged by one.
    fn late(&self) -> Share {
        let quantile = self.spec.hedge.as_ref().and_then(|hedge| hedge.quantile);
        quantile.and_then(Share::of).unwrap_or(Share::ppm(950_000))
    }

    fn upkeep(&self) {
        let shadows = self.spec.idempotent.unwrap_or(true);
        for i in 0..self.shards.len() {
            self.replicas(i).upkeep(self.late(), shadows);
        }
    }

    /// Whether there is nobody to ask because services have not been looked up yet.
    pub(super) fn is_unfound(&self) -> bool {
        self.services && !self.found.initialized()
    }

    /// Waits until names have been resolved once.
    pub(super) async fn found(&self) {
        self.found.get_or_init(|| self.resolve()).await;
    }

    /// Resolves the names among the replicas. A name that cannot be resolved keeps what it had.
    async fn resolve(&self) {
        for shard in self
            .shards
            .iter()
            .filter(|s| s.named.iter().any(|n| n.how != Found::Plain))
        {
            match self.urls(shard).await {
                Ok(mut urls) => {
                    urls.sort();
                    urls.dedup();
                    urls.truncate(RESOLVED_MAX);
                    self.replace(shard, &urls);
                }
                Err((named, error)) => {
                    tracing::warn!(fanout = %self.name, shard = %shard.addressed.id, name = named.url.host(), %error,
                        "cannot resolve; the replicas known stay");
                }
            }
        }
    }

    async fn urls<'s>(
        &self,
        shard: &'s Shard,
    ) -> Result<Vec<LeafUrl>, (&'s Named, std::io::Error)> {
        let names = self.hosts.names();
        let mut urls = Vec::new();
        for named in &shard.named {
            let url = &named.url;
            match named.how {
                Found::Plain => urls.push(url.clone()),
                Found::Addresses => {
                    let found = names.addresses(url.host(), url.port()).await;
                    let found = found.map_err(|error| (named, error))?;
                    urls.extend(found.iter().map(|a| url.at(&a.ip().to_string(), a.port())));
                }
                Found::Services => {
                    let found = names.services(url.host()).await;
                    let found = found.map_err(|error| (named, error))?;
                    urls.extend(found.iter().map(|(host, port)| url.at(host, *port)));
                }
            }
        }
        Ok(urls)
    }

    fn replace(&self, shard: &Shard, urls: &[LeafUrl]) {
        let mut replicas = shard
            .replicas
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let now: Vec<&LeafUrl> = replicas
            .targets()
            .iter()
            .map(|target| target.url())
            .collect();
        if urls.is_empty() || now.iter().copied().eq(urls) {
            return;
        }
        let known: BTreeMap<_, _> = replicas
            .targets()
            .iter()
            .map(|target| {
                (
                    (Arc::clone(&shard.addressed.id), target.url().clone()),
                    Arc::clone(target),
                )
            })
            .collect();
        let targets = urls
            .iter()
            .map(|url| target(&self.hosts, self.protocol, &known, &shard.addressed.id, url));
        tracing::info!(fanout = %self.name, shard = %shard.addressed.id, replicas = urls.len(), "replicas changed");
        *replicas = Arc::new(Replicas::new(targets.collect(), urls.len() as u64));
    }
}

async fn upkeep(fanout: Weak<Fanout>) {
    let mut tick = tokio::time::interval(UPKEEP_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count = 0_u32;
    loop {
        tick.tick().await;
        // Ends with the fan-out: this task alone does not keep it.
        let Some(fanout) = fanout.upgrade() else {
            return;
        };
        if count == 0 {
            fanout.found().await;
        } else if count.is_multiple_of(RESOLVE_UPKEEPS) {
            fanout.resolve().await;
        }
        count = count.wrapping_add(1);
        fanout.upkeep();
    }
}

fn target(
    hosts: &Hosts,
    protocol: Protocol,
    known: &BTreeMap<(Arc<str>, LeafUrl), Arc<Target>>,
    shard: &str,
    url: &LeafUrl,
) -> Arc<Target> {
    match known.get(&(Arc::from(shard), url.clone())) {
        Some(target) => Arc::clone(target),
        None => Arc::new(Target::new(url.clone(), hosts.host(url, protocol))),
    }
}

/// The budgets, those of before if they are the same: a new definition is no new allowance.
fn budgets(spec: &FanoutSpec, before: Option<&Fanout>) -> (Arc<Budget>, Arc<Budget>) {
    if let Some(before) = before
        && before.spec.retry == spec.retry
        && before.spec.hedge == spec.hedge
    {
        return (Arc::clone(&before.hedges), Arc::clone(&before.retries));
    }
    let share = |part: f64| Share::of(part).unwrap_or(Share::ZERO);
    let hedges = match &spec.hedge {
        Some(hedge) => Budget::new(share(hedge.budget), hedge.burst),
        None => Budget::new(Share::ZERO, 0),
    };
    let retries = Budget::new(share(spec.retry.budget), spec.retry.burst);
    (Arc::new(hedges), Arc::new(retries))
}

fn merger(spec: &FanoutSpec, hosts: &Hosts) -> Result<Arc<dyn Merger>, Error> {
    let (options, call): (_, fn(_, _, _) -> Arc<dyn MergeCall>) = match &spec.merge {
        MergeSpec::Http(options) => (options, |hosts, url, bytes| {
            Arc::new(HttpMerge::new(hosts, url, bytes))
        }),
        MergeSpec::Grpc(options) => (options, |hosts, url, bytes| {
            Arc::new(GrpcMerge::new(hosts, url, bytes))
        }),
        builtin => {
            return match builtin.merger() {
                Some(builtin) => Ok(Arc::new(builtin)),
                None => Err(Error::invalid("merge: this merger cannot be used here")),
            };
        }
    };
    let url = LeafUrl::parse(&options.url).map_err(|error| Error::invalid(error.to_string()))?;
    let call = call(hosts, url, spec.limits.merge_bytes);
    Ok(Arc::new(External::new(call, options.pure)))
}

impl Prepared {
    fn of(spec: &FanoutSpec) -> Result<Self, Error> {
        let template = |text: &String| {
            Template::parse(text).map_err(|error| Error::invalid(format!("request: {error}")))
        };
        let name = |text: &String| {
            HeaderName::try_from(text.as_str()).map_err(|e| Error::invalid(format!("request: {e}")))
        };
        let request = &spec.request;
        let mut headers = Vec::new();
        for (key, value) in &request.headers {
            headers.push((name(key)?, template(value)?));
        }
        Ok(Self {
            path: request.path.as_ref().map(template).transpose()?,
            body: request.body.as_ref().map(template).transpose()?,
            headers,
            forward: request
                .forward_headers
                .iter()
                .map(name)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether leaves are sent what came.
    pub(super) fn is_plain(&self) -> bool {
        self.path.is_none() && self.body.is_none() && self.headers.is_empty()
    }

    /// The headers, filled. What cannot be a value is left empty.
    pub(super) fn fill(
        &self,
        values: &crate::definition::Values<'_>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let filled = self.headers.iter().map(|(name, template)| {
            let value = HeaderValue::from_str(&template.header(values));
            (
                name.clone(),
                value.unwrap_or_else(|_| HeaderValue::from_static("")),
            )
        });
        filled.collect()
    }
}
