//! A shell in virtual time that trusts nothing: it carries out what the engine says, keeps its own
//! books, and reports the first broken promise.

use super::scenario::{Act, End, START_US, Scenario, nested};
use crate::gather::{
    Budget, Budgets, Failure, Fate, Gather, Input, Kind, Outcome, Output, Plan, Reason, Replica,
    Share, Told, Trigger, Verdict,
};
use quorate_core::types::Mono;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

/// More events than any scenario has.
const STEPS_MAX: u32 = 10_000;

type Check = Result<(), String>;

macro_rules! must {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err(format!($($text)*));
        }
    };
}

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

    fn sent(
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

    fn accepted(&mut self, attempt: u32, shard: u32) -> Result<Input, String> {
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

    fn finished(&mut self, outcome: Outcome) -> Check {
        must!(self.outcome.is_none(), "a second answer");
        for (number, attempt) in &self.attempts {
            must!(!attempt.live, "attempt {number} goes on after the answer");
        }
        self.unjustified.clear();
        self.outcome = Some((outcome, self.now));
        Ok(())
    }

    fn judge(&self, outcome: &Outcome, end: Mono) -> Check {
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
        let crashed = lines
            .filter(|(shard, _)| !shard.skip)
            .take(usize::from(canary.shards))
            .any(|(_, line)| {
                matches!(line.fate, Fate::Failed | Fate::TimedOut)
                    && line.reason.is_some_and(Reason::crash)
            });
        let asked = self.sends.len();
        must!(
            !crashed || asked <= usize::from(canary.shards),
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
