//! Trees of any depth: an inner node is a gather of its own, whose account is its answer.

use super::scenario::map;
use crate::gather::{
    Budget, Budgets, Covered, Fate, HedgePolicy, Nested, Plan, Policy, Reason, Replica, ReplicaSet,
    ShardIndex, ShardPlan, Told, Verdict,
};
use crate::sim::rng::Rng;
use crate::sim::{Answer, Call, Leaves, drive};
use quorate_core::types::Mono;
use std::sync::Arc;
use std::time::Duration;

const WIDTH: u32 = 4;
/// The time of a request.
const WITHIN: Duration = Duration::from_millis(100);

/// How likely a call fails or hangs, by level from the leaves (0) up.
#[derive(Clone, Copy)]
struct Faults {
    fail: [f64; 3],
    hang: [f64; 3],
    /// How likely a leaf takes 60 ms.
    slow: f64,
}

struct Node<'a> {
    /// 0: its shards are leaves.
    level: usize,
    /// Names it among its siblings, all the way up.
    path: u64,
    seed: u64,
    faults: Faults,
    budgets: Budgets<'a>,
    /// Values that children reported, until they are merged.
    staged: Vec<(u32, u64)>,
    sum: u64,
    /// Calls to leaves, in the whole subtree.
    leaf_calls: u64,
}

/// Every leaf has a value of its own.
fn value(path: u64) -> u64 {
    1 + path * path
}

impl Node<'_> {
    fn gather(&mut self, start: Mono, deadline: Mono) -> (Mono, crate::gather::Outcome) {
        let plan = Plan {
            policy: Policy::DEADLINE,
            idempotent: true,
            reserve: Duration::from_millis(2),
            // Only the level next to the leaves hedges and retries.
            hedge: (self.level == 0).then(|| HedgePolicy::delay(Duration::from_millis(20))),
            attempts_max: if self.level == 0 { 3 } else { 1 },
            ..Plan::new(
                map(&format!("level{}-{}", self.level, self.path), 1),
                vec![ShardPlan::new(if self.level == 0 { 2 } else { 1 }); WIDTH as usize],
                deadline,
            )
        };
        // Each node has budgets of its own; those of the level next to the leaves are looked at.
        let (hedges, retries) = (Budget::hedges(), Budget::retries());
        let budgets = if self.level == 0 {
            self.budgets
        } else {
            Budgets {
                hedges: &hedges,
                retries: &retries,
            }
        };
        let run = drive(plan, start, self, budgets);
        (run.end, run.outcome)
    }
}

impl Leaves for Node<'_> {
    fn choose(
        &mut self,
        _: ShardIndex,
        excluded: ReplicaSet,
        _: Mono,
    ) -> Option<(Replica, Duration, Option<Duration>)> {
        let free = (0..2).map(Replica).find(|&r| !excluded.contains(r))?;
        Some((free, Duration::ZERO, None))
    }

    fn call(&mut self, call: &Call) -> Option<(Duration, Answer)> {
        let path = self.path * u64::from(WIDTH) + u64::from(call.shard.0);
        let mut rng = Rng::of(&[
            self.seed,
            self.level as u64,
            path,
            u64::from(call.replica.0),
        ]);
        let hop = Duration::from_micros(200 + rng.below(3_000));
        if rng.chance(self.faults.hang[self.level]) {
            return None;
        }
        if rng.chance(self.faults.fail[self.level]) {
            return Some((hop, Answer::Failed(Reason::Reset, false)));
        }
        if self.level == 0 {
            self.leaf_calls += 1;
            self.staged.push((call.attempt.0, value(path)));
            let slow = Duration::from_millis(if rng.chance(self.faults.slow) { 60 } else { 1 });
            return Some((hop + slow, Answer::Reply(Told::Whole)));
        }
        let mut child = Node {
            level: self.level - 1,
            path,
            staged: Vec::new(),
            sum: 0,
            leaf_calls: 0,
            ..*self
        };
        let start = call.sent + hop;
        let (end, outcome) = child.gather(start, call.sent + call.remaining);
        self.leaf_calls += child.leaf_calls;
        let took = end.since(call.sent);
        Some(match outcome.verdict {
            Verdict::Failed(_) => (took, Answer::Failed(Reason::Status(502), false)),
            Verdict::Complete | Verdict::Partial => {
                self.staged.push((call.attempt.0, child.sum));
                (
                    took,
                    Answer::Reply(Told::Nested(Box::new(told(&child, &outcome)))),
                )
            }
        })
    }

    fn merge(&mut self, call: &Call) -> bool {
        let attempt = call.attempt.0;
        let at = self.staged.iter().position(|s| s.0 == attempt).unwrap();
        self.sum += self.staged.swap_remove(at).1;
        true
    }
}

/// What a node tells its parent.
fn told(node: &Node<'_>, outcome: &crate::gather::Outcome) -> Nested {
    let account = &outcome.accounting;
    let mut covered = account.covered.clone();
    if node.level == 0 {
        let merged = (0_u32..)
            .zip(&account.shards)
            .filter(|(_, line)| line.fate == Fate::Merged);
        covered.push(Covered {
            map: account.map.clone(),
            shards: merged.map(|(i, _)| Arc::from(i.to_string())).collect(),
        });
    }
    Nested {
        leaves: account.leaves,
        covered,
        partial: outcome.verdict == Verdict::Partial,
    }
}

/// The sum of the leaves that the root says it covers.
fn sum_of(covered: &[Covered]) -> u64 {
    let mut sum = 0;
    for inner in covered {
        let node: u64 = inner
            .map
            .name
            .strip_prefix("level0-")
            .unwrap()
            .parse()
            .unwrap();
        for shard in &inner.shards {
            sum += value(node * u64::from(WIDTH) + shard.parse::<u64>().unwrap());
        }
    }
    sum
}

/// One request with budgets of its own.
fn run(seed: u64, faults: Faults) -> (u64, Mono, crate::gather::Outcome) {
    let (hedges, retries) = (Budget::hedges(), Budget::retries());
    let budgets = Budgets {
        hedges: &hedges,
        retries: &retries,
    };
    let (root, end, outcome) = run_with(seed, faults, budgets);
    (root.sum, end, outcome)
}

fn run_with(
    seed: u64,
    faults: Faults,
    budgets: Budgets<'_>,
) -> (Node<'_>, Mono, crate::gather::Outcome) {
    let mut root = Node {
        level: 2,
        path: 0,
        seed,
        faults,
        budgets,
        staged: Vec::new(),
        sum: 0,
        leaf_calls: 0,
    };
    // Requests are a second apart.
    let start = Mono(seed * 1_000_000_000);
    let (end, outcome) = root.gather(start, start + WITHIN);
    (root, end, outcome)
}

const CALM: Faults = Faults {
    fail: [0.0; 3],
    hang: [0.0; 3],
    slow: 0.05,
};

fn leaves() -> u64 {
    u64::from(WIDTH).pow(3)
}

/// Without faults a tree of three levels sums every leaf once and says that it is complete.
#[test]
fn a_calm_tree_is_complete() {
    for seed in 0..100 {
        let (sum, _, outcome) = run(seed, CALM);
        assert!(outcome.complete());
        let counts = outcome.accounting.leaves;
        assert_eq!((counts.planned, counts.merged), (leaves(), leaves()));
        assert_eq!(sum, (0..leaves()).map(value).sum::<u64>());
    }
}

/// A tree of three levels makes at most 5 % more calls to its leaves than there are leaves, and not 1.05³ of
/// them, however many are slow: only the level next to the leaves hedges, within its budget.
#[test]
fn levels_do_not_multiply() {
    let (hedges, retries) = (Budget::hedges(), Budget::retries());
    let budgets = Budgets {
        hedges: &hedges,
        retries: &retries,
    };
    let slow = Faults { slow: 0.1, ..CALM };
    let (mut calls, requests) = (0, 1_000);
    for seed in 0..requests {
        let (root, _, outcome) = run_with(seed, slow, budgets);
        assert!(outcome.complete());
        calls += root.leaf_calls;
    }
    // Ten hedges are saved up at the start.
    let amplification = (calls - 10) as f64 / (requests * leaves()) as f64;
    assert!((1.03..=1.05).contains(&amplification), "{amplification}");
}

/// With failures and hangs at each level the sum is that of the leaves the root says it covers, a
/// hole anywhere makes the root partial, and the deadline is kept.
#[test]
fn a_hole_at_any_level_is_told_at_the_top() {
    let mut partial = 0;
    for level in 0..3 {
        for seed in 0..100 {
            let mut faults = CALM;
            faults.fail[level] = 0.15;
            faults.hang[level] = 0.1;
            let (sum, end, outcome) = run(seed, faults);
            let account = &outcome.accounting;
            let late = end.since(Mono(seed * 1_000_000_000));
            assert!(late <= WITHIN, "level {level}, seed {seed}");
            assert!(account.leaves.adds_up() && account.counts.adds_up());
            assert_eq!(sum, sum_of(&account.covered), "level {level}, seed {seed}");
            let merged = account
                .covered
                .iter()
                .map(|c| c.shards.len() as u64)
                .sum::<u64>();
            assert_eq!(merged, account.leaves.merged, "level {level}, seed {seed}");
            assert_eq!(
                outcome.complete(),
                merged == leaves(),
                "level {level}, seed {seed}"
            );
            partial += u32::from(outcome.verdict == Verdict::Partial);
        }
    }
    assert!(partial > 50, "the faults bite: {partial}");
}
