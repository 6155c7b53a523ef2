//! Proves what the worker's engine promises: outcomes are recorded once, trust is never overstayed,
//! doubtful grants are not started, shutdown gives back what is not done.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use quorate_core::error::Error;
use quorate_work_queue::machine::Settlement;
use quorate_work_queue::worker::{Context, Dead, Job, JobError, Report, Retry, Stop, Worker};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{FakeQueue, Stalls};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

type Running = (CancellationToken, JoinHandle<Result<Report, Error>>);

fn worker(fake: &FakeQueue, stop: &CancellationToken) -> Worker {
    Worker::new(&fake.queue(), "q")
        .drain(Duration::from_millis(200))
        .grace(Duration::from_millis(200))
        .shutdown(stop.clone())
}

async fn finish((stop, task): Running) -> Report {
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), task)
        .await
        .expect("the worker stops")
        .unwrap()
        .unwrap()
}

fn text_of(settlement: &Settlement) -> (String, bool, Option<u64>) {
    match settlement {
        Settlement::Fail {
            error,
            retry,
            delay_ms,
            ..
        } => (error.to_string(), *retry, *delay_ms),
        other => panic!("{other:?} is no failure"),
    }
}

/// Proves that payloads reach the handler typed and that its result or error is what is recorded.
#[tokio::test]
async fn results_and_errors_are_recorded_as_the_handler_meant_them() {
    let fake = FakeQueue::new(10_000);
    let good = fake.push("2");
    let fail = fake.push("3");
    let retry = fake.push("4");
    let dead = fake.push("5");
    let garbage = fake.push("\"x\"");
    let stop = CancellationToken::new();
    let task = tokio::spawn(worker(&fake, &stop).slots(3).run(
        |job: Job<u32>, _: Context| async move {
            match job.payload {
                2 => Ok(job.payload * 2),
                3 if job.attempt == 1 => Err("x".parse::<u32>().unwrap_err().into()),
                4 if job.attempt == 1 => {
                    Err(JobError::from(Retry::after(Duration::from_secs(7), "busy")))
                }
                5 => Err(Dead::new("never").into()),
                other => Ok(other),
            }
        },
    ));
    let settlement = fake.outcome(good).await;
    let Settlement::Complete {
        result,
        result_is_json,
        ..
    } = settlement
    else {
        panic!("{settlement:?}");
    };
    assert_eq!((&result[..], result_is_json), (&b"4"[..], true));
    let (error, again, delay) = text_of(&fake.outcome(fail).await);
    assert!(
        error.contains("invalid digit") && again && delay.is_none(),
        "{error}"
    );
    assert_eq!(
        text_of(&fake.outcome(retry).await),
        ("busy".into(), true, Some(7_000))
    );
    assert_eq!(
        text_of(&fake.outcome(dead).await),
        ("never".into(), false, None)
    );
    let (error, again, _) = text_of(&fake.outcome(garbage).await);
    assert!(error.contains("does not decode") && !again, "{error}");
    fake.until(|state| (state.ready.is_empty() && state.leased.is_empty()).then_some(()))
        .await;
    let report = finish((stop, task)).await;
    assert_eq!((report.completed, report.failed, report.lost), (3, 4, 0));
    assert_eq!(fake.lock().sessions_closed, 1);
}

/// Proves that a result the queue refuses ends the job with that reason instead of repeating it.
#[tokio::test]
async fn a_result_that_is_refused_makes_the_job_dead_with_the_reason() {
    let fake = FakeQueue::new(10_000);
    let bad = fake.push("0");
    let good = fake.push("1");
    let stop = CancellationToken::new();
    let task = tokio::spawn(worker(&fake, &stop).slots(2).run(
        |job: Job<u32>, _: Context| async move {
            Ok::<_, JobError>(if job.payload == 0 {
                "refuse me"
            } else {
                "fine"
            })
        },
    ));
    let (error, again, _) = text_of(&fake.outcome(bad).await);
    assert!(
        error.contains("too large for the fake") && !again,
        "{error}"
    );
    assert!(matches!(
        fake.outcome(good).await,
        Settlement::Complete { .. }
    ));
    finish((stop, task)).await;
}

/// Proves that an outcome is sent until it is recorded, and counts once.
#[tokio::test]
async fn a_settlement_is_repeated_until_its_outcome_is_known() {
    let fake = FakeQueue::new(10_000);
    fake.lock().refuse_settles = 2;
    fake.lock().lose_settle_answers = 2;
    let job = fake.push("1");
    let stop = CancellationToken::new();
    let task = tokio::spawn(
        worker(&fake, &stop)
            .run(|job: Job<u32>, _: Context| async move { Ok::<_, JobError>(job.payload) }),
    );
    fake.outcome(job).await;
    fake.until(|state| (state.lose_settle_answers == 0).then_some(()))
        .await;
    let report = finish((stop, task)).await;
    assert_eq!((report.completed, report.lost), (1, 0));
    assert_eq!(fake.lock().settled.len(), 1);
}

/// Between the word to stop and the end of the trust, in the test that follows.
const MARGIN: Duration = Duration::from_millis(500);

/// Proves the holder's side of the lease rule: without acknowledgements the handler is told to stop
/// before its trust ends and does not run beyond it, though it ignores the word.
#[tokio::test]
async fn a_handler_never_outlives_the_trust_in_its_lease() {
    // While the whole process stands still nobody can be told in time: such a run proves half of it.
    for _ in 0..5 {
        let stalls = Stalls::watch();
        let told = told_before_the_trust_ended().await;
        if told == Some((Some(Stop::Unreachable), true)) {
            return;
        }
        assert!(
            matches!(told, None | Some((Some(Stop::Unreachable), false)))
                && stalls.longest() >= MARGIN / 2,
            "{told:?}, and nothing stood still for longer than {:?}",
            stalls.longest()
        );
    }
    panic!("the process stood still in every run");
}

/// Lets a handler run until its trust is over, which must be what ends it; gives what it was told before, and whether
/// its lease was valid then.
async fn told_before_the_trust_ended() -> Option<(Option<Stop>, bool)> {
    struct Alive(Arc<Mutex<Vec<(Instant, bool)>>>, Context);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0
                .lock()
                .unwrap()
                .push((Instant::now(), self.1.is_valid()));
        }
    }
    // A quarter of the lease is the margin.
    let fake = FakeQueue::new(2_000);
    fake.push("1");
    let (stop, dropped) = (CancellationToken::new(), Arc::new(Mutex::new(Vec::new())));
    let told = Arc::new(Mutex::new(None));
    let running = Arc::new(tokio::sync::Notify::new());
    let (dropped2, told2, running2) = (
        Arc::clone(&dropped),
        Arc::clone(&told),
        Arc::clone(&running),
    );
    let task = tokio::spawn(worker(&fake, &stop).grace(MARGIN).run(
        move |_: Job<u32>, context: Context| {
            let alive = Alive(Arc::clone(&dropped2), context.clone());
            let told = Arc::clone(&told2);
            running2.notify_one();
            async move {
                let _alive = alive;
                context.cancelled().await;
                told.lock()
                    .unwrap()
                    .get_or_insert((context.stop_reason(), context.is_valid()));
                std::future::pending::<()>().await;
                Ok::<_, JobError>(())
            }
        },
    ));
    running.notified().await;
    fake.lock().mute = true;
    let mute = Instant::now();
    fake.until(|_| (!dropped.lock().unwrap().is_empty()).then_some(()))
        .await;
    let told = *told.lock().unwrap();
    let (at, valid) = dropped.lock().unwrap()[0];
    assert!(!valid, "it went because the trust was over");
    // The trust began with the last heartbeat that was answered; what is checked is that nothing extended it.
    assert!(at.duration_since(mute) < Duration::from_secs(10));
    fake.lock().mute = false;
    finish((stop, task)).await;
    told
}

/// Proves that a cancelled job's handler is told so and that its end is confirmed by a release.
#[tokio::test]
async fn a_cancelled_job_is_told_and_given_back() {
    let fake = FakeQueue::new(8_000);
    let job = fake.push("1");
    let stop = CancellationToken::new();
    let seen = Arc::new(Mutex::new(None));
    let seen2 = Arc::clone(&seen);
    let task = tokio::spawn(
        worker(&fake, &stop).run(move |_: Job<u32>, context: Context| {
            let seen = Arc::clone(&seen2);
            async move {
                context.cancelled().await;
                *seen.lock().unwrap() = context.stop_reason();
                Err::<(), _>(JobError::from(Dead::new("interrupted")))
            }
        }),
    );
    let lease = fake
        .until(|state| state.leased.keys().next().copied())
        .await;
    fake.lock().cancel.insert(lease);
    assert_eq!(fake.outcome(job).await, Settlement::Release);
    assert_eq!(*seen.lock().unwrap(), Some(Stop::Cancelled));
    stop.cancel();
    fake.lock().ready.clear();
    finish((stop, task)).await;
}

/// Proves the two-heartbeats rule: a grant that arrives after the queue took it back, because two
/// heartbeats did not list it, is never started.
#[tokio::test]
async fn a_late_grant_that_was_taken_back_is_never_started() {
    let fake = FakeQueue::new(2_000);
    fake.push("1");
    let stop = CancellationToken::new();
    // Runs of the second job, and those of them under a grant that the queue had taken back.
    let ran = Arc::new(AtomicUsize::new(0));
    let stale = Arc::new(AtomicUsize::new(0));
    let (ran2, stale2, fake2) = (Arc::clone(&ran), Arc::clone(&stale), fake.clone());
    let task = tokio::spawn(worker(&fake, &stop).slots(2).run(
        move |job: Job<u32>, context: Context| {
            let first = job.payload == 1;
            if !first {
                ran2.fetch_add(1, Ordering::SeqCst);
                if !fake2.lock().leased.contains_key(&context.lease_id()) {
                    stale2.fetch_add(1, Ordering::SeqCst);
                }
            }
            async move {
                if first {
                    std::future::pending::<()>().await;
                }
                Ok::<_, JobError>(())
            }
        },
    ));
    // The first job keeps heartbeats going while the answer with the second one is on its way.
    fake.until(|state| (state.renewals >= 1 && !state.leased.is_empty()).then_some(()))
        .await;
    let stalls = Stalls::watch();
    // Over two heartbeats, which go out every half second.
    fake.lock().late_grant = Some(Duration::from_millis(1_300));
    // Long enough that the delay alone makes no difference.
    fake.lock().lease_ms = 60_000;
    let second = fake.push("2");
    fake.outcome(second).await;
    assert_eq!(
        (ran.load(Ordering::SeqCst), stale.load(Ordering::SeqCst)),
        (1, 0)
    );
    assert!(
        fake.lock().taken_back > 0 || stalls.longest() > Duration::from_millis(200),
        "there were two heartbeats meanwhile"
    );
    finish((stop, task)).await;
}

/// Proves that a worker whose session is gone stops its jobs and goes on under a new one.
#[tokio::test]
async fn a_lost_session_stops_its_jobs_and_another_is_opened() {
    let fake = FakeQueue::new(8_000);
    fake.push("1");
    let stop = CancellationToken::new();
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let reasons2 = Arc::clone(&reasons);
    let task = tokio::spawn(
        worker(&fake, &stop).run(move |job: Job<u32>, context: Context| {
            let reasons = Arc::clone(&reasons2);
            async move {
                if job.payload == 1 {
                    context.cancelled().await;
                    reasons.lock().unwrap().push(context.stop_reason());
                }
                Ok::<_, JobError>(())
            }
        }),
    );
    fake.until(|state| (!state.leased.is_empty()).then_some(()))
        .await;
    fake.lock().dead_session = Some(quorate_work_queue::machine::SessionId(1));
    let next = fake.push("2");
    assert!(matches!(
        fake.outcome(next).await,
        Settlement::Complete { .. }
    ));
    assert_eq!(*reasons.lock().unwrap(), [Some(Stop::LeaseEnded)]);
    assert_eq!(fake.lock().sessions_opened, 2);
    finish((stop, task)).await;
}

/// Proves the drain: no new work, short jobs finish, long ones are told after the grace and given back.
#[tokio::test]
async fn shutdown_lets_short_jobs_finish_and_gives_long_ones_back() {
    let fake = FakeQueue::new(10_000);
    let short = fake.push("1");
    let long = fake.push("2");
    let stop = CancellationToken::new();
    let worker = worker(&fake, &stop)
        .slots(2)
        .drain(Duration::from_millis(800))
        .grace(Duration::from_millis(200));
    let task = tokio::spawn(worker.run(|job: Job<u32>, context: Context| async move {
        if job.payload == 1 {
            context.draining().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        } else {
            std::future::pending::<()>().await;
        }
        Ok::<_, JobError>(())
    }));
    fake.until(|state| (state.leased.len() == 2).then_some(()))
        .await;
    stop.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let late = fake.push("3");
    let report = finish((stop, task)).await;
    assert!(matches!(
        fake.outcome(short).await,
        Settlement::Complete { .. }
    ));
    assert_eq!(fake.outcome(long).await, Settlement::Release);
    assert!(!fake.lock().settled.iter().any(|(job, _)| *job == late));
    assert_eq!((report.completed, report.released, report.lost), (1, 1, 0));
}

/// Proves that progress and checkpoints reach the queue and that the last report wins.
#[tokio::test]
async fn progress_and_checkpoints_arrive() {
    let fake = FakeQueue::new(10_000);
    let job = fake.push("1");
    let stop = CancellationToken::new();
    let task = tokio::spawn(worker(&fake, &stop).run(
        |job: Job<u32>, context: Context| async move {
            if job.attempt == 1 {
                for done in 0..50 {
                    context.progress(f64::from(done), 49.0, "steps", "");
                }
                context.checkpoint("half").await?;
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                return Err(JobError::from(Retry::after(Duration::ZERO, "again")));
            }
            Ok(String::from_utf8_lossy(&job.checkpoint.unwrap_or_default()).into_owned())
        },
    ));
    let result = fake
        .until(|state| {
            state
                .settled
                .iter()
                .find_map(|(settled, settlement)| match settlement {
                    Settlement::Complete { result, .. } if *settled == job => Some(result.clone()),
                    _ => None,
                })
        })
        .await;
    assert_eq!(&result[..], b"\"half\"");
    let last = fake
        .lock()
        .progress
        .last()
        .map(|(_, progress)| progress.done);
    assert_eq!(last, Some(49.0));
    finish((stop, task)).await;
}

/// Proves that a worker refuses settings it could not honour, before it leases anything.
#[tokio::test]
async fn settings_that_make_no_sense_are_refused_at_the_start() {
    let fake = FakeQueue::new(1_000);
    let run = |worker: Worker| worker.run(|_: Job<u32>, _| async { Ok::<_, JobError>(()) });
    assert!(run(Worker::new(&fake.queue(), "Bad Name")).await.is_err());
    assert!(run(Worker::new(&fake.queue(), "q").slots(0)).await.is_err());
    assert!(
        run(Worker::new(&fake.queue(), "q").lease(Duration::from_millis(1)))
            .await
            .is_err()
    );
    assert!(run(Worker::new(&fake.queue(), "q").name("")).await.is_err());
    assert_eq!(fake.lock().sessions_opened, 0);
}
