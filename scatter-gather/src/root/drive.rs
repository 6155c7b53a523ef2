//! One request from its plan to its answer: the engine's outputs carried out on tokio.

use super::answer::{Answer, AttemptLine, refused};
use super::fanout::Fanout;
use super::leaf::{self, Outgoing};
use super::question::Question;
use super::{DEPTH_MAX, Root};
use crate::definition::LeafKind;
use crate::gather::{
    AttemptId, Canary, Caps, Failure, Gather, Input, Outcome, Output, Plan, Reason, Replica,
    ShardIndex, ShardPlan, Verdict,
};
use crate::merge::{Bounds, MergeFailure, Merged, Merging, Piece};
use crate::pool::{CallError, Chosen, Replicas, Reply, Target};
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt as _};
use quorate_core::clock::monotonic;
use quorate_core::error::{Code, Error};
use quorate_core::types::Mono;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The reserve if the definition names none: a twentieth of the time, at most this.
const RESERVE_MAX: Duration = Duration::from_millis(50);

type Ended = (AttemptId, Result<Reply, CallError>);

impl Root {
    /// Answers a question.
    ///
    /// # Errors
    /// A question that makes no sense, too much load (429), too few shards (502), no time left (504).
    pub async fn ask(&self, fanout: &Arc<Fanout>, question: Question) -> Result<Answer, Error> {
        let started = monotonic();
        if question.depth > DEPTH_MAX {
            return Err(Error::invalid(format!(
                "quorate-depth: the request came through more than {DEPTH_MAX} nodes: does the tree \
                 contain itself?"
            )));
        }
        let limit = fanout.spec().limits.body_bytes;
        if question.body.len() as u64 > limit {
            return Err(Error::new(
                Code::TooLarge,
                format!("the body is over {limit} bytes (limits.body_bytes): send less"),
            ));
        }
        let fingerprint = fanout
            .spec()
            .canary
            .as_ref()
            .map(|_| fingerprint(&question));
        if let Some(fingerprint) = fingerprint {
            quarantined(fanout, fingerprint, started)?;
        }
        let shards = question.shards(fanout)?;
        let allowed = question.allowed(fanout)?;
        let permit = self.admission().enter(shards.len())?;
        let plan = plan(fanout, &question, &shards, started, allowed);
        let deadline = plan.deadline;
        let gather = Gather::new(plan).map_err(|error| Error::invalid(error.to_string()))?;
        let run = Run::new(fanout, &question, shards, gather);
        let (outcome, merging, run) = run.drive().await;
        if outcome.verdict == Verdict::Failed(Failure::Canary)
            && let Some(fingerprint) = fingerprint
        {
            let mut quarantine = fanout
                .quarantine
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            quarantine.put(fingerprint, monotonic());
        }
        let ids: Vec<Arc<str>> = run
            .shards
            .iter()
            .map(|s| Arc::clone(fanout.shard_id(*s)))
            .collect();
        let replicas = run.replicas;
        let attempts = run.attempts.into_iter().map(|row| row.line).collect();
        drop(permit);
        count(fanout, &outcome);
        let merged = match outcome.verdict {
            Verdict::Failed(failure) => return Err(refused(failure, &outcome, &ids, &run.details)),
            Verdict::Complete | Verdict::Partial => {
                finish(merging, question.nested, deadline).await?
            }
        };
        Ok(Answer::new(
            fanout,
            &ids,
            &replicas,
            &outcome,
            merged,
            attempts,
            &run.details,
        ))
    }
}

fn plan(
    fanout: &Fanout,
    question: &Question,
    shards: &[usize],
    now: Mono,
    allowed: Duration,
) -> Plan {
    let spec = fanout.spec();
    let required = spec.policy.required();
    let rows: Vec<ShardPlan> = shards
        .iter()
        .map(|&shard| {
            let replicas = fanout.replicas(shard).targets().len();
            ShardPlan {
                weight: spec.shards[shard].weight,
                required: required.contains(&spec.shards[shard].id),
                ..ShardPlan::new(u8::try_from(replicas).unwrap_or(u8::MAX))
            }
        })
        .collect();
    let reserve = spec.reserve_ms.map(Duration::from_millis);
    let reserve = reserve.unwrap_or_else(|| (allowed / 20).min(RESERVE_MAX));
    let inner = spec.leaves == LeafKind::Nodes;
    let limits = &spec.limits;
    Plan {
        policy: spec.policy.policy_for(shards.len()),
        // A client in a hurry gets a shorter reserve with its shorter time.
        reserve: reserve.min(allowed / 2),
        hedge: spec.hedge_policy().filter(|_| question.may_hedge && !inner),
        idempotent: question.idempotent(fanout),
        attempts_max: spec.retry.attempts_max,
        attempt_timeout: spec.attempt_timeout_ms.map(Duration::from_millis),
        canary: spec.canary.as_ref().map(|canary| Canary {
            shards: canary.shards,
            timeout: Duration::from_millis(canary.timeout_ms),
        }),
        caps: Caps {
            calls: limits.calls,
            reply_bytes: limits.reply_bytes,
            request_bytes: limits.request_bytes,
            ..Caps::default()
        },
        ..Plan::new(fanout.map().clone(), rows, now + allowed)
    }
}

async fn finish(merging: Box<dyn Merging>, nested: bool, deadline: Mono) -> Result<Merged, Error> {
    let within = deadline.since(monotonic());
    let merged = if nested {
        merging.partial()
    } else {
        merging.finish(within).await
    };
    merged.map_err(|failure| match failure {
        MergeFailure::Timeout(_) => Error::new(
            Code::DeadlineExceeded,
            format!("{failure}: raise reserve_ms, which is its time"),
        ),
        MergeFailure::NoResult(_) | MergeFailure::External(_) => {
            Error::new(Code::InsufficientShards, failure.to_string())
        }
    })
}

/// What makes a request dangerous: where it goes and what it says. Not kept beyond the process.
fn fingerprint(question: &Question) -> u64 {
    let mut hasher = DefaultHasher::new();
    (question.method.as_str(), &question.path, &question.query).hash(&mut hasher);
    question.body.hash(&mut hasher);
    hasher.finish()
}

fn quarantined(fanout: &Fanout, fingerprint: u64, now: Mono) -> Result<(), Error> {
    let mut quarantine = fanout
        .quarantine
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match quarantine.remaining(fingerprint, now) {
        None => Ok(()),
        Some(left) => {
            let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let told = "this request crashed the shards that tried it first, so it is not sent for a while";
            Err(Error::new(Code::OverQuota, told).retry_after_ms(ms))
        }
    }
}

fn count(fanout: &Fanout, outcome: &Outcome) {
    let name = fanout.name().to_string();
    let verdict = match outcome.verdict {
        Verdict::Complete => "complete",
        Verdict::Partial => "partial",
        Verdict::Failed(_) => "failed",
    };
    metrics::counter!("quorate_scatter_requests_total", "fanout" => name.clone(), "verdict" => verdict)
        .increment(1);
    metrics::histogram!("quorate_scatter_request_seconds", "fanout" => name.clone())
        .record(outcome.elapsed.as_secs_f64());
    let effort = &outcome.accounting.effort;
    for (kind, number) in [
        ("primary", effort.sends - effort.hedges - effort.retries),
        ("hedge", effort.hedges),
        ("retry", effort.retries),
        ("hedge_won", effort.hedges_won),
        ("denied", effort.denied),
    ] {
        if number > 0 {
            metrics::counter!("quorate_scatter_calls_total", "fanout" => name.clone(), "kind" => kind)
                .increment(u64::from(number));
        }
    }
    let counts = &outcome.accounting.counts;
    for (fate, number) in [
        ("merged", counts.merged),
        ("failed", counts.failed),
        ("timed_out", counts.timed_out),
        ("skipped", counts.skipped),
        ("unneeded", counts.unneeded),
    ] {
        if number > 0 {
            metrics::counter!("quorate_scatter_shards_total", "fanout" => name.clone(), "fate" => fate)
                .increment(number);
        }
    }
}

/// One attempt as the shell keeps it.
struct Attempt {
    line: AttemptLine,
    sent: Option<Mono>,
    target: Option<Arc<Target>>,
    abort: Option<AbortHandle>,
    staged: Option<(Piece, crate::pool::Reply)>,
}

/// A request under way.
struct Run<'a> {
    fanout: &'a Arc<Fanout>,
    outgoing: Outgoing<'a>,
    shards: Vec<usize>,
    replicas: Vec<Arc<Replicas>>,
    gather: Gather,
    merging: Box<dyn Merging>,
    attempts: Vec<Attempt>,
    /// What was last said about a shard's failure.
    details: Vec<Option<String>>,
    calls: FuturesUnordered<BoxFuture<'static, Option<Ended>>>,
    inputs: VecDeque<Input>,
    timer: Option<Mono>,
    begin: Mono,
}

/// What is left of a run for its answer.
struct Ran {
    shards: Vec<usize>,
    replicas: Vec<Arc<Replicas>>,
    attempts: Vec<Attempt>,
    details: Vec<Option<String>>,
}

impl<'a> Run<'a> {
    fn new(
        fanout: &'a Arc<Fanout>,
        question: &'a Question,
        shards: Vec<usize>,
        gather: Gather,
    ) -> Self {
        let merge_bytes = usize::try_from(fanout.spec().limits.merge_bytes).unwrap_or(usize::MAX);
        Self {
            fanout,
            outgoing: Outgoing::new(fanout, question),
            replicas: shards.iter().map(|shard| fanout.replicas(*shard)).collect(),
            details: vec![None; shards.len()],
            attempts: Vec::with_capacity(shards.len()),
            shards,
            gather,
            merging: fanout.merger().init(Bounds { merge_bytes }),
            calls: FuturesUnordered::new(),
            inputs: VecDeque::from([Input::Start]),
            timer: None,
            begin: monotonic(),
        }
    }

    async fn drive(mut self) -> (Outcome, Box<dyn Merging>, Ran) {
        let clock = (Instant::now(), monotonic());
        let mut out = Vec::new();
        let outcome = loop {
            if let Some(outcome) = self.turn(&mut out) {
                break outcome;
            }
            let at = self.timer.map(|at| clock.0 + at.since(clock.1));
            let wait = async {
                match at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let input = tokio::select! {
                Some(ended) = self.calls.next() => ended.and_then(|ended| self.ended(ended)),
                () = wait => {
                    self.timer = None;
                    Some(Input::Timer)
                }
            };
            self.inputs.extend(input);
        };
        // Losers are cancelled by being dropped.
        let ran = Ran {
            shards: self.shards,
            replicas: self.replicas,
            attempts: self.attempts,
            details: self.details,
        };
        (*outcome, self.merging, ran)
    }

    /// Feeds the engine until it wants nothing more.
    fn turn(&mut self, out: &mut Vec<Output>) -> Option<Box<Outcome>> {
        let mut finished = None;
        while let Some(input) = self.inputs.pop_front() {
            let budgets = self.fanout.budgets();
            self.gather.step(monotonic(), input, budgets, out);
            for output in out.drain(..) {
                match output {
                    Output::Choose {
                        attempt,
                        shard,
                        excluded,
                        kind,
                    } => {
                        let chosen = self.replicas[shard.index()].choose(excluded, kind);
                        let input = chosen_input(&mut self.attempts, attempt, kind, shard, chosen);
                        self.inputs.push_back(input);
                    }
                    Output::Send {
                        attempt,
                        shard,
                        replica,
                        kind,
                        remaining,
                    } => {
                        let call = self.prepare(attempt, shard, replica, kind, remaining);
                        self.calls.extend(call);
                    }
                    Output::Cancel { attempt, .. } => self.cancel(attempt),
                    Output::SetTimer { at } => self.timer = Some(at),
                    Output::Accept { attempt, shard } => {
                        let input = self.accept(attempt, shard);
                        self.inputs.push_back(input);
                    }
                    Output::Finish(outcome) => finished = Some(outcome),
                }
            }
        }
        finished
    }

    fn prepare(
        &mut self,
        attempt: AttemptId,
        shard: ShardIndex,
        replica: Replica,
        kind: crate::gather::Kind,
        remaining: Duration,
    ) -> Option<BoxFuture<'static, Option<Ended>>> {
        let replicas = &self.replicas[shard.index()];
        let target = Arc::clone(replicas.targets().get(usize::from(replica.0))?);
        let place = self.shards[shard.index()];
        let call = self.outgoing.call(place, target.url(), kind, remaining);
        if kind == crate::gather::Kind::Primary && self.gather.plan().idempotent {
            replicas.shadow(&call, remaining);
        }
        let (abort, registration) = AbortHandle::new_pair();
        let row = self.attempts.get_mut(attempt.index())?;
        let now = monotonic();
        row.sent = Some(now);
        row.line.sent_us = Some(micros(now.since(self.begin)));
        row.abort = Some(abort);
        row.target = Some(Arc::clone(&target));
        let calling = async move { (attempt, target.call(&call).await) };
        Some(Box::pin(async move {
            Abortable::new(calling, registration).await.ok()
        }))
    }

    fn cancel(&mut self, attempt: AttemptId) {
        let now = monotonic();
        if let Some(row) = self.attempts.get_mut(attempt.index()) {
            row.staged = None;
            if let Some(abort) = row.abort.take() {
                abort.abort();
            }
            row.end(now, "cancelled", None);
        }
    }

    /// A call has ended by itself.
    fn ended(&mut self, (attempt, outcome): Ended) -> Option<Input> {
        let now = monotonic();
        let row = self.attempts.get_mut(attempt.index())?;
        row.abort = None;
        let shard = row.line.index;
        let read = outcome.and_then(|reply| {
            let (told, piece) = leaf::read(self.fanout, self.shards[shard], &reply)?;
            Ok((told, piece, reply))
        });
        match read {
            Ok((told, piece, reply)) => {
                row.end(now, "answered", None);
                let bytes = piece.body.len() as u64;
                row.staged = Some((piece, reply));
                Some(Input::Reply {
                    attempt,
                    bytes,
                    told,
                })
            }
            Err(error) => {
                row.end(now, error.reason.as_str(), Some(error.detail.clone()));
                self.details[shard] = Some(error.detail);
                Some(Input::Failed {
                    attempt,
                    reason: error.reason,
                    pushback: error.pushback,
                })
            }
        }
    }

    fn accept(&mut self, attempt: AttemptId, shard: ShardIndex) -> Input {
        let row = &mut self.attempts[attempt.index()];
        let Some((piece, _reply)) = row.staged.take() else {
            // The engine accepts only what was staged and not cancelled.
            return Input::Refused {
                attempt,
                reason: Reason::Cancelled,
            };
        };
        match self.merging.push(piece) {
            Ok(()) => {
                row.line.outcome = "merged".to_owned();
                Input::Merged { attempt }
            }
            Err(refusal) => {
                if refusal.reason.retryable()
                    && let Some(target) = &row.target
                {
                    target.disappointed();
                }
                row.line.outcome = refusal.reason.as_str().to_owned();
                row.line.detail = Some(refusal.detail.clone());
                self.details[shard.index()] = Some(refusal.detail);
                Input::Refused {
                    attempt,
                    reason: refusal.reason,
                }
            }
        }
    }
}

fn chosen_input(
    attempts: &mut Vec<Attempt>,
    attempt: AttemptId,
    kind: crate::gather::Kind,
    shard: ShardIndex,
    chosen: Option<Chosen>,
) -> Input {
    // Attempts are numbered without gaps, in the order of their choice.
    while attempts.len() <= attempt.index() {
        attempts.push(Attempt {
            line: AttemptLine {
                index: shard.index(),
                ..AttemptLine::default()
            },
            sent: None,
            target: None,
            abort: None,
            staged: None,
        });
    }
    let line = &mut attempts[attempt.index()].line;
    line.index = shard.index();
    line.kind = match kind {
        crate::gather::Kind::Primary => "primary",
        crate::gather::Kind::Retry => "retry",
        crate::gather::Kind::Hedge => "hedge",
    };
    match chosen {
        None => {
            line.outcome = "no_replica".to_owned();
            Input::NoReplica { attempt }
        }
        Some(chosen) => {
            line.replica = Some(chosen.target.url().to_string());
            line.outcome = "not_sent".to_owned();
            Input::Chosen {
                attempt,
                replica: chosen.replica,
                p50: chosen.target.p50(),
                late_after: chosen.target.late_after(),
            }
        }
    }
}

impl Attempt {
    fn end(&mut self, now: Mono, outcome: &str, detail: Option<String>) {
        if let Some(sent) = self.sent.take() {
            self.line.took_us = Some(micros(now.since(sent)));
        }
        self.line.outcome = outcome.to_owned();
        self.line.detail = detail;
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
