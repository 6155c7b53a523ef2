//! One replica of one shard of one fan-out: where it is, how fast it answers, how healthy it is.
//!
//! All that a call touches are a few atomic numbers; histograms and judgement are for the upkeep.

use super::address::LeafUrl;
use super::call::{Call, CallError, Reply};
use super::ejection::{Health, Verdict};
use super::host::Host;
use super::samples::{Sample, Samples};
use crate::gather::{Reason, Share, Sketch};
use http::uri::PathAndQuery;
use quorate_core::clock::monotonic;
use quorate_core::types::Mono;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How fast the moving average forgets.
const DECAY: Duration = Duration::from_secs(10);
/// What a failure counts as, at least: a replica that fails in a millisecond must not look fast.
const PENALTY: Duration = Duration::from_secs(1);
/// And relative to how fast it is otherwise.
const PENALTY_FACTOR: f64 = 10.0;
/// The average a replica begins with: it is tried, and not flooded.
const BEGIN: Duration = Duration::from_millis(1);

/// See the module.
#[derive(Debug)]
pub struct Target {
    url: LeafUrl,
    /// The URL as answers name it, and as the path of a request.
    name: Arc<str>,
    path: PathAndQuery,
    host: Arc<Host>,
    in_flight: AtomicU32,
    /// Microseconds as the bits of a double.
    average: AtomicU64,
    /// When the average was last changed, in nanoseconds of the monotonic clock.
    changed: AtomicU64,
    samples: Samples,
    sketch: Mutex<Sketch>,
    /// Published by the upkeep, in microseconds; zero is unknown.
    p50: AtomicU64,
    p95: AtomicU64,
    p99: AtomicU64,
    late: AtomicU64,
    pub(super) health: Health,
    pub(super) shadowed: AtomicBool,
    calls: AtomicU64,
    failures: AtomicU64,
}

/// How a target stands, for choosing.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It gets calls.
    Healthy,
    /// It gets none, unless no other replica of its shard is left.
    Ejected,
    /// It gets copies of calls, whose answers are thrown away, until enough succeed.
    Probation,
}

/// What is known of a target, for people.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Serialize)]
pub struct TargetView {
    /// Its URL.
    pub url: String,
    /// How it stands.
    pub health: Condition,
    /// Failures in a row.
    pub failures_in_a_row: u32,
    /// How often it was ejected.
    pub ejections: u64,
    /// Calls under way.
    pub in_flight: u32,
    /// Calls that ended by themselves.
    pub calls: u64,
    /// Of them failed.
    pub failures: u64,
    /// The moving average that choices are made by, failures penalised.
    pub average_us: u64,
    /// Median latency; null while too little is known.
    pub p50_us: Option<u64>,
    /// The 95th percentile.
    pub p95_us: Option<u64>,
    /// The 99th percentile.
    pub p99_us: Option<u64>,
    /// After so long a call is late, by the fan-out's quantile.
    pub late_after_us: Option<u64>,
    /// Open connections of its host.
    pub connections: usize,
}

impl Target {
    /// A replica nothing is known of.
    pub fn new(url: LeafUrl, host: Arc<Host>) -> Self {
        let now = monotonic();
        Self {
            name: url.to_string().into(),
            path: url.path(),
            url,
            host,
            in_flight: AtomicU32::new(0),
            average: AtomicU64::new((BEGIN.as_secs_f64() * 1e6).to_bits()),
            changed: AtomicU64::new(now.0),
            samples: Samples::new(),
            sketch: Mutex::new(Sketch::new(Sketch::WINDOW, now)),
            p50: AtomicU64::new(0),
            p95: AtomicU64::new(0),
            p99: AtomicU64::new(0),
            late: AtomicU64::new(0),
            health: Health::default(),
            shadowed: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// Where it is.
    pub fn url(&self) -> &LeafUrl {
        &self.url
    }

    /// Whether it is a leaf of this process.
    pub(crate) fn is_local(&self) -> bool {
        self.host.is_local()
    }

    #[cfg(test)]
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// The same in words.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The path of its URL, as a request has it.
    pub fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// How it stands.
    pub fn condition(&self) -> Condition {
        self.health.condition()
    }

    /// Its median latency, zero while unknown.
    pub fn p50(&self) -> Duration {
        Duration::from_micros(self.p50.load(Ordering::Relaxed))
    }

    /// When a call is late, if enough is known.
    pub fn late_after(&self) -> Option<Duration> {
        known(&self.late).map(Duration::from_micros)
    }

    /// What choosing it costs: its average, for each call it would have.
    pub fn cost(&self, now: Mono) -> f64 {
        let waiting = f64::from(self.in_flight.load(Ordering::Relaxed)) + 1.0;
        self.average_us(now) * waiting
    }

    /// A call that counts: its time since it was sent and its failure are remembered, also when it is dropped.
    pub async fn call(&self, call: &Call, sent: Mono) -> Result<Reply, CallError> {
        let mut timing = Timing::begin(self, sent);
        let outcome = self.host.call(call).await;
        timing.end(match &outcome {
            Ok(reply) => status_failure(reply.status.as_u16()),
            Err(error) => Some(error.reason),
        });
        outcome
    }

    /// A copy of a call for probation. Its time is remembered, its answer is not wanted.
    pub(super) async fn shadow(&self, call: &Call, within: Duration) {
        let outcome = tokio::time::timeout(within, self.host.call(call)).await;
        let good =
            matches!(&outcome, Ok(Ok(reply)) if status_failure(reply.status.as_u16()).is_none());
        self.health.shadow(good, monotonic());
    }

    /// An answer that arrived was no use to the merger.
    pub fn disappointed(&self) {
        self.penalise(monotonic());
        self.health.failed();
    }

    fn average_us(&self, now: Mono) -> f64 {
        let average = f64::from_bits(self.average.load(Ordering::Relaxed));
        let age = now.since(Mono(self.changed.load(Ordering::Relaxed)));
        // Without calls the average sinks, so that a replica that was slow is tried again some time.
        average * (-age.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }

    /// A higher value counts at once, a lower one bit by bit.
    fn observe(&self, took: Duration, now: Mono) {
        let took = took.as_secs_f64() * 1e6;
        let average = f64::from_bits(self.average.load(Ordering::Relaxed));
        let age = now.since(Mono(self.changed.swap(now.0, Ordering::Relaxed)));
        let keep = (-age.as_secs_f64() / DECAY.as_secs_f64()).exp().min(0.98);
        let next = if took > average {
            average + (took - average) * 0.5
        } else {
            average * keep + took * (1.0 - keep)
        };
        // Two calls that end at once may lose one of their changes: the next one makes up for it.
        self.average.store(next.to_bits(), Ordering::Relaxed);
    }

    fn penalise(&self, now: Mono) {
        let average = f64::from_bits(self.average.load(Ordering::Relaxed));
        let penalty = (PENALTY.as_secs_f64() * 1e6).max(average * PENALTY_FACTOR);
        let penalty = penalty.min(60e6);
        self.changed.store(now.0, Ordering::Relaxed);
        self.average
            .store(average.max(penalty).to_bits(), Ordering::Relaxed);
    }

    /// Folds in what calls have left, publishes quantiles, and moves on an ejection that has lasted
    /// long enough. `late` is the quantile after which a call is late.
    pub(super) fn upkeep(&self, late: Share, now: Mono) -> Verdict {
        if !self.samples.has_news() {
            return self.health.upkeep(now);
        }
        let mut sketch = self.sketch.lock().unwrap_or_else(PoisonError::into_inner);
        self.samples.drain(|sample| {
            if sample.censored {
                sketch.record_censored(sample.took, now);
            } else {
                sketch.record(sample.took, now);
            }
        });
        let cells = [&self.p50, &self.p95, &self.p99, &self.late];
        let shares = [500_000, 950_000, 990_000].map(Share::ppm);
        let shares = [shares[0], shares[1], shares[2], late];
        for (cell, found) in cells.into_iter().zip(sketch.quantiles(shares)) {
            let micros = found.map_or(0, |q| u64::try_from(q.as_micros()).unwrap_or(u64::MAX));
            cell.store(micros, Ordering::Relaxed);
        }
        self.health.upkeep(now)
    }

    /// What is known of it.
    pub fn view(&self) -> TargetView {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an average of times is positive, and the penalty bounds it"
        )]
        let average_us = self.average_us(monotonic()) as u64;
        TargetView {
            url: self.url.to_string(),
            health: self.condition(),
            failures_in_a_row: self.health.failures(),
            ejections: self.health.ejections(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            average_us,
            p50_us: known(&self.p50),
            p95_us: known(&self.p95),
            p99_us: known(&self.p99),
            late_after_us: known(&self.late),
            connections: self.host.connections(),
        }
    }
}

fn known(cell: &AtomicU64) -> Option<u64> {
    Some(cell.load(Ordering::Relaxed)).filter(|micros| *micros > 0)
}

/// Whether a status speaks against the replica. One below 500 is about the request.
fn status_failure(status: u16) -> Option<Reason> {
    match status {
        429 | 503 => Some(Reason::Pushback),
        status if status >= 500 => Some(Reason::Status(status)),
        _ => None,
    }
}

/// Measures one call, also if it is dropped.
struct Timing<'a> {
    target: &'a Target,
    begin: Mono,
    ended: bool,
}

impl<'a> Timing<'a> {
    fn begin(target: &'a Target, begin: Mono) -> Self {
        target.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            target,
            begin,
            ended: false,
        }
    }

    fn end(&mut self, failure: Option<Reason>) {
        self.ended = true;
        let now = monotonic();
        let took = now.since(self.begin);
        let target = self.target;
        target.calls.fetch_add(1, Ordering::Relaxed);
        match failure {
            None => {
                target.observe(took, now);
                target.samples.put(Sample {
                    took,
                    censored: false,
                });
                target.health.succeeded();
            }
            // Busy is not broken: it gets fewer calls and stays.
            Some(Reason::Pushback) => {
                target.failures.fetch_add(1, Ordering::Relaxed);
                target.penalise(now);
            }
            // Nothing of the replica's: the request was wrong, or the answer too large for our bounds.
            Some(Reason::Status(status)) if status < 500 => target.health.succeeded(),
            Some(Reason::TooLarge | Reason::RequestBytes) => {}
            Some(_) => {
                target.failures.fetch_add(1, Ordering::Relaxed);
                target.penalise(now);
                target.health.failed();
            }
        }
    }
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        let target = self.target;
        target.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.ended {
            return;
        }
        // Given up: it would have taken longer than this. That makes a replica that hangs look slow,
        // and one that lost a race by a little does not suffer.
        let now = monotonic();
        let lasted = now.since(self.begin);
        target.samples.put(Sample {
            took: lasted,
            censored: true,
        });
        let average = f64::from_bits(target.average.load(Ordering::Relaxed));
        if lasted.as_secs_f64() * 1e6 > average {
            target.observe(lasted, now);
            target.health.hung(lasted, target.p50());
        }
    }
}
