//! The random requests that the engine is tested with in virtual time, replayed over real sockets: each call
//! meets at the other end what the script says, late, in drips, cut off, reset, hung, or whole.

use super::*;
use crate::definition::{
    CanarySpec, FanoutSpec, HedgeSpec, LimitsSpec, PolicyOptions, PolicySpec, RetrySpec, ShardSpec,
};
use crate::gather::tests::scenario::{Act, End, START_US, Scenario, scenario};
use crate::gather::{HedgePolicy, Plan, Reason, Share, Trigger};
use crate::merge::MergeSpec;
use crate::pool::Protocol;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use quorate_core::error::Code;
use quorate_core::types::Mono;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Requests of a run, so many at once.
const REQUESTS: usize = 120;
const AT_ONCE: usize = 12;
/// Real time runs so many times slower than the script's: real sockets take their time.
const SLOWER: u64 = 8;
/// No request takes this long; it only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the other ends share.
struct Script {
    acts: Vec<Act>,
    next: AtomicUsize,
    /// Requests that came, by shard and replica.
    came: Mutex<BTreeMap<(usize, u8), u32>>,
}

/// Every shard has its own value, so that a sum tells which were merged, and how often.
fn value(shard: usize) -> u64 {
    13_u64.pow(u32::try_from(shard).unwrap())
}

/// Its path is its own: its port may have been another test's a moment ago, and still be asked by that.
async fn listen(script: &Arc<Script>, shard: usize, replica: u8) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let path = format!("/replay/{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let url = format!("http://{}{path}", listener.local_addr().unwrap());
    let first = format!("POST {path} HTTP/1.1\r\n");
    let script = Arc::clone(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (script, first) = (Arc::clone(&script), first.clone());
            tokio::spawn(serve(stream, script, first, (shard, replica)));
        }
    });
    url
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Script>,
    first: String,
    (shard, replica): (usize, u8),
) {
    loop {
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(1) = stream.read(&mut byte).await else {
                return;
            };
            head.push(byte[0]);
        }
        if !head.starts_with(first.as_bytes()) {
            return;
        }
        *script
            .came
            .lock()
            .unwrap()
            .entry((shard, replica))
            .or_default() += 1;
        let turn = script.next.fetch_add(1, Ordering::SeqCst);
        let act = &script.acts[turn % script.acts.len()];
        if !answer(&mut stream, act, shard).await {
            return;
        }
    }
}

/// Does what the act says. Whether the connection can be used again.
async fn answer(stream: &mut TcpStream, act: &Act, shard: usize) -> bool {
    let half = Duration::from_micros(act.after_us * SLOWER / 2);
    tokio::time::sleep(half).await;
    let good = format!("{{\"value\":{}}}", value(shard));
    // In no sum that is right.
    let poison = "{\"value\":0.5}";
    let (status, kind, told, body) = match &act.end {
        End::Hang => return hold(stream).await,
        _ if act.refused => ("200 X", "application/json", "true", "{\"other\":1}"),
        End::Whole | End::Nested { .. } => ("200 X", "application/json", "true", &*good),
        End::Partial => ("200 X", "application/json", "false", &*good),
        End::Failed(Reason::Status(status), _) if *status < 500 => {
            ("404 X", "application/json", "true", poison)
        }
        End::Failed(Reason::Status(_), _) => ("500 X", "application/json", "true", poison),
        End::Failed(Reason::Pushback, _) => ("503 X", "application/json", "true", poison),
        End::Failed(Reason::ContentType, _) => ("200 X", "text/html", "true", poison),
        End::Failed(Reason::Truncated, _) => ("200 X", "application/json", "true", poison),
        End::Failed(..) => {
            tokio::time::sleep(half).await;
            // Closing with a reset.
            let _ = stream.set_zero_linger();
            return false;
        }
    };
    let pad = usize::try_from(act.drip)
        .unwrap()
        .saturating_sub(body.len());
    let cut = matches!(act.end, End::Failed(Reason::Truncated, _)) && !act.refused;
    let length = body.len() + pad + usize::from(cut);
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nquorate-complete: {told}\r\ncontent-length: {length}\r\n\r\n{}",
        " ".repeat(pad)
    );
    // Halfway the head and what stands before the answer, at the end the rest.
    if stream.write_all(head.as_bytes()).await.is_err() {
        return false;
    }
    tokio::time::sleep(half).await;
    stream.write_all(body.as_bytes()).await.is_ok() && !cut
}

async fn hold(stream: &mut TcpStream) -> bool {
    let mut rest = [0; 64];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    false
}

fn ms(us: u64) -> u64 {
    (us * SLOWER / 1_000).max(1)
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

/// The plan as a definition says it.
fn define(spec: &mut FanoutSpec, scenario: &Scenario) {
    let plan = &scenario.plan;
    let policy = plan.policy;
    let required = plan.shards.iter().enumerate();
    spec.policy = PolicySpec::Options(PolicyOptions {
        quorum: policy.quorum,
        coverage: policy.coverage.map(|coverage| coverage.min.fraction()),
        first: policy.first,
        required: required
            .filter(|(_, shard)| shard.required)
            .map(|(place, _)| place.to_string())
            .collect(),
        until_deadline: policy.until_deadline,
    });
    let deadline = plan.deadline.since(Mono(START_US * 1_000));
    spec.timeout_ms = ms(us(deadline)) + 10;
    spec.reserve_ms = Some(ms(us(plan.reserve)).min(spec.timeout_ms / 2));
    let within = spec.timeout_ms;
    spec.attempt_timeout_ms = plan.attempt_timeout.map(|t| ms(us(t)).min(within));
    spec.hedge = plan.hedge.map(|hedge: HedgePolicy| HedgeSpec {
        budget: scenario.ratio.fraction(),
        burst: scenario.burst,
        hedges_max: hedge.hedges_max,
        late_together_max: hedge.late_together_max.fraction(),
        ..HedgeSpec::delay_ms(
            match hedge.trigger {
                Trigger::Delay(delay) => ms(us(delay)),
                // Nothing is known of the replicas yet: as the script has it.
                Trigger::Quantile(_) => scenario.late_after_us[0].map_or(1, ms),
            }
            .min(within - 1),
        )
    });
    spec.retry = RetrySpec {
        attempts_max: plan.attempts_max,
        budget: scenario.ratio.fraction(),
        burst: scenario.burst,
    };
    spec.idempotent = Some(plan.idempotent);
    spec.canary = plan.canary.map(|canary| CanarySpec {
        shards: canary.shards,
        timeout_ms: ms(us(canary.timeout)).min(within),
        quarantine_ms: 1_000,
    });
    spec.protocol = Protocol::Http1;
    spec.limits = LimitsSpec {
        calls: plan.caps.calls,
        reply_bytes: plan.caps.reply_bytes,
        request_bytes: plan.caps.request_bytes,
        ..LimitsSpec::default()
    };
}

/// Runs a request; gives how many shards were merged, or what is wrong.
async fn run(scenario: Scenario) -> Result<u64, String> {
    macro_rules! must {
        ($holds:expr, $($text:tt)*) => {
            if !$holds {
                return Err(format!("{}\n{scenario:?}", format!($($text)*)));
            }
        };
    }
    let script = Arc::new(Script {
        acts: scenario.script.clone(),
        next: AtomicUsize::new(0),
        came: Mutex::default(),
    });
    let mut shards = Vec::new();
    for (place, planned) in scenario.plan.shards.iter().enumerate() {
        let mut replicas = Vec::new();
        for replica in 0..planned.replicas.max(1) {
            replicas.push(listen(&script, place, replica).await);
        }
        shards.push(ShardSpec {
            id: place.to_string(),
            replicas,
            range: None,
            weight: planned.weight,
        });
    }
    let given = scenario.clone();
    let scatter = Scatter::builder()
        .merge(MergeSpec::sum("/value").unwrap())
        .edit(move |spec| {
            spec.shards = shards;
            define(spec, &given);
        })
        .build();
    let scatter = scatter.map_err(|error| format!("{error}\n{scenario:?}"))?;
    let gone = scenario.cancel_us.map(|us| Duration::from_millis(ms(us)));
    let asked = tokio::time::timeout(gone.unwrap_or(PATIENCE), scatter.query("")).await;
    let mut merged = 0;
    match asked {
        Err(_) => must!(gone.is_some(), "no answer at all"),
        Ok(Err(error)) => must!(
            matches!(
                error.code,
                Code::InsufficientShards | Code::DeadlineExceeded
            ),
            "a strange refusal: {error}"
        ),
        Ok(Ok(answer)) => {
            let lines = &answer.shards;
            must!(
                lines.len() == scenario.plan.shards.len(),
                "a shard is missing"
            );
            must!(
                answer.counts.adds_up(),
                "the account does not add up: {answer:?}"
            );
            let of = |fate: &str| lines.iter().filter(|l| l.outcome == fate).count() as u64;
            merged = of("merged");
            must!(
                (
                    answer.counts.merged,
                    answer.counts.failed,
                    answer.counts.unneeded
                ) == (merged, of("failed"), of("unneeded")),
                "counts and lines differ: {answer:?}"
            );
            let has = |place: usize| lines[place].outcome == "merged";
            let sum: u64 = (0..lines.len()).filter(|p| has(*p)).map(value).sum();
            must!(
                answer.merged.body == format!("{{\"value\":{sum}}}"),
                "the sum should be {sum}: {answer:?}"
            );
            let whole = lines.iter().all(|l| l.outcome == "merged" && !l.partial);
            must!(answer.complete == whole, "complete or not? {answer:?}");
            must!(
                enough(&scenario.plan, has),
                "less than the policy asks for: {answer:?}"
            );
            for line in lines {
                let most = if scenario.plan.idempotent {
                    scenario.plan.attempts_max
                } else {
                    1
                };
                must!(line.attempts <= most, "too many calls: {answer:?}");
                must!(
                    line.outcome != "skipped" || line.attempts == 0,
                    "asked and skipped: {answer:?}"
                );
            }
        }
    }
    {
        let came = script.came.lock().unwrap();
        must!(
            came.values().all(|calls| *calls == 1),
            "a replica was asked twice: {came:?}"
        );
    }
    let targets = scatter.targets();
    must!(
        (targets.calls_in_flight, targets.bytes_in_flight) == (0, 0),
        "something is left over: {targets:?}"
    );
    let mut replicas = targets.shards.iter().flat_map(|shard| &shard.replicas);
    must!(
        replicas.all(|r| r.in_flight == 0),
        "calls are left over: {targets:?}"
    );
    Ok(merged)
}

fn enough(plan: &Plan, has: impl Fn(usize) -> bool) -> bool {
    let shards = || plan.shards.iter().enumerate();
    let weight = |all: bool| -> u64 {
        let counted = shards().filter(|(place, _)| all || has(*place));
        counted.map(|(_, shard)| u64::from(shard.weight)).sum()
    };
    let merged = shards().filter(|(place, _)| has(*place)).count();
    let policy = plan.policy;
    let floor = match (policy.quorum, policy.coverage, policy.first) {
        _ if policy == crate::gather::Policy::ALL => plan.shards.len(),
        (Some(quorum), _, _) => quorum as usize,
        (None, None, Some(first)) if !policy.until_deadline => first as usize,
        _ => 1,
    };
    let min = policy.coverage.map_or(Share::ZERO, |coverage| coverage.min);
    shards().all(|(place, shard)| !shard.required || has(place))
        && merged >= floor
        && weight(false) >= min.part_up(weight(true))
}

/// Whatever the sockets do: each shard is in the sum once at most, the account adds up and agrees with the
/// sum, complete means complete, no replica is asked twice, and nothing is left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_hold_over_faulty_sockets() {
    let mut runner = TestRunner::default();
    let strategy = scenario();
    let mut waiting = (0..REQUESTS)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect::<Vec<_>>();
    let mut running = JoinSet::new();
    let mut merged = 0;
    loop {
        while running.len() < AT_ONCE
            && let Some(scenario) = waiting.pop()
        {
            running.spawn(run(scenario));
        }
        match running.join_next().await {
            None => break,
            Some(found) => merged += found.unwrap().unwrap_or_else(|broken| panic!("{broken}")),
        }
    }
    assert!(
        merged > 0,
        "nothing was ever merged: the sockets are too slow"
    );
}
