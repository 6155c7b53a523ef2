//! The fate of each shard, whether the policy is met, and the end.

use super::rows::{Stage, State};
use super::{Gather, Phase, Why};
use crate::gather::accounting::{Accounting, Counts, Fate, Outcome, ShardReport, Verdict};
use crate::gather::ids::{AttemptId, ShardIndex};
use crate::gather::output::Output;
use crate::gather::planted::{self, Bug};
use crate::gather::reason::Reason;
use quorate_core::types::Mono;

impl Gather {
    /// Writes down the fate of a shard.
    pub(super) fn settle(&mut self, now: Mono, shard: u32, fate: Fate, reason: Option<Reason>) {
        let slot = &mut self.slots[shard as usize];
        debug_assert!(
            !matches!(slot.stage, Stage::Final(_)),
            "a shard has one fate"
        );
        let asked = slot.stage != Stage::Idle;
        slot.stage = Stage::Final(fate);
        slot.reason = reason;
        slot.elapsed = now.since(self.started);
        if asked {
            self.tally.open -= 1;
        } else {
            self.tally.idle -= 1;
        }
        let plan = &self.plan.shards[shard as usize];
        let weight = u64::from(plan.weight);
        if fate == Fate::Merged {
            self.tally.merged += 1;
            self.tally.merged_weight += weight;
            self.tally.partial += u32::from(slot.partial);
            self.tally.required_missing -= u32::from(plan.required);
        } else {
            self.tally.lost += 1;
            self.tally.lost_weight += weight;
            self.tally.required_lost += u32::from(plan.required);
        }
        if asked {
            self.canary_settled(fate, reason);
        }
    }

    /// Looks whether the request is over, after something has changed.
    pub(super) fn judge(&mut self, now: Mono, out: &mut Vec<Output>) {
        if self.phase != Phase::Running {
            self.finish_if_closed(now, out);
            return;
        }
        let t = self.tally;
        if now >= self.cutoff && !self.deadline_slips() {
            self.close(now, Why::Deadline, out);
        } else if self.canary_out && self.canary_crashed && !planted::on(Bug::CanaryIgnored) {
            self.close(now, Why::Canary, out);
        } else if t.merged + t.lost == t.shards {
            self.close(now, Why::AllFinal, out);
        } else if !self.floors_reachable() {
            self.close(now, Why::OutOfReach, out);
        } else if self.floors_met() && self.may_stop(now) {
            self.close(now, Why::PolicyMet, out);
        } else if self.canary_out && self.canary_left == 0 {
            self.canary_out = false;
            self.ask_idle(out);
        }
    }

    /// What an answer must have, with these shards and this weight.
    fn suffices(&self, merged: u32, weight: u64) -> bool {
        let policy = &self.plan.policy;
        if merged == 0 {
            return false;
        }
        if policy.is_all() {
            return merged == self.tally.shards;
        }
        let floor = match (policy.quorum, policy.coverage, policy.first) {
            (None, None, Some(first)) if !policy.until_deadline => first,
            (quorum, _, _) => quorum.unwrap_or(1),
        };
        let covered = policy
            .coverage
            .is_none_or(|coverage| weight >= coverage.min.part_up(self.tally.weight));
        merged >= floor && covered
    }

    pub(super) fn floors_met(&self) -> bool {
        self.tally.required_missing == 0
            && self.suffices(self.tally.merged, self.tally.merged_weight)
    }

    fn floors_reachable(&self) -> bool {
        let t = &self.tally;
        t.required_lost == 0 && self.suffices(t.shards - t.lost, t.weight - t.lost_weight)
    }

    /// With all floors met: whether to stop although shards are out.
    fn may_stop(&mut self, now: Mono) -> bool {
        let policy = self.plan.policy;
        let met = *self.met.get_or_insert(now);
        if policy.first.is_some_and(|first| self.tally.merged >= first) {
            return true;
        }
        if policy.until_deadline {
            return false;
        }
        let Some(coverage) = policy.coverage else {
            return policy.quorum.is_some() && policy.first.is_none();
        };
        let t = &self.tally;
        let missing = t.weight - t.merged_weight - t.lost_weight;
        let missable = t.weight - coverage.min.part_up(t.weight);
        let left = u64::try_from(self.cutoff.since(met).as_nanos()).unwrap_or(u64::MAX);
        let (min, max) = (coverage.wait_min.part(left), coverage.wait_max.part(left));
        let slope = u128::from(max.saturating_sub(min)) * u128::from(missing.min(missable))
            / u128::from(missable.max(1));
        let wait = min.saturating_add(u64::try_from(slope).unwrap_or(u64::MAX));
        let until = Mono(met.0.saturating_add(wait));
        self.wait_until = Some(until);
        now >= until
    }

    pub(super) fn deadline_slips(&self) -> bool {
        planted::on(Bug::DeadlineSlips) && self.open_attempts > 0
    }

    /// Nothing more is accepted; the end comes when the merger has answered for what it holds.
    pub(super) fn close(&mut self, now: Mono, why: Why, out: &mut Vec<Output>) {
        if matches!(self.phase, Phase::New | Phase::Running) {
            self.phase = Phase::Closing(why);
        }
        self.finish_if_closed(now, out);
    }

    pub(super) fn finish_if_closed(&mut self, now: Mono, out: &mut Vec<Output>) {
        if let Phase::Closing(why) = self.phase
            && self.accepting == 0
        {
            self.finish(now, why, out);
        }
    }

    fn finish(&mut self, now: Mono, why: Why, out: &mut Vec<Output>) {
        self.phase = Phase::Done;
        for (i, row) in (0..).zip(&mut self.rows) {
            if row.state == State::Flying {
                out.push(Output::Cancel {
                    attempt: AttemptId(i),
                    shard: ShardIndex(row.shard),
                });
            }
            row.state = State::Gone;
        }
        self.open_attempts = 0;
        self.bytes = 0;
        for shard in 0..self.tally.shards {
            let slot = self.slots[shard as usize];
            if let Stage::Final(_) = slot.stage {
                continue;
            }
            let (fate, reason) = match (why, slot.stage) {
                (Why::Canary | Why::Deadline, Stage::Idle) if self.canary_out => {
                    (Fate::Skipped, Reason::Canary)
                }
                // It waited for room and was never asked.
                (Why::Deadline, Stage::Idle) => (Fate::Skipped, Reason::Deadline),
                (Why::Deadline, _) => (Fate::TimedOut, Reason::Deadline),
                (Why::PolicyMet, _) => (Fate::Unneeded, Reason::PolicyMet),
                (Why::Cancelled, _) => (Fate::Unneeded, Reason::Cancelled),
                (Why::AllFinal | Why::OutOfReach | Why::Canary, _) => {
                    (Fate::Unneeded, Reason::OutOfReach)
                }
            };
            self.settle(now, shard, fate, Some(reason));
        }
        let verdict = self.verdict(why);
        out.push(Output::Finish(Box::new(Outcome {
            verdict,
            accounting: self.accounting(),
            elapsed: now.since(self.started),
        })));
    }

    fn verdict(&self, why: Why) -> Verdict {
        let t = &self.tally;
        let ended = matches!(why, Why::Canary | Why::Cancelled);
        if ended || !self.floors_met() {
            return Verdict::Failed(Self::failure(why));
        }
        let whole = t.merged == t.shards && t.partial == 0;
        if whole || planted::on(Bug::HoleIsComplete) {
            Verdict::Complete
        } else {
            Verdict::Partial
        }
    }

    fn accounting(&mut self) -> Accounting {
        let mut counts = Counts::default();
        let mut leaves = Counts::default();
        let mut shards = Vec::with_capacity(self.slots.len());
        for (i, slot) in (0..).zip(&self.slots) {
            let Stage::Final(fate) = slot.stage else {
                unreachable!("every shard was settled just before")
            };
            counts.add(fate);
            match self.nested.get(&i) {
                Some(nested) if fate == Fate::Merged => leaves += nested.leaves,
                _ => leaves.add(fate),
            }
            shards.push(ShardReport {
                fate,
                reason: slot.reason,
                partial: slot.partial,
                attempts: slot.attempts,
                hedges: slot.hedges,
                replica: slot.replica,
                elapsed: slot.elapsed,
            });
        }
        assert!(
            counts.adds_up() && counts.planned == self.plan.shards.len() as u64,
            "the account of a request adds up: {counts:?}"
        );
        Accounting {
            map: self.plan.map.clone(),
            counts,
            leaves,
            covered: std::mem::take(&mut self.cover).into_covered(),
            shards,
            effort: self.effort,
        }
    }
}
