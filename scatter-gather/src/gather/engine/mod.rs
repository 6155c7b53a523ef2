//! The machine itself. `send` asks replicas, `reply` takes their answers, `late` is about time, and
//! `end` knows when it is over.

mod end;
mod late;
mod reply;
mod rows;
mod send;

use super::accounting::{Effort, Failure};
use super::budget::Budgets;
use super::ids::{AttemptId, ShardIndex};
use super::input::Input;
use super::nested::{Cover, Nested};
use super::output::Output;
use super::plan::{Plan, PlanError};
use super::reason::Reason;
use quorate_core::types::Mono;
use rows::{Alarm, Row, Slot, Stage, State};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// One request being gathered.
///
/// Costs three allocations at the start, whatever the number of shards, and one at the end; nested
/// answers cost what they list.
#[derive(Debug)]
pub struct Gather {
    plan: Plan,
    cutoff: Mono,
    started: Mono,
    slots: Vec<Slot>,
    rows: Vec<Row>,
    alarms: BinaryHeap<Reverse<Alarm>>,
    /// The time of the last [`Output::SetTimer`] that has not come.
    armed: Option<Mono>,
    tally: Tally,
    effort: Effort,
    /// Attempts that are chosen for or under way.
    open_attempts: u32,
    /// Answers that are with the merger.
    accepting: u32,
    /// Bytes that have come or are staged.
    bytes: u64,
    /// Primaries sent and not yet paid into the budget.
    undeposited: u32,
    cover: Cover,
    nested: BTreeMap<u32, Box<Nested>>,
    /// Shards before this one are not idle.
    first_idle: u32,
    /// The canary was sent and has not been judged.
    canary_out: bool,
    /// Canary shards that are not final.
    canary_left: u8,
    canary_crashed: bool,
    /// When the floors were first met.
    met: Option<Mono>,
    /// When the sloped wait ends.
    wait_until: Option<Mono>,
    phase: Phase,
    ignored: u64,
}

/// Where the request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Running,
    /// It is over, as soon as the merger has answered for what it holds.
    Closing(Why),
    Done,
}

/// Why a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Every shard is final.
    AllFinal,
    /// The policy is met without the others.
    PolicyMet,
    /// The policy cannot be met any more.
    OutOfReach,
    /// The cutoff has come.
    Deadline,
    /// The canary failed.
    Canary,
    /// Nobody wants it.
    Cancelled,
}

/// Running sums over the slots, so that the policy is judged in constant time.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    shards: u32,
    weight: u64,
    merged: u32,
    merged_weight: u64,
    partial: u32,
    /// Final without being merged.
    lost: u32,
    lost_weight: u64,
    required_missing: u32,
    required_lost: u32,
    /// Not asked and not final.
    idle: u32,
    /// Asked and not final.
    open: u32,
    /// Shards that were late at some time.
    late: u32,
}

impl Gather {
    /// A machine for this plan; nothing happens before [`Input::Start`].
    ///
    /// # Errors
    /// When the plan cannot be carried out, see [`Plan::check`].
    pub fn new(plan: Plan) -> Result<Self, PlanError> {
        plan.check()?;
        let shards = plan.shards.len();
        let mut tally = Tally::default();
        for shard in plan.shards.iter() {
            tally.shards += 1;
            tally.idle += 1;
            tally.weight += u64::from(shard.weight);
            tally.required_missing += u32::from(shard.required);
        }
        Ok(Self {
            cutoff: plan.cutoff(),
            started: Mono(0),
            slots: vec![Slot::IDLE; shards],
            // Room for the hedges of a usual budget, so that the rows are seldom moved.
            rows: Vec::with_capacity(shards + shards / 16 + 1),
            alarms: BinaryHeap::with_capacity(if plan.hedge.is_some() { shards + 1 } else { 1 }),
            armed: None,
            tally,
            effort: Effort::default(),
            open_attempts: 0,
            accepting: 0,
            bytes: 0,
            undeposited: 0,
            cover: Cover::default(),
            nested: BTreeMap::new(),
            first_idle: 0,
            canary_out: false,
            canary_left: 0,
            canary_crashed: false,
            met: None,
            wait_until: None,
            phase: Phase::New,
            ignored: 0,
            plan,
        })
    }

    /// Takes one input at `now`, which must not go back, and appends what to do to `out`.
    pub fn step(&mut self, now: Mono, input: Input, budgets: Budgets<'_>, out: &mut Vec<Output>) {
        let before = (self.phase, self.effort.late_together);
        match self.phase {
            Phase::New => {
                if input == Input::Start {
                    self.start(now, out);
                } else if input == Input::Cancel {
                    self.started = now;
                    self.close(now, Why::Cancelled, out);
                } else {
                    self.ignored += 1;
                }
            }
            Phase::Done => self.after_the_end(&input, out),
            Phase::Running | Phase::Closing(_) => self.running(now, input, budgets, out),
        }
        self.tell_budget(now, before, budgets);
        self.arm(now, out);
    }

    /// Tells the budget once whether slowness was common to the shards of this request.
    fn tell_budget(&self, now: Mono, before: (Phase, bool), budgets: Budgets<'_>) {
        let (phase, late_together) = before;
        if self.effort.late_together {
            if !late_together {
                budgets.hedges.late_together(now);
            }
        } else if phase != Phase::Done
            && self.phase == Phase::Done
            && self.plan.hedge.is_some()
            && self.tally.shards > 1
        {
            budgets.hedges.not_together();
        }
    }

    fn running(&mut self, now: Mono, input: Input, budgets: Budgets<'_>, out: &mut Vec<Output>) {
        if !matches!(input, Input::Chosen { .. }) {
            self.deposit(budgets);
        }
        // Whatever comes at or after the cutoff ends the request, even if the timer is slow.
        if now >= self.cutoff && !self.deadline_slips() {
            self.close(now, Why::Deadline, out);
        }
        match input {
            Input::Chosen {
                attempt,
                replica,
                p50,
                late_after,
            } => {
                let offer = send::Offer {
                    replica,
                    p50,
                    late_after,
                };
                self.chosen(now, attempt, offer, budgets, out);
            }
            Input::NoReplica { attempt } => self.no_replica(now, attempt, out),
            Input::Reply {
                attempt,
                bytes,
                told,
            } => self.reply(now, attempt, bytes, told, out),
            Input::Merged { attempt } => self.merged(now, attempt, out),
            Input::Refused { attempt, reason } => self.refused(now, attempt, reason, out),
            Input::Failed {
                attempt,
                reason,
                pushback,
            } => self.failed(now, attempt, reason, pushback, out),
            Input::Progress { attempt, bytes } => self.progress(now, attempt, bytes, out),
            Input::Timer => self.timer(now, out),
            Input::Cancel => self.close(now, Why::Cancelled, out),
            Input::Start => self.ignored += 1,
        }
        // Whatever it was, it may have made room for shards that wait.
        if self.phase == Phase::Running && !self.canary_out {
            self.ask_idle(out);
        }
    }

    /// Whether [`Output::Finish`] has been given.
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Inputs that came for attempts that no longer counted: replies of losers, and whatever came
    /// after the end.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Calls under way.
    pub fn open_attempts(&self) -> u32 {
        self.open_attempts
    }

    /// What it carries out.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The attempt's row, if the attempt is in this state; otherwise the input is ignored.
    fn row_in(&mut self, attempt: AttemptId, state: State) -> Option<Row> {
        match self.rows.get(attempt.index()) {
            Some(row) if row.state == state => Some(*row),
            _ => {
                self.ignored += 1;
                None
            }
        }
    }

    fn remaining(&self, now: Mono) -> Duration {
        self.cutoff.since(now)
    }

    /// An attempt stops counting. Its shard stays as it is.
    fn gone(&mut self, attempt: AttemptId) {
        let row = &mut self.rows[attempt.index()];
        debug_assert!(row.state != State::Gone, "an attempt goes once");
        if matches!(row.state, State::Choosing | State::Flying) {
            self.slots[row.shard as usize].open -= 1;
            self.open_attempts -= 1;
        }
        self.bytes -= row.bytes;
        row.bytes = 0;
        row.state = State::Gone;
    }

    /// Cancels what is under way for a shard.
    fn cancel_open(&mut self, shard: ShardIndex, out: &mut Vec<Output>) {
        if self.slots[shard.index()].open == 0 {
            return;
        }
        let mut next = self.slots[shard.index()].newest;
        while let Some(attempt) = next {
            let row = self.rows[attempt.index()];
            if row.state == State::Flying {
                out.push(Output::Cancel { attempt, shard });
            }
            if matches!(row.state, State::Flying | State::Choosing) {
                self.gone(attempt);
            }
            next = row.older;
        }
    }

    fn failure(why: Why) -> Failure {
        match why {
            Why::Deadline => Failure::DeadlineExceeded,
            Why::Canary => Failure::Canary,
            Why::Cancelled => Failure::Cancelled,
            Why::AllFinal | Why::PolicyMet | Why::OutOfReach => Failure::InsufficientShards,
        }
    }

    /// Asks for the timer if something is due before it.
    fn arm(&mut self, now: Mono, out: &mut Vec<Output>) {
        if self.phase != Phase::Running {
            return;
        }
        let mut next = self.cutoff;
        if let Some(until) = self.wait_until {
            next = next.min(until);
        }
        if let Some(Reverse(alarm)) = self.alarms.peek() {
            next = next.min(alarm.at);
        }
        if self.armed.is_none_or(|armed| next < armed) {
            self.armed = Some(next);
            out.push(Output::SetTimer { at: next.max(now) });
        }
    }

    /// Whether this shard has been asked and may still be asked again.
    fn is_open(&self, shard: u32) -> bool {
        self.slots[shard as usize].stage == Stage::Open
    }

    fn reason_or(&self, shard: u32, reason: Reason) -> Reason {
        self.slots[shard as usize].reason.unwrap_or(reason)
    }
}
