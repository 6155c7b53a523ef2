//! A shell in virtual time that trusts nothing: it carries out what the engine says, keeps its own
//! books, and reports the first broken promise.

use super::scenario::{Act, End, START_US, Scenario, nested};
use crate::gather::{Budget, Budgets, Gather, Input, Kind, Outcome, Output, Replica, Told};
use quorate_core::types::Mono;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

/// More events than any scenario has.
const STEPS_MAX: u32 = 10_000;

type Check = Result<(), String>;

/// Or the promise is broken.
macro_rules! must {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err(format!($($text)*));
        }
    };
}

mod judge;
mod sends;

struct Attempt {
    shard: u32,
    kind: Kind,
    sent: Mono,
    replica: Replica,
    act: Act,
    live: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Drip(u32),
    End(u32),
    Timer(u64),
    Cancel,
}

pub(super) struct World<'a> {
    scenario: &'a Scenario,
    gather: Gather,
    hedges: Budget,
    retries: Budget,
    now: Mono,
    attempts: BTreeMap<u32, Attempt>,
    chosen: BTreeMap<u32, Replica>,
    events: BinaryHeap<Reverse<(Mono, u64, Event)>>,
    sequence: u64,
    steps: u32,
    timers: u64,
    acts: usize,
    /// Answers that the engine accepts in this step: the one that has just come whole.
    staged: BTreeMap<u32, Told>,
    /// What the merger holds: shard by shard, and their sum.
    merged: BTreeMap<u32, (bool, u64)>,
    sum: u64,
    inner: BTreeSet<u8>,
    inner_version: Option<u64>,
    late: BTreeSet<u32>,
    sends: BTreeMap<u32, (u8, BTreeSet<Replica>)>,
    primaries: u64,
    hedged: u64,
    retried: u64,
    pushback: bool,
    /// The attempt that this step is about.
    current: Option<u32>,
    /// Cancelled in this step for no reason but the end, which must follow.
    unjustified: BTreeSet<u32>,
    crashed_canary: bool,
    outcome: Option<(Outcome, Mono)>,
}

/// Every shard has its own value, so that a sum tells which were merged, and how often.
fn value(shard: u32) -> u64 {
    13_u64.pow(shard)
}

/// Runs a scenario to its end.
pub(super) fn run(scenario: &Scenario) -> Check {
    let now = Mono(START_US * 1_000);
    let mut world = World {
        gather: Gather::new(scenario.plan.clone()).map_err(|e| e.to_string())?,
        hedges: Budget::new(scenario.ratio, scenario.burst),
        retries: Budget::new(scenario.ratio, scenario.burst),
        scenario,
        now,
        attempts: BTreeMap::new(),
        chosen: BTreeMap::new(),
        events: BinaryHeap::new(),
        sequence: 0,
        steps: 0,
        timers: 0,
        acts: 0,
        staged: BTreeMap::new(),
        merged: BTreeMap::new(),
        sum: 0,
        inner: BTreeSet::new(),
        inner_version: None,
        late: BTreeSet::new(),
        sends: BTreeMap::new(),
        primaries: 0,
        hedged: 0,
        retried: 0,
        pushback: false,
        current: None,
        unjustified: BTreeSet::new(),
        crashed_canary: false,
        outcome: None,
    };
    if let Some(us) = scenario.cancel_us {
        world.at(us, Event::Cancel);
    }
    world.step(Input::Start)?;
    world.play()
}

impl World<'_> {
    fn at(&mut self, after_us: u64, event: Event) {
        self.sequence += 1;
        let at = self.now + Duration::from_micros(after_us);
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn play(&mut self) -> Check {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = self.now.max(at);
            let over = self.now.since(self.scenario.plan.cutoff());
            must!(
                self.outcome.is_some() || over < Duration::from_millis(100),
                "no answer long after the cutoff"
            );
            self.steps += 1;
            must!(self.steps < STEPS_MAX, "no end in sight");
            match event {
                Event::Cancel => self.step(Input::Cancel)?,
                Event::Timer(number) if number == self.timers => self.step(Input::Timer)?,
                Event::Timer(_) => {}
                Event::Drip(attempt) => self.drip(attempt)?,
                Event::End(attempt) => self.end(attempt)?,
            }
            must!(
                self.outcome.is_some() || !self.events.is_empty(),
                "the engine waits for nothing, and gave no answer"
            );
        }
        let (outcome, end) = self.outcome.take().ok_or("no answer")?;
        self.judge(&outcome, end)
    }

    fn drip(&mut self, attempt: u32) -> Check {
        let bytes = self.attempts[&attempt].act.drip;
        // Over the caps the engine may cancel it.
        if bytes > 0 {
            self.current = Some(attempt);
            self.step(Input::Progress {
                attempt: crate::gather::AttemptId(attempt),
                bytes,
            })?;
        }
        Ok(())
    }

    fn end(&mut self, number: u32) -> Check {
        let row = self.attempts.get_mut(&number).ok_or("unknown attempt")?;
        if matches!(row.act.end, End::Hang) || !(row.live || row.act.stubborn) {
            return Ok(());
        }
        self.current = Some(number);
        let was_live = std::mem::replace(&mut row.live, false);
        let attempt = crate::gather::AttemptId(number);
        let bytes = row.act.drip.max(100);
        let told = match &row.act.end {
            End::Whole => Told::Whole,
            End::Partial => Told::Partial,
            End::Nested {
                leaves,
                missing,
                version,
            } => Told::Nested(Box::new(nested(leaves, *missing, *version))),
            End::Failed(reason, pushback) => {
                let (reason, pushback) = (*reason, *pushback);
                self.pushback |= pushback && was_live;
                if self.scenario.plan.canary.is_some() && reason.crash() && was_live {
                    self.crashed_canary = true;
                }
                return self.step(Input::Failed {
                    attempt,
                    reason,
                    pushback,
                });
            }
            End::Hang => unreachable!("a call that hangs has no end"),
        };
        if was_live && self.outcome.is_none() {
            self.staged.insert(number, told.clone());
        }
        self.step(Input::Reply {
            attempt,
            bytes,
            told,
        })?;
        self.staged.remove(&number);
        Ok(())
    }

    fn step(&mut self, input: Input) -> Check {
        let over = self.outcome.is_some();
        let mut out = Vec::new();
        self.feed(input, &mut out);
        let mut next = 0;
        while next < out.len() {
            let output = std::mem::replace(&mut out[next], Output::SetTimer { at: self.now });
            next += 1;
            must!(!over, "something was wanted after the answer: {output:?}");
            let again = self.carry_out(output)?;
            if let Some(input) = again {
                self.feed(input, &mut out);
            }
        }
        self.current = None;
        must!(
            self.unjustified.is_empty(),
            "attempts {:?} were cancelled for nothing",
            self.unjustified
        );
        Ok(())
    }

    fn feed(&mut self, input: Input, out: &mut Vec<Output>) {
        let budgets = Budgets {
            hedges: &self.hedges,
            retries: &self.retries,
        };
        self.gather.step(self.now, input, budgets, out);
    }

    fn carry_out(&mut self, output: Output) -> Result<Option<Input>, String> {
        match output {
            Output::Choose {
                attempt,
                shard,
                excluded,
                ..
            } => {
                let replicas = self.scenario.plan.shards[shard.index()].replicas;
                let Some(replica) = (0..replicas).map(Replica).find(|&r| !excluded.contains(r))
                else {
                    return Ok(Some(Input::NoReplica { attempt }));
                };
                self.chosen.insert(attempt.0, replica);
                let late = self.scenario.late_after_us[usize::from(replica.0)];
                Ok(Some(Input::Chosen {
                    attempt,
                    replica,
                    p50: Duration::from_micros(self.scenario.p50_us),
                    late_after: late.map(Duration::from_micros),
                }))
            }
            Output::Send {
                attempt,
                shard,
                replica,
                kind,
                remaining,
            } => self
                .sent(attempt.0, shard.0, replica, kind, remaining)
                .map(|()| None),
            Output::Cancel { attempt, shard } => {
                let current = self.current == Some(attempt.0);
                let over = self.merged.contains_key(&shard.0) || current;
                let row = self
                    .attempts
                    .get_mut(&attempt.0)
                    .ok_or("cancel of nothing")?;
                let old = self.now.since(row.sent);
                let timed_out = self.scenario.plan.attempt_timeout.is_some_and(|t| old >= t);
                let canary = self
                    .scenario
                    .plan
                    .canary
                    .is_some_and(|c| self.now >= Mono(START_US * 1_000) + c.timeout);
                must!(
                    row.live || current,
                    "attempt {} was cancelled after its end",
                    attempt.0
                );
                row.live = false;
                // Everything may be cancelled at the end; seen there, see `finished`.
                if !(over || timed_out || canary) {
                    self.unjustified.insert(attempt.0);
                }
                Ok(None)
            }
            Output::SetTimer { at } => {
                self.timers += 1;
                let lag = self.scenario.timer_lag_us;
                let after = at.since(self.now).as_nanos().div_ceil(1_000);
                self.at(
                    u64::try_from(after).unwrap() + lag,
                    Event::Timer(self.timers),
                );
                Ok(None)
            }
            Output::Accept { attempt, shard } => self.accepted(attempt.0, shard.0).map(Some),
            Output::Finish(outcome) => self.finished(*outcome).map(|()| None),
        }
    }
}
