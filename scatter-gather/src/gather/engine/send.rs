//! Asking: the first calls, retries, and what becomes of the balancer's offers.

use super::rows::{Alarm, Row, Stage, State, What};
use super::{Gather, Phase, Why};
use crate::gather::accounting::Fate;
use crate::gather::budget::Budgets;
use crate::gather::ids::{AttemptId, Replica, ReplicaSet, ShardIndex};
use crate::gather::output::{Kind, Output};
use crate::gather::plan::Plan;
use crate::gather::planted::{self, Bug};
use crate::gather::reason::Reason;
use quorate_core::types::Mono;
use std::cmp::Reverse;
use std::time::Duration;

/// What the balancer offers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) replica: Replica,
    pub(super) p50: Duration,
    pub(super) late_after: Option<Duration>,
}

impl Gather {
    pub(super) fn start(&mut self, now: Mono, out: &mut Vec<Output>) {
        self.phase = Phase::Running;
        self.started = now;
        let plan = self.plan.shards.clone();
        for (shard, planned) in (0..).zip(plan.iter()) {
            if let Some(reason) = Plan::skipped(planned) {
                self.settle(now, shard, Fate::Skipped, Some(reason));
            }
        }
        if now >= self.cutoff {
            self.close(now, Why::Deadline, out);
            return;
        }
        match self.plan.canary {
            Some(canary) => {
                let count = self.plan.caps.calls.min(u32::from(canary.shards));
                let shards = self.idle().take(count as usize).collect::<Vec<_>>();
                self.canary_out = true;
                self.canary_left = u8::try_from(shards.len()).unwrap_or(u8::MAX);
                self.alarms.push(Reverse(Alarm {
                    at: now + canary.timeout,
                    what: What::Canary,
                }));
                for shard in shards {
                    self.ask(shard, Kind::Primary, out);
                }
            }
            None => self.ask_idle(out),
        }
        self.judge(now, out);
    }

    fn idle(&self) -> impl Iterator<Item = u32> + '_ {
        (0..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.stage == Stage::Idle)
            .map(|(shard, _)| shard)
    }

    /// Asks the shards that wait, as many as there is room for.
    pub(super) fn ask_idle(&mut self, out: &mut Vec<Output>) {
        if self.tally.idle == 0 {
            return;
        }
        let room = self.plan.caps.calls.saturating_sub(self.open_attempts);
        out.reserve(room.min(self.tally.idle) as usize);
        while self.tally.idle > 0 && self.open_attempts < self.plan.caps.calls {
            if self.slots[self.first_idle as usize].stage == Stage::Idle {
                self.ask(self.first_idle, Kind::Primary, out);
            }
            self.first_idle += 1;
        }
    }

    /// Asks the balancer for a replica of a shard.
    pub(super) fn ask(&mut self, shard: u32, kind: Kind, out: &mut Vec<Output>) {
        let attempt = AttemptId(u32::try_from(self.rows.len()).unwrap_or(u32::MAX));
        let slot = &mut self.slots[shard as usize];
        if slot.stage == Stage::Idle {
            slot.stage = Stage::Open;
            self.tally.idle -= 1;
            self.tally.open += 1;
        }
        self.rows.push(Row {
            shard,
            kind,
            state: State::Choosing,
            replica: Replica(u8::MAX),
            older: slot.newest,
            sent: Mono(0),
            bytes: 0,
        });
        slot.newest = Some(attempt);
        slot.open += 1;
        self.open_attempts += 1;
        let excluded = if planted::on(Bug::SameReplica) {
            ReplicaSet::EMPTY
        } else {
            slot.tried
        };
        out.push(Output::Choose {
            attempt,
            shard: ShardIndex(shard),
            excluded,
            kind,
        });
    }

    pub(super) fn chosen(
        &mut self,
        now: Mono,
        attempt: AttemptId,
        offer: Offer,
        budgets: Budgets<'_>,
        out: &mut Vec<Output>,
    ) {
        let Some(mut row) = self.row_in(attempt, State::Choosing) else {
            return;
        };
        let shard = row.shard;
        if row.kind == Kind::Hedge && self.slots[shard as usize].open == 1 {
            // What it was to run beside has had its time in this very step.
            row.kind = Kind::Retry;
            self.rows[attempt.index()].kind = Kind::Retry;
        }
        let replicas = self.plan.shards[shard as usize].replicas;
        let tried = self.slots[shard as usize].tried.contains(offer.replica);
        let remaining = self.remaining(now);
        let again = row.kind != Kind::Primary;
        if offer.replica.0 >= replicas
            || (tried && !planted::on(Bug::SameReplica))
            || remaining.is_zero()
            || (again && remaining < offer.p50)
        {
            self.no_replica(now, attempt, out);
            return;
        }
        if again && !self.afford(now, row.kind, budgets) {
            self.effort.denied += 1;
            self.denied(now, attempt, out);
            return;
        }
        let row = &mut self.rows[attempt.index()];
        row.state = State::Flying;
        row.replica = offer.replica;
        row.sent = now;
        let slot = &mut self.slots[shard as usize];
        slot.tried = slot.tried.with(offer.replica);
        slot.replica = Some(offer.replica);
        slot.attempts += 1;
        self.effort.sends += 1;
        match row.kind {
            Kind::Primary => self.undeposited += 1,
            Kind::Retry => self.effort.retries += 1,
            Kind::Hedge => {
                self.effort.hedges += 1;
                slot.hedges += 1;
            }
        }
        out.push(Output::Send {
            attempt,
            shard: ShardIndex(shard),
            replica: offer.replica,
            kind: row.kind,
            remaining,
        });
        if let Some(timeout) = self.plan.attempt_timeout {
            self.alarm(now + timeout, What::Over(attempt));
        }
        if let Some(late) = self.plan.hedge.and_then(|h| h.late_after(offer.late_after))
            && self.could_ask_again(shard)
        {
            // Whether there is room for a hedge is seen then; and what is late counts in any case.
            self.alarm(now + late, What::Late(attempt));
        }
    }

    /// Sets an alarm, unless the end comes first.
    pub(super) fn alarm(&mut self, at: Mono, what: What) {
        if at < self.cutoff {
            self.alarms.push(Reverse(Alarm { at, what }));
        }
    }

    fn afford(&mut self, now: Mono, kind: Kind, budgets: Budgets<'_>) -> bool {
        self.deposit(budgets);
        let budget = match kind {
            Kind::Hedge => budgets.hedges,
            Kind::Primary | Kind::Retry => budgets.retries,
        };
        budget.withdraw(now) || planted::on(Bug::BudgetIgnored)
    }

    /// Pays the primaries into the budgets, many at once: the budgets are shared by all threads.
    pub(super) fn deposit(&mut self, budgets: Budgets<'_>) {
        if self.undeposited > 0 {
            budgets.hedges.deposit(self.undeposited);
            budgets.retries.deposit(self.undeposited);
            self.undeposited = 0;
        }
    }

    /// A hedge that the budget has no room for is looked at again when its shard has been out twice
    /// as long; a retry is not sent.
    fn denied(&mut self, now: Mono, attempt: AttemptId, out: &mut Vec<Output>) {
        let row = self.rows[attempt.index()];
        self.gone(attempt);
        match row.kind {
            Kind::Hedge => {
                if let Some(late) = self.flying(row.shard) {
                    let sent = self.rows[late.index()].sent;
                    self.alarm(now + now.since(sent), What::Late(late));
                } else if self.slots[row.shard as usize].open == 0 {
                    self.give_up(now, row.shard, out);
                }
            }
            Kind::Primary | Kind::Retry => self.give_up(now, row.shard, out),
        }
    }

    /// The newest attempt under way for a shard.
    fn flying(&self, shard: u32) -> Option<AttemptId> {
        let mut next = self.slots[shard as usize].newest;
        while let Some(attempt) = next {
            let row = &self.rows[attempt.index()];
            if row.state == State::Flying {
                return Some(attempt);
            }
            next = row.older;
        }
        None
    }

    pub(super) fn no_replica(&mut self, now: Mono, attempt: AttemptId, out: &mut Vec<Output>) {
        let Some(row) = self.row_in(attempt, State::Choosing) else {
            return;
        };
        self.gone(attempt);
        if self.slots[row.shard as usize].open == 0 {
            self.give_up(now, row.shard, out);
        }
    }

    /// Nothing is under way for a shard and nothing more will be: it has failed, for the reason of
    /// its last attempt.
    pub(super) fn give_up(&mut self, now: Mono, shard: u32, out: &mut Vec<Output>) {
        if !self.is_open(shard) {
            return;
        }
        let reason = self.reason_or(shard, Reason::NoReplica);
        let fate = match reason {
            Reason::Timeout | Reason::Deadline => Fate::TimedOut,
            _ => Fate::Failed,
        };
        self.settle(now, shard, fate, Some(reason));
        self.judge(now, out);
    }

    /// Whether a shard may be asked once more now.
    pub(super) fn may_ask_again(&self, shard: u32) -> bool {
        self.open_attempts < self.plan.caps.calls && self.could_ask_again(shard)
    }

    /// The same once there is room.
    fn could_ask_again(&self, shard: u32) -> bool {
        let slot = &self.slots[shard as usize];
        (self.plan.idempotent || planted::on(Bug::NotIdempotent))
            && slot.attempts < self.plan.attempts_max
            && (slot.tried.len() < u32::from(self.plan.shards[shard as usize].replicas)
                || planted::on(Bug::SameReplica))
    }
}
