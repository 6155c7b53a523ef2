//! One request driven through the engine in simulated time.

use crate::gather::{
    AttemptId, Budgets, Gather, Input, Kind, Outcome, Output, Plan, Reason, Replica, ReplicaSet,
    ShardIndex, Told,
};
use quorate_core::types::Mono;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// One call to a simulated leaf.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The attempt.
    pub attempt: AttemptId,
    /// The shard.
    pub shard: ShardIndex,
    /// The replica.
    pub replica: Replica,
    /// What it is for.
    pub kind: Kind,
    /// When it was sent.
    pub sent: Mono,
    /// What the leaf was told it has left.
    pub remaining: Duration,
}

/// How a simulated leaf answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With success.
    Reply(Told),
    /// With a failure; the flag says that it asked for less load.
    Failed(Reason, bool),
}

/// The leaves and the balancer of a simulation.
pub trait Leaves {
    /// A replica of `shard` outside `excluded`, with its median and its hedging threshold.
    fn choose(
        &mut self,
        shard: ShardIndex,
        excluded: ReplicaSet,
        now: Mono,
    ) -> Option<(Replica, Duration, Option<Duration>)>;

    /// When and how a leaf answers this call; `None` for one that hangs.
    fn call(&mut self, call: &Call) -> Option<(Duration, Answer)>;

    /// A call has ended: with an answer, or cancelled.
    fn ended(&mut self, call: &Call, now: Mono, cancelled: bool) {
        let _ = (call, now, cancelled);
    }

    /// The merger is handed the answer of this call; false if it refuses.
    fn merge(&mut self, call: &Call) -> bool {
        let _ = call;
        true
    }
}

/// What came of a simulated request.
#[derive(Debug)]
pub struct Run {
    /// The engine's account.
    pub outcome: Outcome,
    /// When it ended.
    pub end: Mono,
}

/// Runs one request from `start` to its end.
///
/// # Panics
/// When the plan cannot be carried out, or the engine stops without an answer: both are mistakes of
/// the simulation or of the engine.
pub fn drive(plan: Plan, start: Mono, leaves: &mut impl Leaves, budgets: Budgets<'_>) -> Run {
    let gather = Gather::new(plan).unwrap_or_else(|error| panic!("the simulated plan: {error}"));
    let mut world = World {
        gather,
        calls: Vec::new(),
        answers: Vec::new(),
        events: BinaryHeap::new(),
        timer: None,
        out: Vec::new(),
    };
    let mut now = start;
    let mut input = Input::Start;
    loop {
        if let Some(outcome) = world.step(now, input, leaves, budgets) {
            return Run { outcome, end: now };
        }
        input = world.next(&mut now, leaves);
    }
}

struct World {
    gather: Gather,
    // By attempt; `None` once it has ended or was cancelled.
    calls: Vec<Option<Call>>,
    answers: Vec<Option<Answer>>,
    events: BinaryHeap<Reverse<(Mono, u32)>>,
    timer: Option<Mono>,
    out: Vec<Output>,
}

impl World {
    /// Lets time pass until something happens.
    fn next(&mut self, now: &mut Mono, leaves: &mut impl Leaves) -> Input {
        let timer = self.timer.unwrap_or(Mono(u64::MAX));
        // An answer at the very moment of a timer came in time.
        while let Some(&Reverse((at, attempt))) = self.events.peek()
            && at <= timer
        {
            self.events.pop();
            if let Some(input) = self.arrive(attempt, (*now).max(at), leaves) {
                *now = (*now).max(at);
                return input;
            }
        }
        assert!(timer.0 < u64::MAX, "the engine waits for nothing");
        self.timer = None;
        *now = (*now).max(timer);
        Input::Timer
    }

    fn arrive(&mut self, attempt: u32, now: Mono, leaves: &mut impl Leaves) -> Option<Input> {
        let call = self.calls[attempt as usize]?;
        let answer = self.answers[attempt as usize].take()?;
        leaves.ended(&call, now, false);
        let attempt = call.attempt;
        Some(match answer {
            Answer::Reply(told) => Input::Reply {
                attempt,
                bytes: 128,
                told,
            },
            Answer::Failed(reason, pushback) => {
                self.calls[attempt.index()] = None;
                Input::Failed {
                    attempt,
                    reason,
                    pushback,
                }
            }
        })
    }

    /// Steps the engine and carries out what it wants, until it wants nothing more.
    fn step(
        &mut self,
        now: Mono,
        input: Input,
        leaves: &mut impl Leaves,
        budgets: Budgets<'_>,
    ) -> Option<Outcome> {
        let mut out = std::mem::take(&mut self.out);
        self.gather.step(now, input, budgets, &mut out);
        let mut next = 0;
        let mut finished = None;
        while next < out.len() {
            let output = std::mem::replace(&mut out[next], Output::SetTimer { at: now });
            next += 1;
            if let Some(input) = self.carry_out(output, now, leaves, &mut finished) {
                self.gather.step(now, input, budgets, &mut out);
            }
        }
        out.clear();
        self.out = out;
        finished
    }

    fn carry_out(
        &mut self,
        output: Output,
        now: Mono,
        leaves: &mut impl Leaves,
        finished: &mut Option<Outcome>,
    ) -> Option<Input> {
        match output {
            Output::Choose {
                attempt,
                shard,
                excluded,
                ..
            } => Some(match leaves.choose(shard, excluded, now) {
                Some((replica, p50, late_after)) => Input::Chosen {
                    attempt,
                    replica,
                    p50,
                    late_after,
                },
                None => Input::NoReplica { attempt },
            }),
            Output::Send {
                attempt,
                shard,
                replica,
                kind,
                remaining,
            } => {
                let call = Call {
                    attempt,
                    shard,
                    replica,
                    kind,
                    sent: now,
                    remaining,
                };
                let rows = attempt.index() + 1;
                self.calls.resize(rows.max(self.calls.len()), None);
                self.answers.resize(rows.max(self.answers.len()), None);
                self.calls[attempt.index()] = Some(call);
                if let Some((took, answer)) = leaves.call(&call) {
                    self.answers[attempt.index()] = Some(answer);
                    self.events.push(Reverse((now + took, attempt.0)));
                }
                None
            }
            Output::Cancel { attempt, .. } => {
                if let Some(call) = self.calls[attempt.index()].take() {
                    leaves.ended(&call, now, true);
                }
                None
            }
            Output::SetTimer { at } => {
                self.timer = Some(at);
                None
            }
            Output::Accept { attempt, .. } => {
                let call = self.calls[attempt.index()].take()?;
                Some(if leaves.merge(&call) {
                    Input::Merged { attempt }
                } else {
                    Input::Refused {
                        attempt,
                        reason: Reason::Nonsense,
                    }
                })
            }
            Output::Finish(outcome) => {
                *finished = Some(*outcome);
                None
            }
        }
    }
}
