//! One request from its plan to its answer: what the driver needs to know of fan-outs.

use super::answer::{Answer, AttemptLine, refused};
use super::fanout::Fanout;
use super::leaf::{self, Outgoing};
use super::question::Question;
use super::{DEPTH_MAX, Root};
use crate::definition::LeafKind;
use crate::drive::{Choice, Ended, Order, Shell, drive};
use crate::gather::{
    AttemptId, Canary, Caps, Failure, Kind, Plan, Reason, ReplicaSet, ShardIndex, ShardPlan,
    Verdict,
};
use crate::merge::{Bounds, MergeFailure, Merged, Merging, Piece};
use crate::pool::{CallError, Replicas, Reply, Target};
use quorate_core::clock::monotonic;
use quorate_core::error::{Code, Error};
use quorate_core::types::Mono;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The reserve if the definition names none: a twentieth of the time, at most this.
const RESERVE_MAX: Duration = Duration::from_millis(50);

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
        let calls = usize::try_from(fanout.spec().limits.calls).unwrap_or(usize::MAX);
        let permit = self.admission().enter(shards.len().min(calls))?;
        if fanout.is_unfound() {
            // The request goes on without what is not known by then.
            let _ = tokio::time::timeout(allowed / 2, fanout.found()).await;
        }
        let replicas: Vec<_> = shards.iter().map(|shard| fanout.replicas(*shard)).collect();
        let plan = plan(fanout, &question, &shards, &replicas, started, allowed);
        let deadline = plan.deadline;
        let idempotent = plan.idempotent;
        let mut run = Run::new(fanout, &question, shards, replicas, idempotent);
        let outcome = drive(plan, fanout.budgets(), &mut run, Run::send)
            .await
            .map_err(|error| Error::invalid(error.to_string()))?;
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
        fanout.meters().count(&outcome);
        let merged = match outcome.verdict {
            Verdict::Failed(failure) => return Err(refused(failure, &outcome, &ids, &run.details)),
            Verdict::Complete | Verdict::Partial => {
                finish(run.merging, question.nested, deadline).await?
            }
        };
        Ok(Answer::new(
            fanout,
            &ids,
            &replicas,
            &outcome,
            merged,
            attempts,
            run.details,
        ))
    }
}

fn plan(
    fanout: &Fanout,
    question: &Question,
    shards: &[usize],
    replicas: &[Arc<Replicas>],
    now: Mono,
    allowed: Duration,
) -> Plan {
    let spec = fanout.spec();
    let required = spec.policy.required();
    let rows: Vec<ShardPlan> = shards
        .iter()
        .zip(replicas)
        .map(|(&shard, replicas)| {
            let replicas = replicas.targets().len();
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

/// One attempt as the shell keeps it.
#[derive(Default)]
struct Attempt {
    line: AttemptLine,
    sent: Option<Mono>,
    target: Option<Arc<Target>>,
}

/// A request under way.
struct Run<'a> {
    fanout: &'a Arc<Fanout>,
    outgoing: Outgoing<'a>,
    idempotent: bool,
    shards: Vec<usize>,
    replicas: Vec<Arc<Replicas>>,
    merging: Box<dyn Merging>,
    attempts: Vec<Attempt>,
    /// What was last said about a shard's failure.
    details: Vec<Option<String>>,
    begin: Mono,
}

impl<'a> Run<'a> {
    fn new(
        fanout: &'a Arc<Fanout>,
        question: &'a Question,
        shards: Vec<usize>,
        replicas: Vec<Arc<Replicas>>,
        idempotent: bool,
    ) -> Self {
        let merge_bytes = usize::try_from(fanout.spec().limits.merge_bytes).unwrap_or(usize::MAX);
        Self {
            fanout,
            outgoing: Outgoing::new(fanout, question),
            idempotent,
            replicas,
            details: vec![None; shards.len()],
            attempts: Vec::with_capacity(shards.len()),
            shards,
            merging: fanout.merger().init(Bounds { merge_bytes }),
            begin: monotonic(),
        }
    }

    /// The future of a call. It holds nothing of the request.
    fn send(&mut self, order: Order) -> impl Future<Output = Result<Reply, CallError>> + use<> {
        let replicas = &self.replicas[order.shard.index()];
        let target = self.attempts[order.attempt.index()].target.clone();
        let call = target.as_ref().map(|target| {
            let place = self.shards[order.shard.index()];
            self.outgoing
                .call(place, target, order.kind, order.remaining)
        });
        if let Some(Ok(call)) = &call
            && order.kind == Kind::Primary
            && self.idempotent
        {
            replicas.shadow(call, order.remaining);
        }
        let row = &mut self.attempts[order.attempt.index()];
        row.sent = Some(order.sent);
        row.line.sent_us = Some(micros(order.sent.since(self.begin)));
        async move {
            match target.zip(call) {
                Some((target, call)) => target.call(&call?).await,
                None => Err(CallError::new(Reason::NoReplica, "no replica was chosen")),
            }
        }
    }

    fn row(&mut self, attempt: AttemptId) -> &mut Attempt {
        if self.attempts.len() <= attempt.index() {
            self.attempts
                .resize_with(attempt.index() + 1, Attempt::default);
        }
        &mut self.attempts[attempt.index()]
    }
}

impl Shell for Run<'_> {
    type Raw = Result<Reply, CallError>;
    /// What is merged, and the answer that holds its room until then.
    type Staged = (Piece, Reply);

    fn choose(
        &mut self,
        attempt: AttemptId,
        shard: ShardIndex,
        excluded: ReplicaSet,
        kind: Kind,
    ) -> Option<Choice> {
        let chosen = self.replicas[shard.index()].choose(excluded, kind);
        let row = self.row(attempt);
        row.line.index = shard.index();
        row.line.kind = match kind {
            Kind::Primary => "primary",
            Kind::Retry => "retry",
            Kind::Hedge => "hedge",
        };
        let Some(chosen) = chosen else {
            row.line.outcome = "no_replica";
            return None;
        };
        row.line.replica = Some(Arc::clone(chosen.target.name()));
        row.line.outcome = "not_sent";
        let choice = Choice {
            replica: chosen.replica,
            p50: chosen.target.p50(),
            late_after: chosen.target.late_after(),
        };
        row.target = Some(chosen.target);
        Some(choice)
    }

    fn landed(&mut self, now: Mono, order: &Order, raw: Self::Raw) -> Ended<Self::Staged> {
        let shard = order.shard.index();
        let read = raw.and_then(|reply| {
            let (told, piece) = leaf::read(self.fanout, self.shards[shard], &reply)?;
            Ok((told, piece, reply))
        });
        let row = &mut self.attempts[order.attempt.index()];
        match read {
            Ok((told, piece, reply)) => {
                row.end(now, "answered", None);
                Ended::Reply {
                    bytes: piece.body.len() as u64,
                    staged: (piece, reply),
                    told,
                }
            }
            Err(error) => {
                row.end(now, error.reason.as_str(), Some(error.detail.clone()));
                self.details[shard] = Some(error.detail);
                Ended::Failed {
                    reason: error.reason,
                    pushback: error.pushback,
                }
            }
        }
    }

    fn merge(&mut self, order: &Order, (piece, _reply): Self::Staged) -> Result<(), Reason> {
        let row = &mut self.attempts[order.attempt.index()];
        let Err(refusal) = self.merging.push(piece) else {
            row.line.outcome = "merged";
            return Ok(());
        };
        if refusal.reason.retryable()
            && let Some(target) = &row.target
        {
            target.disappointed();
        }
        row.line.outcome = refusal.reason.as_str();
        row.line.detail = Some(refusal.detail.clone());
        self.details[order.shard.index()] = Some(refusal.detail);
        Err(refusal.reason)
    }

    fn cancelled(&mut self, now: Mono, order: &Order) {
        self.attempts[order.attempt.index()].end(now, "cancelled", None);
    }
}

impl Attempt {
    fn end(&mut self, now: Mono, outcome: &'static str, detail: Option<String>) {
        if let Some(sent) = self.sent.take() {
            self.line.took_us = Some(micros(now.since(sent)));
        }
        self.line.outcome = outcome;
        self.line.detail = detail;
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
