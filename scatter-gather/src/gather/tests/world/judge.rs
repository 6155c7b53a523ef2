//! What must hold of each answer that is merged, and of the end.

use super::{Check, START_US, World, value};
use crate::gather::{Failure, Fate, Input, Outcome, Plan, Reason, Share, Told, Verdict};
use quorate_core::types::Mono;
use std::time::Duration;

impl World<'_> {
    pub(super) fn accepted(&mut self, attempt: u32, shard: u32) -> Result<Input, String> {
        let id = crate::gather::AttemptId(attempt);
        let told = self
            .staged
            .remove(&attempt)
            .ok_or("accepted without an answer")?;
        must!(self.outcome.is_none(), "merged after the answer");
        must!(
            !self.merged.contains_key(&shard),
            "shard {shard} was merged twice"
        );
        if self.attempts[&attempt].act.refused {
            return Ok(Input::Refused {
                attempt: id,
                reason: Reason::Nonsense,
            });
        }
        let mut partial = told == Told::Partial;
        if let Told::Nested(nested) = told {
            partial = nested.partial || nested.leaves.planned != nested.leaves.merged;
            let version = nested.covered[0].map.version;
            if !nested.covered[0].shards.is_empty() {
                let before = *self.inner_version.get_or_insert(version);
                must!(before == version, "two versions of one map were added");
            }
            for leaf in &nested.covered[0].shards {
                must!(
                    self.inner.insert(leaf.parse().unwrap()),
                    "leaf {leaf} counts twice"
                );
            }
        }
        self.merged.insert(shard, (partial, value(shard)));
        self.sum += value(shard);
        Ok(Input::Merged { attempt: id })
    }

    pub(super) fn finished(&mut self, outcome: Outcome) -> Check {
        must!(self.outcome.is_none(), "a second answer");
        for (number, attempt) in &self.attempts {
            must!(!attempt.live, "attempt {number} goes on after the answer");
        }
        self.unjustified.clear();
        self.outcome = Some((outcome, self.now));
        Ok(())
    }

    pub(super) fn judge(&self, outcome: &Outcome, end: Mono) -> Check {
        let plan = &self.scenario.plan;
        let account = &outcome.accounting;
        let late = end.since(plan.cutoff());
        let lag = Duration::from_micros(self.scenario.timer_lag_us + 1);
        let early = plan.cutoff() > Mono(START_US * 1_000);
        must!(
            !early || late <= lag,
            "the answer came {late:?} after the cutoff"
        );
        must!(account.counts.adds_up(), "the account does not add up");
        must!(
            account.shards.len() == plan.shards.len(),
            "a shard is missing in the account"
        );
        must!(self.gather.open_attempts() == 0, "calls are left over");
        let mut sum = 0;
        for (shard, line) in (0_u32..).zip(&account.shards) {
            let here = self.merged.get(&shard);
            must!(
                (line.fate == Fate::Merged) == here.is_some(),
                "shard {shard}: {line:?}, merger: {here:?}"
            );
            must!(
                line.reason.is_none() == here.is_some(),
                "shard {shard} without a reason"
            );
            must!(
                here.is_none_or(|h| h.0 == line.partial),
                "shard {shard}: whose part is missing?"
            );
            let sends = self.sends.get(&shard).map_or(0, |s| s.0);
            must!(
                line.attempts == sends,
                "shard {shard} had {sends} calls, not {}",
                line.attempts
            );
            must!(
                line.fate != Fate::Skipped || sends == 0,
                "shard {shard} was asked and is called skipped"
            );
            must!(
                line.fate != Fate::Skipped
                    || matches!(
                        line.reason,
                        Some(Reason::NoMatch | Reason::Deadline | Reason::Canary)
                    ),
                "shard {shard} was not needed and is called skipped: {line:?}"
            );
            if line.fate == Fate::Merged {
                sum += value(shard);
            }
        }
        must!(
            sum == self.sum,
            "the sum is {} and should be {sum}",
            self.sum
        );
        let whole = self.merged.len() == plan.shards.len() && self.merged.values().all(|m| !m.0);
        must!(outcome.complete() <= whole, "complete with a hole");
        must!(
            !self.merged.is_empty() || matches!(outcome.verdict, Verdict::Failed(_)),
            "an answer of nothing"
        );
        self.judge_canary(plan, outcome)?;
        self.judge_policy(plan, outcome)
    }

    /// A canary that died or hung is the last that was asked.
    fn judge_canary(&self, plan: &Plan, outcome: &Outcome) -> Check {
        let Some(canary) = plan.canary else {
            return Ok(());
        };
        let lines = plan.shards.iter().zip(&outcome.accounting.shards);
        let canaries = u32::from(canary.shards).min(plan.caps.calls) as usize;
        let crashed = lines
            .filter(|(shard, _)| !shard.skip)
            .take(canaries)
            .any(|(_, line)| {
                matches!(line.fate, Fate::Failed | Fate::TimedOut)
                    && line.reason.is_some_and(Reason::crash)
            });
        let asked = self.sends.len();
        must!(
            !crashed || asked <= canaries,
            "{asked} shards were asked although the canary died"
        );
        Ok(())
    }

    fn judge_policy(&self, plan: &Plan, outcome: &Outcome) -> Check {
        let enough = self.enough(plan);
        match outcome.verdict {
            Verdict::Complete | Verdict::Partial => must!(enough, "less than the policy asks for"),
            Verdict::Failed(Failure::Canary) => {
                let canary = plan.canary.ok_or("a canary failed that was not sent")?;
                let hung = outcome.elapsed >= canary.timeout || plan.attempt_timeout.is_some();
                must!(self.crashed_canary || hung, "the canary lives");
                let asked = self.sends.len();
                must!(
                    asked <= usize::from(canary.shards),
                    "{asked} shards were asked"
                );
            }
            Verdict::Failed(Failure::Cancelled) => {
                must!(self.scenario.cancel_us.is_some(), "cancelled by nobody");
            }
            Verdict::Failed(_) => must!(!enough, "an error although the policy is met"),
        }
        Ok(())
    }

    fn enough(&self, plan: &Plan) -> bool {
        let shards = plan.shards.iter().zip(0_u32..);
        let has = |i: &u32| self.merged.contains_key(i);
        let weight = |all: bool| -> u64 {
            let counted = shards.clone().filter(|(_, i)| all || has(i));
            counted.map(|(s, _)| u64::from(s.weight)).sum()
        };
        let required = shards.clone().all(|(s, i)| !s.required || has(&i));
        let (merged, policy) = (self.merged.len(), plan.policy);
        let floor = if policy == crate::gather::Policy::ALL {
            plan.shards.len()
        } else if let Some(quorum) = policy.quorum {
            quorum as usize
        } else if policy.coverage.is_none() && !policy.until_deadline {
            policy.first.map_or(1, |first| first as usize)
        } else {
            1
        };
        let min = policy.coverage.map_or(Share::ZERO, |c| c.min);
        required && merged >= floor && weight(false) >= min.part_up(weight(true))
    }
}
