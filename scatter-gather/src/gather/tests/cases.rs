//! By example: what each policy does, told in milliseconds.

use super::scenario::{map, nested};
use crate::gather::{
    Accounting, Budget, Budgets, Canary, Coverage, Failure, Fate, HedgePolicy, Plan, Policy,
    Reason, Replica, ReplicaSet, ShardIndex, ShardPlan, Share, Told, Verdict,
};
use crate::sim::{Answer, Call, Leaves, Run, drive};
use quorate_core::types::Mono;
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Leaves that answer as a table says: by shard, then by replica, `(after ms, how)`.
struct Table {
    rows: Vec<Vec<Option<(u64, Answer)>>>,
    late_after: Option<Duration>,
    p50: Duration,
    calls: Vec<(u32, u8, u64)>,
    refuse: Vec<u32>,
}

impl Table {
    fn new(rows: Vec<Vec<Option<(u64, Answer)>>>) -> Self {
        Self {
            rows,
            late_after: None,
            p50: Duration::ZERO,
            calls: Vec::new(),
            refuse: Vec::new(),
        }
    }

    /// One replica a shard, each answering after so long.
    fn plain(after: &[u64]) -> Self {
        Self::new(after.iter().map(|&ms| vec![ok(ms)]).collect())
    }

    fn plan(&self, policy: Policy) -> Plan {
        let shards: Vec<_> = self
            .rows
            .iter()
            .map(|replicas| ShardPlan::new(u8::try_from(replicas.len()).unwrap()))
            .collect();
        Plan {
            policy,
            idempotent: true,
            ..Plan::new(map("top", 1), shards, Mono(1_000_000_000))
        }
    }

    fn run(&mut self, plan: Plan) -> Run {
        let (hedges, retries) = (Budget::hedges(), Budget::retries());
        let budgets = Budgets {
            hedges: &hedges,
            retries: &retries,
        };
        drive(plan, Mono(0), self, budgets)
    }
}

impl Leaves for Table {
    fn choose(
        &mut self,
        shard: ShardIndex,
        excluded: ReplicaSet,
        _: Mono,
    ) -> Option<(Replica, Duration, Option<Duration>)> {
        let replicas = u8::try_from(self.rows[shard.index()].len()).unwrap();
        let free = (0..replicas)
            .map(Replica)
            .find(|&r| !excluded.contains(r))?;
        Some((free, self.p50, self.late_after))
    }

    fn call(&mut self, call: &Call) -> Option<(Duration, Answer)> {
        self.calls
            .push((call.shard.0, call.replica.0, call.sent.0 / 1_000_000));
        let (after, answer) = self.rows[call.shard.index()][usize::from(call.replica.0)].clone()?;
        Some((ms(after), answer))
    }

    fn merge(&mut self, call: &Call) -> bool {
        !self.refuse.contains(&call.shard.0)
    }
}

#[allow(clippy::unnecessary_wraps, reason = "a row of the table")]
fn ok(after: u64) -> Option<(u64, Answer)> {
    Some((after, Answer::Reply(Told::Whole)))
}

#[allow(clippy::unnecessary_wraps, reason = "a row of the table")]
fn fails(after: u64, reason: Reason) -> Option<(u64, Answer)> {
    Some((after, Answer::Failed(reason, false)))
}

const HANGS: Option<(u64, Answer)> = None;

fn end_ms(run: &Run) -> u64 {
    run.end.0 / 1_000_000
}

fn fates(account: &Accounting) -> Vec<Fate> {
    account.shards.iter().map(|line| line.fate).collect()
}

/// All: waits for the slowest, and one that fails fails the whole at once.
#[test]
fn all_needs_every_shard() {
    let mut leaves = Table::plain(&[10, 30, 20]);
    let run = leaves.run(leaves.plan(Policy::ALL));
    assert!(run.outcome.complete());
    assert_eq!(end_ms(&run), 30);

    let mut leaves = Table::new(vec![
        vec![ok(10)],
        vec![fails(5, Reason::Status(500))],
        vec![ok(20)],
    ]);
    let run = leaves.run(leaves.plan(Policy::ALL));
    assert_eq!(
        run.outcome.verdict,
        Verdict::Failed(Failure::InsufficientShards)
    );
    assert_eq!(end_ms(&run), 5, "there is nothing to wait for");
    assert_eq!(
        fates(&run.outcome.accounting),
        [Fate::Unneeded, Fate::Failed, Fate::Unneeded]
    );
}

/// Quorum: done as soon as it is met; the others are unneeded and the answer is not complete.
#[test]
fn quorum_and_first_stop_early() {
    for policy in [Policy::quorum(2), Policy::first(2)] {
        let mut leaves = Table::new(vec![vec![ok(10)], vec![HANGS], vec![ok(20)]]);
        let run = leaves.run(leaves.plan(policy));
        assert_eq!(run.outcome.verdict, Verdict::Partial);
        assert_eq!(end_ms(&run), 20);
        assert_eq!(
            run.outcome.accounting.shards[1].reason,
            Some(Reason::PolicyMet)
        );
    }
}

/// A quorum as floor and a higher `first` as stop: more if it comes in time, less if it must be.
#[test]
fn first_waits_on_above_the_quorum() {
    let both = Policy {
        first: Some(3),
        ..Policy::quorum(1)
    };
    let mut leaves = Table::plain(&[10, 20, 30, 40]);
    let run = leaves.run(leaves.plan(both));
    assert_eq!(
        (end_ms(&run), run.outcome.accounting.counts.merged),
        (30, 3)
    );

    let mut leaves = Table::new(vec![vec![ok(10)], vec![HANGS], vec![HANGS], vec![HANGS]]);
    let run = leaves.run(leaves.plan(both));
    assert_eq!(
        (end_ms(&run), run.outcome.verdict),
        (1000, Verdict::Partial)
    );
}

/// Coverage: the more is there, the less is waited for the rest.
#[test]
fn the_wait_for_the_rest_is_sloped() {
    // Four of eight needed, at 100 ms; 900 ms are left, and four are missing of four: all of it.
    let mut leaves = Table::new(vec![
        vec![ok(100)],
        vec![ok(100)],
        vec![ok(100)],
        vec![ok(100)],
        vec![HANGS],
        vec![HANGS],
        vec![HANGS],
        vec![HANGS],
    ]);
    let half = Share::ppm(500_000);
    let run = leaves.run(leaves.plan(Policy::coverage(half)));
    assert_eq!(
        (end_ms(&run), run.outcome.verdict),
        (1000, Verdict::Partial)
    );
    // With three of the four in at 100 ms too: a quarter of it.
    for shard in 4..7 {
        leaves.rows[shard] = vec![ok(100)];
    }
    let run = leaves.run(leaves.plan(Policy::coverage(half)));
    assert_eq!(end_ms(&run), 100 + 225);
    // At most a tenth of what is left, however much is missing.
    let short = Policy {
        coverage: Some(Coverage {
            min: half,
            wait_min: Share::ZERO,
            wait_max: Share::ppm(100_000),
        }),
        ..Policy::ALL
    };
    let run = leaves.run(leaves.plan(short));
    assert_eq!(end_ms(&run), 100 + 22, "22.5 ms");
}

/// Coverage counts weight, not shards.
#[test]
fn coverage_is_by_weight() {
    let mut leaves = Table::new(vec![
        vec![ok(10)],
        vec![fails(5, Reason::Reset)],
        vec![fails(5, Reason::Reset)],
    ]);
    let mut plan = leaves.plan(Policy::coverage(Share::ppm(800_000)));
    let mut shards = plan.shards.to_vec();
    shards[0].weight = 8;
    plan.shards = shards.into();
    assert_eq!(leaves.run(plan).outcome.verdict, Verdict::Partial);
    let plan = leaves.plan(Policy::coverage(Share::ppm(800_000)));
    assert!(matches!(
        leaves.run(plan).outcome.verdict,
        Verdict::Failed(_)
    ));
}

/// A required shard that fails is the end, whatever the quorum says.
#[test]
fn required_shards_are_required() {
    let mut leaves = Table::new(vec![
        vec![ok(10)],
        vec![fails(50, Reason::Status(500))],
        vec![ok(20)],
    ]);
    let mut plan = leaves.plan(Policy::quorum(2));
    let mut shards = plan.shards.to_vec();
    shards[1].required = true;
    plan.shards = shards.into();
    let run = leaves.run(plan);
    assert_eq!(
        run.outcome.verdict,
        Verdict::Failed(Failure::InsufficientShards)
    );
    assert_eq!(end_ms(&run), 50);
}

/// The cutoff is the deadline less the reserve; what is out by then has timed out.
#[test]
fn the_reserve_is_kept() {
    let mut leaves = Table::new(vec![vec![ok(10)], vec![HANGS]]);
    let mut plan = leaves.plan(Policy::DEADLINE);
    plan.reserve = ms(40);
    let run = leaves.run(plan);
    assert_eq!((end_ms(&run), run.outcome.verdict), (960, Verdict::Partial));
    assert_eq!(
        fates(&run.outcome.accounting),
        [Fate::Merged, Fate::TimedOut]
    );

    let mut nothing = Table::new(vec![vec![HANGS]]);
    let run = nothing.run(nothing.plan(Policy::DEADLINE));
    assert_eq!(
        run.outcome.verdict,
        Verdict::Failed(Failure::DeadlineExceeded)
    );
}

/// One slow replica: its twin is asked at the threshold and wins; the account says so.
#[test]
fn a_late_shard_is_hedged() {
    let slow = vec![Some((500, Answer::Reply(Told::Whole))), ok(5)];
    let mut leaves = Table::new(vec![slow, vec![ok(3), ok(3)], vec![ok(4), ok(4)]]);
    leaves.late_after = Some(ms(20));
    let mut plan = leaves.plan(Policy::ALL);
    plan.hedge = Some(HedgePolicy::default());
    let run = leaves.run(plan);
    assert_eq!((end_ms(&run), run.outcome.complete()), (25, true));
    let line = run.outcome.accounting.shards[0];
    assert_eq!(
        (line.attempts, line.hedges, line.replica),
        (2, 1, Some(Replica(1)))
    );
    let effort = run.outcome.accounting.effort;
    assert_eq!((effort.sends, effort.hedges, effort.hedges_won), (4, 1, 1));
}

/// With as many calls as may be made at once there is no room for a hedge, but there is when the others have
/// answered.
#[test]
fn a_late_shard_is_hedged_when_there_is_room() {
    let slow = vec![Some((500, Answer::Reply(Told::Whole))), ok(5)];
    let mut leaves = Table::new(vec![slow, vec![ok(3), ok(3)], vec![ok(4), ok(4)]]);
    leaves.late_after = Some(ms(20));
    let mut plan = leaves.plan(Policy::ALL);
    plan.hedge = Some(HedgePolicy::default());
    plan.caps.calls = 3;
    let run = leaves.run(plan);
    assert_eq!((end_ms(&run), run.outcome.complete()), (25, true));
}

/// The first *success* wins: a hedge that fails fast does not end the shard, nor is it retried while
/// the first is under way.
#[test]
fn an_error_never_beats_a_success() {
    let mut leaves = Table::new(vec![vec![ok(50), fails(1, Reason::Status(500)), ok(1)]]);
    leaves.late_after = Some(ms(20));
    let mut plan = leaves.plan(Policy::ALL);
    plan.hedge = Some(HedgePolicy::default());
    let run = leaves.run(plan);
    assert_eq!((end_ms(&run), run.outcome.complete()), (50, true));
}

/// All late at once: the cause is not a replica, and nothing is hedged.
#[test]
fn common_slowness_is_not_hedged() {
    let slow = || vec![ok(100), ok(100)];
    let mut leaves = Table::new((0..10).map(|_| slow()).collect());
    leaves.late_after = Some(ms(10));
    let mut plan = leaves.plan(Policy::ALL);
    plan.hedge = Some(HedgePolicy::default());
    let run = leaves.run(plan);
    let effort = run.outcome.accounting.effort;
    assert_eq!((effort.hedges, effort.late_together), (0, true));
    assert_eq!(end_ms(&run), 100);
}

/// A leaf that asks for less load ends the hedging of its request.
#[test]
fn pushback_stops_hedges() {
    let push = Some((5, Answer::Failed(Reason::Pushback, true)));
    let mut leaves = Table::new(vec![
        vec![push, ok(1)],
        vec![ok(100), ok(1)],
        vec![ok(1)],
        vec![ok(1)],
    ]);
    leaves.late_after = Some(ms(10));
    let mut plan = leaves.plan(Policy::ALL);
    plan.hedge = Some(HedgePolicy::default());
    let run = leaves.run(plan);
    let effort = run.outcome.accounting.effort;
    assert_eq!(
        (effort.hedges, effort.retries, effort.pushback),
        (0, 1, true)
    );
    assert!(run.outcome.complete());
}

/// A failure is retried on another replica, unless the time left is less than that one's median, the
/// call may not be made twice, or another would say the same.
#[test]
fn retries_know_when_they_are_pointless() {
    let rows = |reason| vec![vec![fails(900, reason), ok(5)]];
    let mut leaves = Table::new(rows(Reason::Reset));
    let run = leaves.run(leaves.plan(Policy::ALL));
    assert_eq!((end_ms(&run), run.outcome.complete()), (905, true));

    leaves.p50 = ms(200);
    let run = leaves.run(leaves.plan(Policy::ALL));
    assert_eq!((end_ms(&run), run.outcome.complete()), (900, false));
    assert_eq!(run.outcome.accounting.shards[0].reason, Some(Reason::Reset));

    leaves.p50 = Duration::ZERO;
    let mut plan = leaves.plan(Policy::ALL);
    plan.idempotent = false;
    assert_eq!(end_ms(&leaves.run(plan)), 900);

    let mut leaves = Table::new(rows(Reason::Status(404)));
    assert_eq!(end_ms(&leaves.run(leaves.plan(Policy::ALL))), 900);
}

/// An attempt's own timeout lets a hung replica be replaced.
#[test]
fn a_hung_replica_is_replaced() {
    let mut leaves = Table::new(vec![vec![HANGS, ok(5)]]);
    let mut plan = leaves.plan(Policy::ALL);
    plan.attempt_timeout = Some(ms(100));
    let run = leaves.run(plan);
    assert_eq!((end_ms(&run), run.outcome.complete()), (105, true));
}

/// A request that kills its canary is not sent to the rest; one that does not, is.
#[test]
fn the_canary_goes_first() {
    let canary = Some(Canary {
        shards: 1,
        timeout: ms(100),
    });
    let mut leaves = Table::plain(&[10, 20, 20]);
    let mut plan = leaves.plan(Policy::ALL);
    plan.canary = canary;
    let run = leaves.run(plan);
    assert_eq!((end_ms(&run), run.outcome.complete()), (30, true));

    for (first, end) in [(fails(7, Reason::Reset), 7), (HANGS, 100)] {
        let mut leaves = Table::new(vec![vec![first], vec![ok(20)], vec![ok(20)]]);
        let mut plan = leaves.plan(Policy::quorum(1));
        plan.canary = canary;
        let run = leaves.run(plan);
        assert_eq!(run.outcome.verdict, Verdict::Failed(Failure::Canary));
        assert_eq!((end_ms(&run), leaves.calls.len()), (end, 1));
        assert_eq!(
            fates(&run.outcome.accounting)[1..],
            [Fate::Skipped, Fate::Skipped]
        );
    }

    // A leaf that is merely down says nothing about the request.
    let mut leaves = Table::new(vec![vec![fails(1, Reason::Connect)], vec![ok(20)]]);
    let mut plan = leaves.plan(Policy::quorum(1));
    plan.canary = canary;
    assert_eq!(leaves.run(plan).outcome.verdict, Verdict::Partial);
}

/// What the merger refuses is not merged, and another replica may do better.
#[test]
fn a_refused_answer_is_no_answer() {
    let mut leaves = Table::plain(&[10, 20]);
    leaves.refuse = vec![0];
    let run = leaves.run(leaves.plan(Policy::quorum(1)));
    assert_eq!(run.outcome.verdict, Verdict::Partial);
    assert_eq!(
        run.outcome.accounting.shards[0].reason,
        Some(Reason::Nonsense)
    );
}

/// Two inner answers that share a leaf, or come from two versions of a map, are not added.
#[test]
fn nested_answers_do_not_overlap() {
    let inner = |after, leaves: &[u8], version| {
        let told = Told::Nested(Box::new(nested(leaves, 0, version)));
        vec![Some((after, Answer::Reply(told)))]
    };
    let mut leaves = Table::new(vec![
        inner(1, &[0, 1, 2], 5),
        inner(2, &[2, 3], 5),
        inner(3, &[4], 6),
        inner(4, &[5], 5),
    ]);
    let run = leaves.run(leaves.plan(Policy::DEADLINE));
    let account = &run.outcome.accounting;
    assert_eq!(
        account
            .shards
            .iter()
            .map(|line| line.reason)
            .collect::<Vec<_>>(),
        [None, Some(Reason::Overlap), Some(Reason::MapVersion), None]
    );
    assert_eq!((account.leaves.merged, account.leaves.planned), (4, 6));
    assert_eq!(account.covered[0].shards.len(), 4);
    assert_eq!(run.outcome.verdict, Verdict::Partial);
}

/// A partial inner answer makes its parent partial, and a skipped shard does too.
#[test]
fn partial_and_skipped_are_not_complete() {
    let told = Told::Nested(Box::new(nested(&[1], 1, 1)));
    let mut leaves = Table::new(vec![vec![Some((1, Answer::Reply(told)))], vec![ok(1)]]);
    let run = leaves.run(leaves.plan(Policy::ALL));
    assert_eq!(run.outcome.verdict, Verdict::Partial);
    assert!(run.outcome.accounting.shards[0].partial);

    let mut leaves = Table::plain(&[1, 1]);
    let mut plan = leaves.plan(Policy::DEADLINE);
    let mut shards = plan.shards.to_vec();
    shards[1].skip = true;
    plan.shards = shards.into();
    let run = leaves.run(plan);
    assert_eq!(run.outcome.verdict, Verdict::Partial);
    assert_eq!(
        run.outcome.accounting.shards[1].reason,
        Some(Reason::NoMatch)
    );
}

/// More shards than calls at once come in waves, in order. Those that had no turn by the end were skipped
/// if time ran out, and unneeded if the policy was met without them; neither is a complete answer.
#[test]
fn shards_wait_for_room() {
    let mut leaves = Table::plain(&[10; 10]);
    let mut plan = leaves.plan(Policy::ALL);
    plan.caps.calls = 4;
    let run = leaves.run(plan);
    assert!(run.outcome.complete());
    assert_eq!(end_ms(&run), 30);
    let sent: Vec<_> = leaves
        .calls
        .iter()
        .map(|(shard, _, at)| (*shard, *at))
        .collect();
    let waves = [0, 0, 0, 0, 10, 10, 10, 10, 20, 20];
    assert_eq!(sent, (0..).zip(waves).collect::<Vec<_>>());

    for (policy, end, fate, reason) in [
        (Policy::DEADLINE, 15, Fate::Skipped, Reason::Deadline),
        (Policy::DEADLINE, 25, Fate::TimedOut, Reason::Deadline),
        (Policy::quorum(5), 25, Fate::Unneeded, Reason::PolicyMet),
        (Policy::first(5), 25, Fate::Unneeded, Reason::PolicyMet),
    ] {
        let mut leaves = Table::plain(&[10; 10]);
        let mut plan = leaves.plan(policy);
        plan.caps.calls = 4;
        plan.deadline = Mono(end * 1_000_000);
        let run = leaves.run(plan);
        assert_eq!(run.outcome.verdict, Verdict::Partial);
        let last = run.outcome.accounting.shards[9];
        assert_eq!((last.fate, last.reason), (fate, Some(reason)));
        let asked = fate == Fate::TimedOut;
        assert_eq!(last.attempts > 0, asked, "{policy:?}");
    }
}
