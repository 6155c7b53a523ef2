//! Answers and failures of attempts, and the merger's word on what it was handed.

use super::rows::{Stage, State};
use super::{Gather, Phase, Why};
use crate::gather::accounting::Fate;
use crate::gather::ids::{AttemptId, ShardIndex};
use crate::gather::input::{Input, Told};
use crate::gather::output::{Kind, Output};
use crate::gather::planted::{self, Bug};
use crate::gather::reason::Reason;
use quorate_core::types::Mono;

impl Gather {
    pub(super) fn reply(
        &mut self,
        now: Mono,
        attempt: AttemptId,
        bytes: u64,
        told: Told,
        out: &mut Vec<Output>,
    ) {
        if planted::on(Bug::DoubleMerge) {
            self.accept_a_loser(attempt, out);
        }
        let Some(row) = self.row_in(attempt, State::Flying) else {
            return;
        };
        let shard = row.shard;
        if self.phase != Phase::Running || !self.is_open(shard) {
            // The request is closing, or another answer of this shard is with the merger.
            self.ignored += 1;
            return;
        }
        if let Err(reason) = self.account(attempt, bytes) {
            self.attempt_failed(now, attempt, reason, out);
            return;
        }
        let partial = match told {
            Told::Whole => false,
            Told::Partial => true,
            Told::Nested(nested) => {
                let taken = self
                    .cover
                    .take(&nested, &self.plan.map, self.plan.caps.covered);
                match taken {
                    Err(reason) if !planted::on(Bug::OverlapMerged) => {
                        self.attempt_failed(now, attempt, reason, out);
                        return;
                    }
                    Err(_) => nested.is_partial(),
                    Ok(()) => {
                        let partial = nested.is_partial();
                        self.nested.insert(shard, nested);
                        partial
                    }
                }
            }
        };
        let slot = &mut self.slots[shard as usize];
        slot.stage = Stage::Accepting;
        slot.partial = partial && !planted::on(Bug::PartialIsWhole);
        slot.open -= 1;
        self.open_attempts -= 1;
        self.accepting += 1;
        self.rows[attempt.index()].state = State::Staged;
        out.push(Output::Accept {
            attempt,
            shard: ShardIndex(shard),
        });
    }

    pub(super) fn merged(&mut self, now: Mono, attempt: AttemptId, out: &mut Vec<Output>) {
        let Some(row) = self.row_in(attempt, State::Staged) else {
            return;
        };
        self.gone(attempt);
        self.accepting -= 1;
        let slot = &mut self.slots[row.shard as usize];
        slot.replica = Some(row.replica);
        if row.kind == Kind::Hedge {
            self.effort.hedges_won += 1;
        }
        if !planted::on(Bug::LoserNotCancelled) {
            self.cancel_open(ShardIndex(row.shard), out);
        }
        self.settle(now, row.shard, Fate::Merged, None);
        self.judge(now, out);
    }

    pub(super) fn refused(
        &mut self,
        now: Mono,
        attempt: AttemptId,
        reason: Reason,
        out: &mut Vec<Output>,
    ) {
        if planted::on(Bug::RefusedCounted) {
            self.merged(now, attempt, out);
            return;
        }
        let Some(row) = self.row_in(attempt, State::Staged) else {
            return;
        };
        self.gone(attempt);
        self.accepting -= 1;
        if let Some(nested) = self.nested.remove(&row.shard) {
            self.cover.give_back(&nested);
        }
        let slot = &mut self.slots[row.shard as usize];
        slot.stage = Stage::Open;
        slot.partial = false;
        slot.reason = Some(reason);
        // A policy that was met may have stood on another answer still; one that was not, cannot.
        if self.phase == Phase::Closing(Why::PolicyMet) && !self.floors_met() {
            self.phase = Phase::Running;
        }
        self.ask_again_or_give_up(now, row.shard, reason, out);
        self.finish_if_closed(now, out);
    }

    pub(super) fn failed(
        &mut self,
        now: Mono,
        attempt: AttemptId,
        reason: Reason,
        pushback: bool,
        out: &mut Vec<Output>,
    ) {
        if planted::on(Bug::TruncatedMerged) && reason == Reason::Truncated {
            self.reply(now, attempt, 0, Told::Whole, out);
            return;
        }
        if self.row_in(attempt, State::Flying).is_none() {
            return;
        }
        self.effort.pushback |= pushback;
        self.attempt_failed(now, attempt, reason, out);
    }

    /// An attempt under way has come to nothing.
    pub(super) fn attempt_failed(
        &mut self,
        now: Mono,
        attempt: AttemptId,
        reason: Reason,
        out: &mut Vec<Output>,
    ) {
        let shard = self.rows[attempt.index()].shard;
        self.gone(attempt);
        if !self.is_open(shard) {
            return;
        }
        self.slots[shard as usize].reason = Some(reason);
        if planted::on(Bug::FirstErrorWins) {
            self.cancel_open(ShardIndex(shard), out);
            self.give_up(now, shard, out);
            return;
        }
        self.ask_again_or_give_up(now, shard, reason, out);
    }

    /// The other attempts of the shard go on; if there are none, one more is made if that may help.
    fn ask_again_or_give_up(
        &mut self,
        now: Mono,
        shard: u32,
        reason: Reason,
        out: &mut Vec<Output>,
    ) {
        if self.phase != Phase::Running || self.slots[shard as usize].open > 0 {
            return;
        }
        if reason.retryable() && self.may_ask_again(shard) && now < self.cutoff {
            self.ask(shard, Kind::Retry, out);
        } else {
            self.give_up(now, shard, out);
        }
    }

    pub(super) fn progress(
        &mut self,
        now: Mono,
        attempt: AttemptId,
        bytes: u64,
        out: &mut Vec<Output>,
    ) {
        let Some(row) = self.row_in(attempt, State::Flying) else {
            return;
        };
        if let Err(reason) = self.account(attempt, bytes) {
            out.push(Output::Cancel {
                attempt,
                shard: ShardIndex(row.shard),
            });
            self.attempt_failed(now, attempt, reason, out);
        }
    }

    /// Writes down how much of an answer is there.
    fn account(&mut self, attempt: AttemptId, bytes: u64) -> Result<(), Reason> {
        let row = &mut self.rows[attempt.index()];
        if bytes > self.plan.caps.reply_bytes {
            return Err(Reason::TooLarge);
        }
        let others = self.bytes - row.bytes;
        if others.saturating_add(bytes) > self.plan.caps.request_bytes {
            return Err(Reason::RequestBytes);
        }
        self.bytes = others + bytes;
        row.bytes = bytes;
        Ok(())
    }

    /// Whatever comes after the end is ignored.
    pub(super) fn after_the_end(&mut self, input: &Input, out: &mut Vec<Output>) {
        self.ignored += 1;
        if planted::on(Bug::LateMerged)
            && let Input::Reply { attempt, .. } = *input
            && let Some(row) = self.rows.get(attempt.index())
        {
            out.push(Output::Accept {
                attempt,
                shard: ShardIndex(row.shard),
            });
        }
    }

    /// The planted bug of that name.
    fn accept_a_loser(&mut self, attempt: AttemptId, out: &mut Vec<Output>) {
        if let Some(row) = self.rows.get(attempt.index())
            && row.state == State::Gone
            && self.slots[row.shard as usize].stage == Stage::Final(Fate::Merged)
        {
            out.push(Output::Accept {
                attempt,
                shard: ShardIndex(row.shard),
            });
        }
    }
}
