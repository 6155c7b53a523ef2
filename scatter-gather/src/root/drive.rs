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
        if question.body.len() as u64 > fanout.spec().limits.body_bytes {
            return Err(fanout.body_too_large());
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
        drop(permit);
        fanout.meters().count(&outcome);
        let merged = match outcome.verdict {
            Verdict::Failed(failure) => {
                return Err(refused(
                    failure,
                    &outcome,
                    fanout,
                    &run.shards,
                    &run.details,
                ));
            }
            Verdict::Complete | Verdict::Partial => {
                finish(run.merging, question.nested, deadline).await?
            }
        };
        Ok(Answer::new(
            fanout,
            &run.shards,
            &run.replicas,
            &outcome,
            merged,
            run.attempts,
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
    let rows: Vec<ShardPlan> = shards
        .iter()
        .zip(replicas)
        .map(|(&shard, replicas)| {
            let replicas = replicas.targets().len();
            ShardPlan {
                weight: spec.shards[shard].weight,
                required: fanout.is_required(shard),
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

/// A request under way.
struct Run<'a> {
    fanout: &'a Arc<Fanout>,
    outgoing: Outgoing<'a>,
    idempotent: bool,
    shards: Vec<usize>,
    replicas: Vec<Arc<Replicas>>,
    merging: Box<dyn Merging>,
    /// By attempt, also those that were not sent.
    attempts: Vec<AttemptLine>,
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
        let shard = order.shard.index();
        let row = &mut self.attempts[order.attempt.index()];
        row.sent_us = Some(micros(order.sent.since(self.begin)));
        let none = || CallError::new(Reason::NoReplica, "no replica was chosen");
        let target = self.target(&order).map(Arc::clone).ok_or_else(none);
        let call = target.and_then(|target| {
            let call =
                self.outgoing
                    .call(self.shards[shard], &target, order.kind, order.remaining)?;
            Ok((target, call))
        });
        if let Ok((_, call)) = &call
            && order.kind == Kind::Primary
            && self.idempotent
        {
            self.replicas[shard].shadow(call, order.remaining);
        }
        async move {
            // By reference: what is moved within a future takes its room twice.
            match &call {
                Ok((target, call)) => target.call(call, order.sent).await,
                Err(error) => Err(error.clone()),
            }
        }
    }

    fn target(&self, order: &Order) -> Option<&Arc<Target>> {
        let targets = self.replicas[order.shard.index()].targets();
        targets.get(usize::from(order.replica.0))
    }
}

impl Shell for Run<'_> {
    type Raw = Result<Reply, CallError>;
    /// What is merged, and the answer that holds its room until then.
    type Staged = (Piece, Reply);

    fn choose(
        &mut self,
        now: Mono,
        attempt: AttemptId,
        shard: ShardIndex,
        excluded: ReplicaSet,
        kind: Kind,
    ) -> Option<Choice> {
        let chosen = self.replicas[shard.index()].choose(excluded, kind, now);
        let line = AttemptLine {
            index: shard.index(),
            kind: match kind {
                Kind::Primary => "primary",
                Kind::Retry => "retry",
                Kind::Hedge => "hedge",
            },
            replica: chosen.map(|chosen| Arc::clone(chosen.target.name())),
            outcome: if chosen.is_some() {
                "not_sent"
            } else {
                "no_replica"
            },
            ..AttemptLine::default()
        };
        let choice = chosen.map(|chosen| Choice {
            replica: chosen.replica,
            p50: chosen.target.p50(),
            late_after: chosen.target.late_after(),
        });
        let rows = self.attempts.len().max(attempt.index() + 1);
        self.attempts.resize_with(rows, AttemptLine::default);
        self.attempts[attempt.index()] = line;
        choice
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
                row.end(order, now, "answered", None);
                Ended::Reply {
                    bytes: piece.body.len() as u64,
                    staged: (piece, reply),
                    told,
                }
            }
            Err(error) => {
                row.end(
                    order,
                    now,
                    error.reason.as_str(),
                    Some(error.detail.clone()),
                );
                self.details[shard] = Some(error.detail);
                Ended::Failed {
                    reason: error.reason,
                    pushback: error.pushback,
                }
            }
        }
    }

    fn merge(&mut self, order: &Order, (piece, _reply): Self::Staged) -> Result<(), Reason> {
        let pushed = self.merging.push(piece);
        if let Err(refusal) = &pushed
            && refusal.reason.retryable()
            && let Some(target) = self.target(order)
        {
            target.disappointed();
        }
        let row = &mut self.attempts[order.attempt.index()];
        let Err(refusal) = pushed else {
            row.outcome = "merged";
            return Ok(());
        };
        row.outcome = refusal.reason.as_str();
        row.detail = Some(refusal.detail.clone());
        self.details[order.shard.index()] = Some(refusal.detail);
        Err(refusal.reason)
    }

    fn cancelled(&mut self, now: Mono, order: &Order) {
        self.attempts[order.attempt.index()].end(order, now, "cancelled", None);
    }
}

impl AttemptLine {
    fn end(&mut self, order: &Order, now: Mono, outcome: &'static str, detail: Option<String>) {
        self.took_us = Some(micros(now.since(order.sent)));
        self.outcome = outcome;
        self.detail = detail;
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{FanoutSpec, ShardSpec};
    use crate::gather::Replica;
    use crate::merge::MergeSpec;
    use crate::pool::{AdmissionCaps, Call};
    use crate::root::Origin;
    use bytes::Bytes;
    use quorate_core::types::Name;

    /// The future of a call is little more than the call and its exchange: a thousand of them lie in memory at
    /// once, and what they take beyond the caches is most of what a large fan-out costs.
    #[tokio::test]
    async fn a_call_under_way_takes_little_room() {
        let root = Root::new(AdmissionCaps::default());
        let shard = ShardSpec {
            id: "0".to_owned(),
            replicas: vec!["http://127.0.0.1:1".to_owned()],
            range: None,
            weight: 1,
        };
        let spec = FanoutSpec::new(vec![shard], MergeSpec::sum("/value").unwrap());
        let name = Name::new("small").unwrap();
        let fanout = root.put(&name, spec, Origin::Api).unwrap();
        let question = Question::query(Bytes::new());
        let replicas = vec![fanout.replicas(0)];
        let target = Arc::clone(&replicas[0].targets()[0]);
        let mut run = Run::new(&fanout, &question, vec![0], replicas, true);
        run.attempts.push(AttemptLine::default());
        let sent = run.send(Order {
            attempt: AttemptId(0),
            shard: ShardIndex(0),
            replica: Replica(0),
            kind: Kind::Primary,
            sent: monotonic(),
            remaining: Duration::from_secs(1),
        });
        let call = Call::new(http::Method::GET, target.path().clone(), 1);
        let exchange = size_of_val(&target.call(&call, Mono(0)));
        let sent = size_of_val(&sent);
        println!(
            "sent {sent}, call {}, exchange {exchange}",
            size_of::<Call>()
        );
        assert!(sent <= exchange + size_of::<Call>() + 64, "{sent}");
    }
}
