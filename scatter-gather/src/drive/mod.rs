//! The engine on tokio: one request is one future, and its calls are polled within it.
//!
//! No task is spawned for a leaf: a thousand calls are a thousand futures of one task, so that losers
//! end when they are dropped, and the whole request ends when its future is. Futures in a set cannot be
//! taken out of it one by one, so each can be aborted from outside. What the engine must not know
//! (connections, bodies, mergers) is behind [`Shell`] and the futures that `send` makes.

#[cfg(test)]
mod tests;

use crate::gather::{
    AttemptId, Budgets, Gather, Input, Kind, Outcome, Output, Plan, PlanError, Reason, Replica,
    ReplicaSet, ShardIndex, Told,
};
use futures::future::{AbortHandle, abortable};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use quorate_core::clock::monotonic;
use quorate_core::types::Mono;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::time::Sleep;

/// A replica that a balancer offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its place in the shard's list.
    pub replica: Replica,
    /// Its median latency, zero while unknown.
    pub p50: Duration,
    /// The plan's hedging quantile of its latency, if known.
    pub late_after: Option<Duration>,
}

/// A call to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its number within the request.
    pub attempt: AttemptId,
    /// The shard.
    pub shard: ShardIndex,
    /// The replica.
    pub replica: Replica,
    /// What it is for; hedges are marked as of low priority on the wire.
    pub kind: Kind,
    /// When it is sent.
    pub sent: Mono,
    /// What the leaf is told it has left.
    pub remaining: Duration,
}

/// How a call ended.
#[derive(Debug)]
pub enum Ended<S> {
    /// A successful answer has come whole.
    Reply {
        /// It.
        staged: S,
        /// Bytes of its body.
        bytes: u64,
        /// What it says about itself.
        told: Told,
    },
    /// There is no answer.
    Failed {
        /// Why.
        reason: Reason,
        /// The leaf asked for less load.
        pushback: bool,
    },
}

/// What a request needs beside its calls: a balancer, a reader of answers, and a merger.
pub trait Shell {
    /// What the future of a call gives.
    type Raw;
    /// A whole answer on its way to the merger.
    type Staged;

    /// Offers a replica of a shard that is not excluded.
    fn choose(
        &mut self,
        now: Mono,
        attempt: AttemptId,
        shard: ShardIndex,
        excluded: ReplicaSet,
        kind: Kind,
    ) -> Option<Choice>;

    /// Reads how a call ended.
    fn landed(&mut self, now: Mono, order: &Order, raw: Self::Raw) -> Ended<Self::Staged>;

    /// Hands an answer to the merger. On a refusal the merger is as it was before.
    ///
    /// # Errors
    /// The reason that stands in the account.
    fn merge(&mut self, order: &Order, staged: Self::Staged) -> Result<(), Reason>;

    /// A call is called off: its future is dropped.
    fn cancelled(&mut self, now: Mono, order: &Order) {
        let _ = (now, order);
    }
}

/// Runs a request to its end.
///
/// Dropping the future drops all its calls. `send` makes the future of a call; it is polled at once.
/// Needs a tokio runtime with time.
///
/// # Errors
/// A plan that cannot be carried out; nothing was sent then.
pub async fn drive<S, F, C>(
    plan: Plan,
    budgets: Budgets<'_>,
    shell: &mut S,
    mut send: F,
) -> Result<Outcome, PlanError>
where
    S: Shell,
    F: FnMut(&mut S, Order) -> C,
    C: Future<Output = S::Raw>,
{
    let shards = plan.shards.len();
    let mut request = Request {
        gather: Gather::new(plan)?,
        budgets,
        flying: Vec::with_capacity(shards),
        staged: None,
        out: Vec::new(),
    };
    let mut flights = FuturesUnordered::new();
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    let (mut now, mut input) = (monotonic(), Input::Start);
    loop {
        let outcome = request.step(now, input, shell, timer.as_mut(), |shell, order| {
            let (call, off) = abortable(send(shell, order));
            flights.push(call.map(move |landed| (order.attempt, landed.ok())));
            off
        });
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
        (now, input) = loop {
            tokio::select! {
                biased;
                Some((attempt, landed)) = flights.next() => {
                    let now = monotonic();
                    // One that was called off has no result, and says nothing.
                    let input = landed.and_then(|raw| request.landed(now, attempt, raw, shell));
                    if let Some(input) = input {
                        break (now, input);
                    }
                }
                () = timer.as_mut() => break (monotonic(), Input::Timer),
            }
        };
    }
}

struct Request<'a, S: Shell> {
    gather: Gather,
    budgets: Budgets<'a>,
    // By attempt; `None` for one that was never sent, or that has ended.
    flying: Vec<Option<(Order, AbortHandle)>>,
    // The answer that this step is about.
    staged: Option<(AttemptId, S::Staged)>,
    out: Vec<Output>,
}

impl<S: Shell> Request<'_, S> {
    /// What a call's end means to the engine; nothing if it was called off in this moment.
    fn landed(
        &mut self,
        now: Mono,
        attempt: AttemptId,
        raw: S::Raw,
        shell: &mut S,
    ) -> Option<Input> {
        let (order, _) = self.flying.get(attempt.index())?.as_ref()?;
        Some(match shell.landed(now, order, raw) {
            Ended::Reply {
                staged,
                bytes,
                told,
            } => {
                self.staged = Some((attempt, staged));
                Input::Reply {
                    attempt,
                    bytes,
                    told,
                }
            }
            Ended::Failed { reason, pushback } => {
                self.flying[attempt.index()] = None;
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
        shell: &mut S,
        mut timer: Pin<&mut Sleep>,
        mut send: impl FnMut(&mut S, Order) -> AbortHandle,
    ) -> Option<Outcome> {
        let mut out = std::mem::take(&mut self.out);
        self.gather.step(now, input, self.budgets, &mut out);
        let mut next = 0;
        let mut outcome = None;
        while let Some(output) = out.get_mut(next) {
            next += 1;
            let output = std::mem::replace(output, Output::SetTimer { at: now });
            let answer = match output {
                Output::Choose {
                    attempt,
                    shard,
                    excluded,
                    kind,
                } => Some(match shell.choose(now, attempt, shard, excluded, kind) {
                    Some(choice) => Input::Chosen {
                        attempt,
                        replica: choice.replica,
                        p50: choice.p50,
                        late_after: choice.late_after,
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
                    let order = Order {
                        attempt,
                        shard,
                        replica,
                        kind,
                        sent: now,
                        remaining,
                    };
                    let rows = self.flying.len().max(attempt.index() + 1);
                    self.flying.resize(rows, None);
                    self.flying[attempt.index()] = Some((order, send(shell, order)));
                    None
                }
                Output::Cancel { attempt, .. } => {
                    if let Some((order, off)) = self.flying[attempt.index()].take() {
                        off.abort();
                        shell.cancelled(now, &order);
                    }
                    None
                }
                Output::SetTimer { at } => {
                    let after = at.since(now);
                    timer.as_mut().reset(tokio::time::Instant::now() + after);
                    None
                }
                Output::Accept { attempt, .. } => Some(self.accept(attempt, shell)),
                Output::Finish(finished) => {
                    outcome = Some(*finished);
                    None
                }
            };
            if let Some(input) = answer {
                self.gather.step(now, input, self.budgets, &mut out);
            }
        }
        out.clear();
        self.out = out;
        // An answer that was not accepted is dropped.
        self.staged = None;
        outcome
    }

    fn accept(&mut self, attempt: AttemptId, shell: &mut S) -> Input {
        let staged = self.staged.take().filter(|(number, _)| *number == attempt);
        let flown = self.flying[attempt.index()].take();
        let (Some((_, staged)), Some((order, _))) = (staged, flown) else {
            // The engine accepts only the answer that it was just told of.
            return Input::Refused {
                attempt,
                reason: Reason::Nonsense,
            };
        };
        match shell.merge(&order, staged) {
            Ok(()) => Input::Merged { attempt },
            Err(reason) => Input::Refused { attempt, reason },
        }
    }
}
