//! The driver on a real clock. Everything waits for events, and generous times only bound a failure.

use super::*;
use crate::gather::{Budget, Fate, HedgePolicy, MapId, Policy, ShardPlan, Verdict};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Sums what the leaves answer; the first untried replica is offered.
#[derive(Default)]
struct Sum {
    replicas: u8,
    sum: u64,
    cancelled: usize,
    refuse: Option<u64>,
}

impl Shell for Sum {
    type Raw = Ended<u64>;
    type Staged = u64;

    fn choose(
        &mut self,
        _: Mono,
        _: AttemptId,
        _: ShardIndex,
        excluded: ReplicaSet,
        _: Kind,
    ) -> Option<Choice> {
        let replica = (0..self.replicas)
            .map(Replica)
            .find(|&r| !excluded.contains(r))?;
        Some(Choice {
            replica,
            p50: Duration::ZERO,
            late_after: None,
        })
    }

    fn merge(&mut self, _: &Order, staged: u64) -> Result<(), Reason> {
        if self.refuse == Some(staged) {
            return Err(Reason::Nonsense);
        }
        self.sum += staged;
        Ok(())
    }

    fn landed(&mut self, _: Mono, _: &Order, raw: Self::Raw) -> Ended<u64> {
        raw
    }

    fn cancelled(&mut self, _: Mono, _: &Order) {
        self.cancelled += 1;
    }
}

fn plan(shards: usize, replicas: u8) -> Plan {
    let map = MapId {
        name: Arc::from("test"),
        version: 1,
    };
    Plan {
        idempotent: true,
        ..Plan::new(
            map,
            vec![ShardPlan::new(replicas); shards],
            monotonic() + Duration::from_secs(60),
        )
    }
}

async fn gather<C>(plan: Plan, shell: &mut Sum, send: impl FnMut(&mut Sum, Order) -> C) -> Outcome
where
    C: Future<Output = Ended<u64>>,
{
    let (hedges, retries) = (Budget::hedges(), Budget::retries());
    let budgets = Budgets {
        hedges: &hedges,
        retries: &retries,
    };
    drive(plan, budgets, shell, send).await.unwrap()
}

fn reply(value: u64) -> Ended<u64> {
    Ended::Reply {
        staged: value,
        bytes: 8,
        told: Told::Whole,
    }
}

/// Counts the calls whose futures exist.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A thousand leaves in one task: each is in the sum once.
#[tokio::test]
async fn a_thousand_leaves_are_summed() {
    let mut shell = Sum {
        replicas: 1,
        ..Sum::default()
    };
    let outcome = gather(plan(1_000, 1), &mut shell, |_, order| async move {
        tokio::task::yield_now().await;
        reply(u64::from(order.shard.0) + 1)
    })
    .await;
    assert!(outcome.complete());
    assert_eq!(shell.sum, 500_500);
}

/// A hung replica is hedged; when the hedge has won, the loser's future is dropped, before the end.
#[tokio::test]
async fn losers_are_dropped() {
    let alive = Arc::new(AtomicUsize::new(0));
    let hung_gone = Arc::new(tokio::sync::Notify::new());
    let mut plan = plan(2, 2);
    plan.hedge = Some(HedgePolicy {
        // Both shards are late together, and that is what is wanted here.
        late_together_max: crate::gather::Share::ONE,
        ..HedgePolicy::delay(Duration::from_millis(2))
    });
    let mut shell = Sum {
        replicas: 2,
        ..Sum::default()
    };
    let outcome = gather(plan, &mut shell, |_, order| {
        let (alive, gone) = (Alive::new(&alive), Arc::clone(&hung_gone));
        let count = Arc::clone(&alive.0);
        async move {
            let _alive = alive;
            match (order.shard.0, order.replica.0) {
                (0, 0) => {
                    // Hangs; says so when it is dropped.
                    struct Tell(Arc<tokio::sync::Notify>);
                    impl Drop for Tell {
                        fn drop(&mut self) {
                            self.0.notify_one();
                        }
                    }
                    let _tell = Tell(gone);
                    std::future::pending::<()>().await;
                }
                // The other shard ends only after the loser is gone.
                (1, _) => {
                    gone.notified().await;
                    assert!(count.load(Ordering::SeqCst) <= 2);
                }
                _ => {}
            }
            reply(1 << order.shard.0)
        }
    })
    .await;
    assert_eq!((outcome.verdict, shell.sum), (Verdict::Complete, 3));
    assert_eq!(
        shell.cancelled,
        outcome.accounting.effort.sends as usize - 2
    );
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

/// The cutoff ends a request whose leaves hang, and a request that is dropped drops its calls.
#[tokio::test]
async fn hung_leaves_end_with_the_request() {
    let alive = Arc::new(AtomicUsize::new(0));
    let hang = |_: &mut Sum, _: Order| {
        let alive = Alive::new(&alive);
        async move {
            let _alive = alive;
            std::future::pending::<Ended<u64>>().await
        }
    };
    let mut short = plan(3, 1);
    short.deadline = monotonic() + Duration::from_millis(20);
    let mut shell = Sum {
        replicas: 1,
        ..Sum::default()
    };
    let outcome = gather(short, &mut shell, hang).await;
    assert!(
        outcome
            .accounting
            .shards
            .iter()
            .all(|line| line.fate == Fate::TimedOut)
    );
    assert_eq!(alive.load(Ordering::SeqCst), 0);

    let mut shell = Sum {
        replicas: 1,
        ..Sum::default()
    };
    tokio::select! {
        biased;
        _ = gather(plan(3, 1), &mut shell, hang) => unreachable!("nobody answers"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

/// Failures are retried elsewhere; what the merger refuses is not in the sum.
#[tokio::test]
async fn failures_and_refusals() {
    let mut plan = plan(3, 2);
    plan.policy = Policy::quorum(2);
    let mut shell = Sum {
        replicas: 2,
        refuse: Some(4),
        ..Sum::default()
    };
    let outcome = gather(plan, &mut shell, |_, order| async move {
        tokio::task::yield_now().await;
        if order.shard.0 == 0 && order.replica.0 == 0 {
            return Ended::Failed {
                reason: Reason::Reset,
                pushback: false,
            };
        }
        reply(1 << order.shard.0)
    })
    .await;
    assert_eq!(outcome.accounting.counts.merged, 2);
    assert_eq!(shell.sum, 3);
    assert!(outcome.accounting.effort.retries >= 1);
}
