//! Experiments: many requests over simulated servers, with what the closed form says beside them.

use super::drive::{Answer, Call, Leaves, drive};
use super::rng::Rng;
use super::tail::Latency;
use crate::gather::{
    Budget, Budgets, HedgePolicy, MapId, Plan, Replica, ReplicaSet, ShardIndex, ShardPlan, Share,
    Sketch, Told, Trigger,
};
use quorate_core::types::Mono;
use std::sync::Arc;
use std::time::Duration;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Shards of a request.
    pub shards: u32,
    /// Servers they lie on; replica r of shard s is on server (s + r × a third of them).
    pub servers: u32,
    /// Replicas of a shard.
    pub replicas: u8,
    /// How long an answer takes.
    pub latency: Latency,
    /// The policy.
    pub hedge: Option<HedgePolicy>,
    /// Hedges for each call.
    pub budget: Share,
    /// Hedges saved up.
    pub burst: u32,
    /// Time from one request to the next. They do not wait for each other.
    pub gap: Duration,
    /// Requests before any is counted, so that quantiles are known.
    pub warm_up: u32,
    /// Requests that count.
    pub requests: u32,
    /// From then on every answer takes so many times as long.
    pub slower: Option<(Duration, f64)>,
    /// Everything follows from it.
    pub seed: u64,
}

impl Setting {
    /// One call to one server every millisecond, not hedged, with the usual budget.
    pub fn new(latency: Latency, seed: u64) -> Self {
        Self {
            shards: 1,
            servers: 1,
            replicas: 1,
            latency,
            hedge: None,
            budget: Share::ppm(50_000),
            burst: 10,
            gap: Duration::from_millis(1),
            warm_up: 0,
            requests: 1,
            slower: None,
            seed,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Times of the requests in milliseconds, sorted.
    pub times_ms: Vec<f64>,
    /// Calls and hedges, by the second (of simulated time) in which their request began.
    pub seconds: Vec<(u64, u64)>,
    /// Requests that were not complete.
    pub incomplete: u64,
}

impl Found {
    /// Hedges for each other call, of the requests that began within these seconds.
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn extra(&self, seconds: std::ops::Range<usize>) -> f64 {
        let end = seconds.end.min(self.seconds.len());
        let within = self.seconds.get(seconds.start..end).unwrap_or_default();
        let (sends, hedges) = within
            .iter()
            .fold((0, 0), |sum, s| (sum.0 + s.0, sum.1 + s.1));
        hedges as f64 / (sends - hedges).max(1) as f64
    }
}

/// How often a server's quantiles are computed anew.
const REFRESH: Duration = Duration::from_millis(100);

struct Server {
    sketch: Sketch,
    p50: Duration,
    late_after: Option<Duration>,
    fresh: Mono,
}

struct World<'a> {
    setting: &'a Setting,
    servers: Vec<Server>,
    request: u64,
    slower: f64,
    quantile: Share,
}

impl World<'_> {
    fn server(&self, shard: ShardIndex, replica: Replica) -> usize {
        let servers = self.setting.servers;
        let apart = (servers / u32::from(self.setting.replicas)).max(1);
        ((shard.0 + u32::from(replica.0) * apart) % servers) as usize
    }
}

impl Leaves for World<'_> {
    fn choose(
        &mut self,
        shard: ShardIndex,
        excluded: ReplicaSet,
        now: Mono,
    ) -> Option<(Replica, Duration, Option<Duration>)> {
        let free = |r: &Replica| !excluded.contains(*r);
        // Without load all replicas are alike: begin with another one at each request.
        let replicas = self.setting.replicas;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "below the number of replicas"
        )]
        let first = ((self.request + u64::from(shard.0)) % u64::from(replicas)) as u8;
        let all = (0..replicas).map(|r| Replica((r + first) % replicas));
        let replica = all.clone().find(free)?;
        let place = self.server(shard, replica);
        let server = &mut self.servers[place];
        if now.since(server.fresh) >= REFRESH || server.late_after.is_none() {
            server.fresh = now;
            server.p50 = server
                .sketch
                .quantile(Share::ppm(500_000))
                .unwrap_or_default();
            server.late_after = server.sketch.quantile(self.quantile);
        }
        Some((replica, server.p50, server.late_after))
    }

    fn call(&mut self, call: &Call) -> Option<(Duration, Answer)> {
        let mut rng = Rng::of(&[
            self.setting.seed,
            self.request,
            u64::from(call.shard.0),
            u64::from(call.replica.0),
        ]);
        let took = self.setting.latency.draw(&mut rng).mul_f64(self.slower);
        Some((took, Answer::Reply(Told::Whole)))
    }

    fn ended(&mut self, call: &Call, now: Mono, cancelled: bool) {
        let place = self.server(call.shard, call.replica);
        let sketch = &mut self.servers[place].sketch;
        let took = now.since(call.sent);
        if cancelled {
            sketch.record_censored(took, now);
        } else {
            sketch.record(took, now);
        }
    }
}

/// Runs an experiment.
pub fn run(setting: &Setting) -> Found {
    let start = |request: u32| Mono(0) + setting.gap * request;
    let mut world = World {
        servers: (0..setting.servers)
            .map(|_| Server {
                sketch: Sketch::new(Sketch::WINDOW, Mono(0)),
                p50: Duration::ZERO,
                late_after: None,
                fresh: Mono(0),
            })
            .collect(),
        request: 0,
        slower: 1.0,
        quantile: match setting.hedge.map(|hedge| hedge.trigger) {
            Some(Trigger::Quantile(quantile)) => quantile,
            _ => Share::ppm(950_000),
        },
        setting,
    };
    let hedges = Budget::new(setting.budget, setting.burst);
    let retries = Budget::retries();
    let shards: Arc<[ShardPlan]> =
        vec![ShardPlan::new(setting.replicas); setting.shards as usize].into();
    let mut found = Found::default();
    for request in 0..setting.warm_up + setting.requests {
        let now = start(request);
        let counted = request
            .checked_sub(setting.warm_up)
            .map(|n| setting.gap * n);
        world.request = u64::from(request);
        world.slower = match (setting.slower, counted) {
            (Some((from, factor)), Some(since)) if since >= from => factor,
            _ => 1.0,
        };
        let map = MapId {
            name: Arc::from("simulated"),
            version: 1,
        };
        let plan = Plan {
            hedge: setting.hedge,
            idempotent: true,
            attempts_max: Plan::ATTEMPTS_MAX,
            // Nothing is cut off: the whole tail is to be seen.
            ..Plan::new(map, Arc::clone(&shards), now + Duration::from_secs(3_600))
        };
        let budgets = Budgets {
            hedges: &hedges,
            retries: &retries,
        };
        let ran = drive(plan, now, &mut world, budgets);
        let Some(since) = counted else { continue };
        let second = usize::try_from(since.as_secs()).unwrap_or(usize::MAX);
        if found.seconds.len() <= second {
            found.seconds.resize(second + 1, (0, 0));
        }
        let effort = ran.outcome.accounting.effort;
        found.seconds[second].0 += u64::from(effort.sends);
        found.seconds[second].1 += u64::from(effort.hedges);
        found.incomplete += u64::from(!ran.outcome.complete());
        found.times_ms.push(ran.outcome.elapsed.as_secs_f64() * 1e3);
    }
    found.times_ms.sort_by(f64::total_cmp);
    found
}
