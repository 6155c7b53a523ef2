//! Time: attempts that are late or over, the canary's end, and the question whether lateness is the
//! replica's fault.

use super::rows::{Alarm, Row, Stage, State, What};
use super::{Gather, Phase};
use crate::gather::accounting::Fate;
use crate::gather::ids::{AttemptId, ShardIndex};
use crate::gather::output::{Kind, Output};
use crate::gather::planted::{self, Bug};
use crate::gather::reason::Reason;
use quorate_core::types::Mono;
use std::cmp::Reverse;

impl Gather {
    pub(super) fn timer(&mut self, now: Mono, out: &mut Vec<Output>) {
        self.armed = None;
        while self.phase == Phase::Running {
            let Some(&Reverse(alarm)) = self.alarms.peek() else {
                break;
            };
            let live = self.is_live(alarm.what);
            if live && alarm.at > now {
                break;
            }
            self.alarms.pop();
            if live {
                self.ring(now, alarm, out);
            }
        }
        self.judge(now, out);
    }

    fn is_live(&self, what: What) -> bool {
        match what {
            What::Canary => self.canary_out,
            What::Late(attempt) | What::Over(attempt) => {
                let row = &self.rows[attempt.index()];
                row.state == State::Flying && self.is_open(row.shard)
            }
        }
    }

    fn ring(&mut self, now: Mono, alarm: Alarm, out: &mut Vec<Output>) {
        match alarm.what {
            What::Canary => self.canary_over(now, out),
            What::Over(attempt) => {
                let shard = ShardIndex(self.rows[attempt.index()].shard);
                out.push(Output::Cancel { attempt, shard });
                self.attempt_failed(now, attempt, Reason::Timeout, out);
            }
            What::Late(attempt) => self.late(now, attempt, out),
        }
    }

    /// An attempt is late: hedge it, if that can help and is allowed.
    fn late(&mut self, now: Mono, attempt: AttemptId, out: &mut Vec<Output>) {
        let row = self.rows[attempt.index()];
        let slot = &mut self.slots[row.shard as usize];
        if !slot.late {
            slot.late = true;
            self.tally.late += 1;
        }
        let Some(hedge) = self.plan.hedge else {
            return;
        };
        let hedged = slot.hedges >= hedge.hedges_max;
        // An attempt that is being chosen is a hedge or a retry already.
        let choosing = self.is_choosing(row.shard);
        if hedged || choosing || self.effort.pushback || self.canary_out {
            return;
        }
        if self.late_together(now) && !planted::on(Bug::GuardIgnored) {
            return;
        }
        if self.may_ask_again(row.shard) {
            self.ask(row.shard, Kind::Hedge, out);
        }
    }

    fn is_choosing(&self, shard: u32) -> bool {
        let mut next = self.slots[shard as usize].newest;
        while let Some(attempt) = next {
            let row = &self.rows[attempt.index()];
            if row.state == State::Choosing {
                return true;
            }
            next = row.older;
        }
        false
    }

    /// Whether so many shards are late together that the cause is common to them. Once it is, it
    /// stays so for this request.
    ///
    /// Counted are the shards that were late at some time and those that will be within a quarter of
    /// the time that the request has taken: thresholds differ a little from replica to replica, and
    /// the first of many late ones must not be hedged only because it is the first.
    fn late_together(&mut self, now: Mono) -> bool {
        let Some(hedge) = self.plan.hedge else {
            return false;
        };
        if self.effort.late_together {
            return true;
        }
        let shards = u64::from(self.tally.shards);
        let most = hedge.late_together_max.part(shards).max(1);
        let late = u64::from(self.tally.late);
        if late + u64::from(self.tally.open) <= most {
            return false;
        }
        let soon = now + now.since(self.started) / 4;
        let soon_late = self
            .alarms
            .iter()
            .filter(|Reverse(alarm)| alarm.at <= soon && self.becomes_late(alarm.what))
            .count() as u64;
        self.effort.late_together = late + soon_late > most;
        self.effort.late_together
    }

    fn becomes_late(&self, what: What) -> bool {
        let What::Late(attempt) = what else {
            return false;
        };
        let row: &Row = &self.rows[attempt.index()];
        let slot = &self.slots[row.shard as usize];
        row.state == State::Flying && slot.stage == Stage::Open && !slot.late
    }

    /// The canary has had its time: what is still out hangs.
    fn canary_over(&mut self, now: Mono, out: &mut Vec<Output>) {
        for shard in 0..self.tally.shards {
            if self.is_open(shard) && self.canary_left > 0 {
                self.cancel_open(ShardIndex(shard), out);
                self.settle(now, shard, Fate::TimedOut, Some(Reason::Timeout));
            }
        }
        self.judge(now, out);
    }

    /// A canary shard has its fate. When all have: go on or stop.
    pub(super) fn canary_settled(&mut self, fate: Fate, reason: Option<Reason>) {
        let Some(left) = self.canary_left.checked_sub(1) else {
            return;
        };
        self.canary_left = left;
        let lost = matches!(fate, Fate::Failed | Fate::TimedOut);
        self.canary_crashed |= lost && reason.is_some_and(Reason::crash);
    }
}
