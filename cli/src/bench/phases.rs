//! The phases of a run: put in, take out, one in flight, and the long one in which leaders die.

use super::driver::{Driver, Failed, Lane};
use super::ledger::Ledger;
use crate::errors::{Exit, Failure, Outcome};
use crate::measure::{Gaps, Latency, Phase};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// For all of one phase that has a number of jobs as its end.
const PHASE_TIMEOUT: Duration = Duration::from_secs(600);
/// Between two looks at whether a phase is over.
const POLL: Duration = Duration::from_millis(1);

/// A load that is ready to run.
#[derive(Clone)]
pub(super) struct Load {
    /// How it talks.
    pub(super) driver: Arc<dyn Driver>,
    /// Its book.
    pub(super) ledger: Arc<Ledger>,
    /// Connections.
    pub(super) connections: u32,
    /// Jobs in flight on each.
    pub(super) inflight: u32,
    /// Watches the acknowledgements of enqueues.
    pub(super) gaps: Arc<Gaps>,
}

/// When producers stop.
#[derive(Clone, Debug)]
pub(super) enum Until {
    /// After so many jobs.
    Jobs(u64),
    /// After so long.
    Time(Duration),
    /// When told to; at most so many jobs a second.
    Told(CancellationToken, Option<u32>),
}

impl Load {
    fn lanes(&self) -> impl Iterator<Item = Lane> + use<> {
        let (connections, inflight) = (self.connections, self.inflight);
        (0..connections)
            .flat_map(move |connection| (0..inflight).map(move |slot| Lane { connection, slot }))
    }

    /// Enqueues one job at a time.
    pub(super) async fn singles(&self, count: u64) -> Outcome<Phase> {
        let one = Self {
            connections: 1,
            inflight: 1,
            ..self.clone()
        };
        one.enqueue(Until::Jobs(count)).await
    }

    /// Enqueues from every lane.
    pub(super) async fn enqueue(&self, until: Until) -> Outcome<Phase> {
        let begun = Instant::now();
        let pace = Arc::new(Pace::new(&until, begun));
        let before = self.ledger.acknowledged_count();
        let mut tasks = JoinSet::new();
        for lane in self.lanes() {
            tasks.spawn(produce(self.clone(), lane, Arc::clone(&pace)));
        }
        let latency = merged(&mut tasks).await?;
        let jobs = self.ledger.acknowledged_count() - before;
        Ok(Phase::new(
            jobs,
            begun.elapsed().as_secs_f64(),
            latency.summary(),
        ))
    }

    /// Starts workers on every lane; they run until told to stop.
    pub(super) fn start_workers(
        &self,
        stop: &CancellationToken,
    ) -> JoinSet<Result<Latency, Failed>> {
        let mut tasks = JoinSet::new();
        for lane in self.lanes() {
            let (load, stop) = (self.clone(), stop.clone());
            tasks.spawn(async move { load.driver.work(lane, &load.ledger, &stop).await });
        }
        tasks
    }

    /// Takes jobs out and completes them: the time of the first `jobs` counts; then the rest goes.
    pub(super) async fn drain(&self, jobs: u64) -> Outcome<Phase> {
        let stop = CancellationToken::new();
        let mut workers = self.start_workers(&stop);
        let begun = Instant::now();
        let target = self.ledger.completed_count() + jobs;
        let counted = self.wait(&mut workers, |ledger| ledger.completed_count() >= target);
        counted.await?;
        let seconds = begun.elapsed().as_secs_f64();
        self.wait(&mut workers, Ledger::settled).await?;
        stop.cancel();
        let latency = merged(&mut workers).await?;
        Ok(Phase::new(jobs, seconds, latency.summary()))
    }

    /// Waits until the book says so. Fails when a worker does, or when it takes too long.
    pub(super) async fn wait(
        &self,
        workers: &mut JoinSet<Result<Latency, Failed>>,
        done: impl Fn(&Ledger) -> bool,
    ) -> Outcome {
        let deadline = Instant::now() + PHASE_TIMEOUT;
        while !done(&self.ledger) {
            if let Some(ended) = workers.try_join_next() {
                joined(ended)?;
            }
            if Instant::now() > deadline {
                return Err(Failure::new(
                    Exit::Temporary,
                    format!(
                        "after {PHASE_TIMEOUT:?} {} of {} acknowledged jobs are completed",
                        self.ledger.completed_count(),
                        self.ledger.acknowledged_count()
                    ),
                ));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

/// Waits for the end of all tasks.
pub(super) async fn merged(tasks: &mut JoinSet<Result<Latency, Failed>>) -> Outcome<Latency> {
    let mut all = Latency::default();
    while let Some(ended) = tasks.join_next().await {
        all.merge(&joined(ended)?);
    }
    Ok(all)
}

fn joined(ended: Result<Result<Latency, Failed>, tokio::task::JoinError>) -> Outcome<Latency> {
    match ended {
        Ok(Ok(latency)) => Ok(latency),
        Ok(Err(Failed::Unknown(text) | Failed::Gone(text) | Failed::Refused(text))) => Err(
            Failure::new(Exit::Temporary, format!("the load cannot go on: {text}")),
        ),
        Err(error) => Err(Failure::new(
            Exit::Temporary,
            format!("a task of the load failed: {error}"),
        )),
    }
}

async fn produce(load: Load, lane: Lane, pace: Arc<Pace>) -> Result<Latency, Failed> {
    let mut latency = Latency::default();
    while pace.next().await {
        let Some(number) = load.ledger.draw() else {
            break;
        };
        let sent = Instant::now();
        match load.driver.enqueue(lane, number).await {
            Ok(()) => {
                let now = Instant::now();
                latency.record(now.duration_since(sent));
                load.gaps.acknowledged(now);
                load.ledger.acknowledged(number);
            }
            Err(Failed::Unknown(_) | Failed::Gone(_)) => load.ledger.unknown(number),
            Err(refused @ Failed::Refused(_)) => return Err(refused),
        }
    }
    Ok(latency)
}

/// Shared by all producers of a phase: says who may send, and when all shall stop.
struct Pace {
    begun: Instant,
    sent: AtomicU64,
    jobs: u64,
    end: Option<Instant>,
    told: CancellationToken,
    per_second: Option<u32>,
}

impl Pace {
    fn new(until: &Until, begun: Instant) -> Self {
        let mut pace = Self {
            begun,
            sent: AtomicU64::new(0),
            jobs: u64::MAX,
            end: None,
            told: CancellationToken::new(),
            per_second: None,
        };
        match until {
            Until::Jobs(jobs) => pace.jobs = *jobs,
            Until::Time(time) => pace.end = Some(begun + *time),
            Until::Told(told, per_second) => {
                pace.told = told.clone();
                pace.per_second = *per_second;
            }
        }
        pace
    }

    /// Waits for this producer's turn; false when the phase is over.
    async fn next(&self) -> bool {
        let turn = self.sent.fetch_add(1, Ordering::Relaxed);
        if turn >= self.jobs || self.end.is_some_and(|end| Instant::now() >= end) {
            return false;
        }
        if let Some(per_second) = self.per_second {
            // Turns that were missed while the service was away are not caught up with all at once:
            // producers wait for their own answer anyway.
            let due = self.begun
                + Duration::from_nanos(
                    turn.saturating_mul(1_000_000_000 / u64::from(per_second.max(1))),
                );
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {}
                () = self.told.cancelled() => {}
            }
        }
        !self.told.is_cancelled()
    }
}
