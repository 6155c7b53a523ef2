//! What is counted of a fan-out's requests. The meters are looked up once, when the fan-out starts: a lookup costs
//! as much as a call's bookkeeping.

use crate::gather::{Outcome, Verdict};
use metrics::{Counter, Histogram};

/// The meters of one fan-out.
pub(super) struct Meters {
    complete: Counter,
    partial: Counter,
    failed: Counter,
    seconds: Histogram,
    primary: Counter,
    hedge: Counter,
    retry: Counter,
    hedge_won: Counter,
    denied: Counter,
    fates: [Counter; 5],
}

impl Meters {
    pub(super) fn of(fanout: &str) -> Self {
        let name = fanout.to_owned();
        let requests = |verdict: &'static str| metrics::counter!("quorate_scatter_requests_total", "fanout" => name.clone(), "verdict" => verdict);
        let calls = |kind: &'static str| metrics::counter!("quorate_scatter_calls_total", "fanout" => name.clone(), "kind" => kind);
        let shards = |fate: &'static str| metrics::counter!("quorate_scatter_shards_total", "fanout" => name.clone(), "fate" => fate);
        Self {
            complete: requests("complete"),
            partial: requests("partial"),
            failed: requests("failed"),
            seconds: metrics::histogram!("quorate_scatter_request_seconds", "fanout" => name.clone()),
            primary: calls("primary"),
            hedge: calls("hedge"),
            retry: calls("retry"),
            hedge_won: calls("hedge_won"),
            denied: calls("denied"),
            fates: ["merged", "failed", "timed_out", "skipped", "unneeded"].map(shards),
        }
    }

    pub(super) fn count(&self, outcome: &Outcome) {
        match outcome.verdict {
            Verdict::Complete => self.complete.increment(1),
            Verdict::Partial => self.partial.increment(1),
            Verdict::Failed(_) => self.failed.increment(1),
        }
        self.seconds.record(outcome.elapsed.as_secs_f64());
        let effort = &outcome.accounting.effort;
        let counts = &outcome.accounting.counts;
        let primaries = effort.sends - effort.hedges - effort.retries;
        for (counter, number) in [
            (&self.primary, u64::from(primaries)),
            (&self.hedge, u64::from(effort.hedges)),
            (&self.retry, u64::from(effort.retries)),
            (&self.hedge_won, u64::from(effort.hedges_won)),
            (&self.denied, u64::from(effort.denied)),
            (&self.fates[0], counts.merged),
            (&self.fates[1], counts.failed),
            (&self.fates[2], counts.timed_out),
            (&self.fates[3], counts.skipped),
            (&self.fates[4], counts.unneeded),
        ] {
            if number > 0 {
                counter.increment(number);
            }
        }
    }
}
