//! What must hold of each call that is sent.

use super::{Attempt, Check, Event, World};
use crate::gather::{Kind, Replica, Trigger};
use std::collections::BTreeSet;
use std::time::Duration;

impl World<'_> {
    pub(super) fn sent(
        &mut self,
        attempt: u32,
        shard: u32,
        replica: Replica,
        kind: Kind,
        remaining: Duration,
    ) -> Check {
        let plan = &self.scenario.plan;
        must!(self.outcome.is_none(), "a call after the answer");
        must!(
            self.chosen.get(&attempt) == Some(&replica),
            "another replica than chosen"
        );
        must!(
            !plan.shards[shard as usize].skip,
            "a skipped shard was asked"
        );
        must!(
            !self.merged.contains_key(&shard),
            "a merged shard was asked"
        );
        must!(
            remaining == plan.cutoff().since(self.now),
            "the remainder is wrong"
        );
        must!(!remaining.is_zero(), "a call without time");
        let flying = self.attempts.values().filter(|a| a.live).count();
        must!(flying < plan.caps.calls as usize, "more calls than the cap");
        let together = self.attempts.values().any(|a| a.live && a.shard == shard);
        let (calls, replicas) = self.sends.entry(shard).or_default();
        *calls += 1;
        must!(
            replicas.insert(replica),
            "shard {shard}: {replica:?} was asked twice"
        );
        must!(*calls <= plan.attempts_max, "more attempts than allowed");
        must!(
            *calls == 1 || plan.idempotent,
            "a second call that may not be made"
        );
        must!(
            (*calls == 1) == (kind == Kind::Primary),
            "a call of the wrong kind"
        );
        let slow = remaining < Duration::from_micros(self.scenario.p50_us);
        must!(
            kind == Kind::Primary || !slow,
            "a second call with no time for it"
        );
        match kind {
            Kind::Primary => self.primaries += 1,
            Kind::Retry => {
                must!(!together, "a retry while an attempt is under way");
                self.retried += 1;
                self.within_budget("retries", self.retried)?;
            }
            Kind::Hedge => {
                self.hedged += 1;
                self.within_budget("hedges", self.hedged)?;
                must!(!self.pushback, "a hedge after pushback");
                must!(together, "a hedge with nothing to hedge");
                self.hedge_is_due(shard)?;
            }
        }
        let act = self.scenario.script[self.acts % self.scenario.script.len()].clone();
        self.acts += 1;
        self.at(act.after_us / 2, Event::Drip(attempt));
        self.at(act.after_us, Event::End(attempt));
        let sent = self.now;
        self.attempts.insert(
            attempt,
            Attempt {
                shard,
                kind,
                sent,
                replica,
                act,
                live: true,
            },
        );
        Ok(())
    }

    fn within_budget(&self, what: &str, used: u64) -> Check {
        let earned = self.primaries * u64::from(self.scenario.ratio.as_ppm());
        let allowed = u64::from(self.scenario.burst) * 1_000_000 + earned;
        must!(
            used * 1_000_000 <= allowed,
            "{used} {what} are over the budget"
        );
        Ok(())
    }

    fn late_after(&self, attempt: &Attempt) -> Option<Duration> {
        let hedge = self.scenario.plan.hedge?;
        let late = match hedge.trigger {
            Trigger::Delay(delay) => Some(delay),
            Trigger::Quantile(_) => self.scenario.late_after_us[usize::from(attempt.replica.0)]
                .map(Duration::from_micros),
        };
        late.map(|late| late.max(hedge.delay_min))
    }

    fn hedge_is_due(&mut self, shard: u32) -> Check {
        let Some(hedge) = self.scenario.plan.hedge else {
            return Err("a hedge that the plan does not have".to_owned());
        };
        let of_shard = |a: &&Attempt| a.shard == shard;
        let hedges = self
            .attempts
            .values()
            .filter(of_shard)
            .filter(|a| a.kind == Kind::Hedge);
        must!(
            hedges.count() < usize::from(hedge.hedges_max),
            "more hedges than allowed"
        );
        let late = self
            .attempts
            .values()
            .filter(|a| a.live)
            .filter(|a| {
                self.late_after(a)
                    .is_some_and(|l| self.now.since(a.sent) >= l)
            })
            .map(|a| a.shard)
            .collect::<BTreeSet<_>>();
        must!(
            late.contains(&shard),
            "a hedge for a shard that is not late"
        );
        // The engine also counts what can no longer be hedged; what it must not do is hedge with more
        // than this late at one time, of shards that it could hedge.
        let hedgeable = |s: &u32| {
            let spec = &self.scenario.plan.shards[*s as usize];
            let (calls, replicas) = &self.sends[s];
            let more = *calls < self.scenario.plan.attempts_max
                && replicas.len() < usize::from(spec.replicas);
            more || *s == shard
        };
        self.late = late.into_iter().filter(hedgeable).collect();
        let shards = self.scenario.plan.shards.len() as u64;
        let most = hedge.late_together_max.part(shards).max(1);
        must!(
            self.late.len() as u64 <= most,
            "a hedge with {} shards late",
            self.late.len()
        );
        Ok(())
    }
}
