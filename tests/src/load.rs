//! Load on a queue, with every acknowledged job accounted for at the end, whatever happens to the servers meanwhile.

use anyhow::Context as _;
use quorate_core::error::{Code, Error};
use quorate_core::machine::OpKey;
use quorate_core::types::Name;
use quorate_work_queue::machine::{
    Answer, Command, JobId, LeaseId, LeaseRequest, NewJob, Query, Reply, SessionId, Settle,
    Settlement, State, limits,
};
use quorate_work_queue::queue::Queue;
use quorate_work_queue::service::{Caller, QueueService};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Enqueues that were acknowledged.
    pub acknowledged: u64,
    /// Jobs whose completion was acknowledged.
    pub completed: u64,
    /// Acknowledged jobs that are gone or were never finished.
    pub lost: Vec<JobId>,
    /// Jobs with two acknowledged completions, or whose recorded result is not the acknowledged one.
    pub doubled: Vec<JobId>,
    /// Longest time without an acknowledgement of anything.
    pub longest_gap: Duration,
    /// Enqueues and settlements that the client gave up and the load repeated.
    pub failed: u64,
    /// Requests for work that the client gave up: nothing is lost by one, a grant nobody heard of comes back by itself.
    pub failed_leases: u64,
    /// Why the last of them failed.
    pub failure: String,
    /// Faults that struck.
    pub faults: u32,
}

impl Outcome {
    /// Nothing was lost or doubled, and something was done.
    pub fn is_good(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.completed > 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "acked {}, completed {}, lost {}, doubled {}, failed {} and {} leases, longest gap {} ms, faults {}",
            self.acknowledged,
            self.completed,
            self.lost.len(),
            self.doubled.len(),
            self.failed,
            self.failed_leases,
            self.longest_gap.as_millis(),
            self.faults
        )
    }
}

#[derive(Debug, Default)]
struct Book {
    acknowledged: Vec<JobId>,
    completed: BTreeMap<JobId, (LeaseId, Vec<u8>)>,
    doubled: Vec<JobId>,
    last: Option<Instant>,
    longest_gap: Duration,
    failed: u64,
    failed_leases: u64,
    failure: String,
}

impl Book {
    fn failure(&mut self, what: &str, error: &Error) {
        self.failed += 1;
        self.failure = format!("{what}: {error}");
    }

    fn acknowledgement(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.longest_gap = self.longest_gap.max(now - last);
        }
    }
}

type SharedBook = Arc<Mutex<Book>>;

fn book(shared: &SharedBook) -> std::sync::MutexGuard<'_, Book> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

const LEASE_MS: u64 = 2_000;

/// Producers and workers that run until they are stopped.
#[derive(Debug)]
pub struct Load {
    queue: Queue,
    name: Name,
    shared: SharedBook,
    producing: Arc<AtomicBool>,
    producers: Vec<JoinHandle<()>>,
    working: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
    /// Gives the jobs that were finished at its audits.
    auditor: JoinHandle<States>,
}

impl Load {
    /// Starts four producers and four workers on the queue `chaos`. `seed` keeps the keys of one run from those of
    /// another.
    ///
    /// # Errors
    /// Never, for the name that is used.
    pub fn start(queue: Queue, seed: u64) -> anyhow::Result<Self> {
        let name = Name::new("chaos").map_err(|error| anyhow::anyhow!(error))?;
        let shared = SharedBook::default();
        let producing = Arc::new(AtomicBool::new(true));
        let working = Arc::new(AtomicBool::new(true));
        let (mut producers, mut workers) = (Vec::new(), Vec::new());
        for producer in 0..4_u64 {
            producers.push(tokio::spawn(produce(
                queue.service(),
                name.clone(),
                u128::from(seed) << 64 | u128::from(producer) << 48,
                Arc::clone(&shared),
                Arc::clone(&producing),
            )));
        }
        for worker in 0..4 {
            workers.push(tokio::spawn(work(
                queue.service(),
                name.clone(),
                format!("worker-{worker}"),
                Arc::clone(&shared),
                Arc::clone(&working),
            )));
        }
        let auditor = tokio::spawn(audit(
            queue.clone(),
            name.clone(),
            Arc::clone(&shared),
            Arc::clone(&working),
        ));
        Ok(Self {
            queue,
            name,
            shared,
            producing,
            producers,
            working,
            workers,
            auditor,
        })
    }

    /// How many enqueues and completions were acknowledged so far.
    pub fn acknowledged(&self) -> (usize, usize) {
        let book = book(&self.shared);
        (book.acknowledged.len(), book.completed.len())
    }

    /// Stops the producers, lets the workers finish what is there, and counts. `faults` is what struck meanwhile.
    ///
    /// # Errors
    /// The queue does not tell its jobs within `patience`.
    pub async fn finish(self, patience: Duration, faults: u32) -> anyhow::Result<Outcome> {
        self.producing.store(false, Ordering::SeqCst);
        // What they are still told of is to be found in the list.
        for producer in self.producers {
            producer.await?;
        }
        let deadline = Instant::now() + patience;
        let states = loop {
            let states = all_jobs(&self.queue, &self.name)
                .await
                .context("the jobs cannot be listed");
            match states {
                Ok(states)
                    if states.values().all(|(state, _)| *state == State::Completed)
                        || Instant::now() > deadline =>
                {
                    break states;
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        self.working.store(false, Ordering::SeqCst);
        for worker in self.workers {
            worker.await?;
        }
        let mut seen = self.auditor.await?;
        seen.extend(states);
        Ok(settle(&book(&self.shared), &seen, faults))
    }
}

fn caller(key: Option<OpKey>, wait: Duration) -> Caller {
    Caller {
        key,
        wait,
        timeout: Duration::from_secs(3),
        ..Caller::default()
    }
}

/// Enqueues one job after the other, each under a key until it is acknowledged.
async fn produce(
    service: Arc<dyn QueueService>,
    queue: Name,
    base: u128,
    shared: SharedBook,
    producing: Arc<AtomicBool>,
) {
    let mut number = 0;
    while producing.load(Ordering::SeqCst) {
        number += 1;
        let key = OpKey::Idempotency {
            key: base + number,
            body: number,
        };
        let job = NewJob {
            payload: format!("{number}").into_bytes().into(),
            ..NewJob::default()
        };
        let command = Command::Enqueue {
            queue: queue.clone(),
            jobs: vec![job],
        };
        loop {
            match service
                .execute(&caller(Some(key.clone()), Duration::ZERO), command.clone())
                .await
            {
                Ok(Reply::Enqueued(ids)) => {
                    let mut book = book(&shared);
                    book.acknowledgement();
                    book.acknowledged.extend(ids.into_iter().map(|(id, _)| id));
                    break;
                }
                Ok(_) => {}
                Err(error) => book(&shared).failure("enqueue", &error),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Takes jobs and completes them; each settlement is repeated until it is answered for certain.
async fn work(
    service: Arc<dyn QueueService>,
    queue: Name,
    worker: String,
    shared: SharedBook,
    working: Arc<AtomicBool>,
) {
    let mut session: Option<SessionId> = None;
    while working.load(Ordering::SeqCst) {
        let request = LeaseRequest {
            queue: queue.clone(),
            worker: worker.as_str().into(),
            session,
            max: 8,
            lease_ms: Some(LEASE_MS),
            heartbeat: 0,
        };
        let asked = Instant::now();
        let leased = service
            .execute(
                &caller(None, Duration::from_millis(200)),
                Command::Lease(request),
            )
            .await;
        let leases = match leased {
            Ok(Reply::Leased {
                session: opened,
                leases,
            }) => {
                session = Some(opened).filter(|opened| *opened != SessionId::NONE);
                leases
            }
            Err(error) if error.code == Code::SessionExpired => {
                session = None;
                continue;
            }
            other => {
                if let Err(error) = other {
                    let mut book = book(&shared);
                    book.failed_leases += 1;
                    book.failure =
                        format!("lease, after {} ms: {error}", asked.elapsed().as_millis());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let settle: Vec<Settle> = leases
            .iter()
            .map(|lease| Settle {
                lease: lease.id,
                session: None,
                settlement: Settlement::Complete {
                    result: format!("\"{}\"", lease.id).into_bytes().into(),
                    result_is_json: true,
                    outputs: Vec::new(),
                },
            })
            .collect();
        if settle.is_empty() {
            continue;
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let command = Command::Settle {
                settle: settle.clone(),
                then: None,
            };
            let settled = service
                .execute(&caller(None, Duration::ZERO), command)
                .await;
            if let Err(error) = &settled {
                book(&shared).failure("settle", error);
            }
            if let Ok(Reply::Settled { outcomes, .. }) = settled {
                let mut book = book(&shared);
                book.acknowledgement();
                for (lease, outcome) in leases.iter().zip(outcomes) {
                    if outcome.is_ok() {
                        let result = format!("\"{}\"", lease.id).into_bytes();
                        if let Some((other, _)) =
                            book.completed.insert(lease.job, (lease.id, result))
                            && other != lease.id
                        {
                            book.doubled.push(lease.job);
                        }
                    }
                }
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Looks at the jobs before the queue lets go of those that were finished first: it keeps a bounded number of them.
async fn audit(queue: Queue, name: Name, shared: SharedBook, working: Arc<AtomicBool>) -> States {
    const EVERY: usize = limits::KEPT_JOBS_MAX as usize / 4;
    let (mut seen, mut audited) = (States::new(), 0);
    while working.load(Ordering::SeqCst) {
        let completed = book(&shared).completed.len();
        if completed - audited >= EVERY
            && let Ok(mut states) = all_jobs(&queue, &name).await
        {
            states.retain(|_, (state, _)| *state == State::Completed);
            seen.extend(states);
            audited = completed;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    seen
}

type States = BTreeMap<JobId, (State, Option<Vec<u8>>)>;

async fn all_jobs(queue: &Queue, name: &Name) -> anyhow::Result<States> {
    let service = queue.service();
    let mut states = States::new();
    let mut after = None;
    loop {
        let query = Query::Jobs {
            queue: name.clone(),
            state: None,
            label: None,
            after,
            limit: 1_000,
        };
        let caller = Caller {
            timeout: Duration::from_secs(10),
            ..Caller::default()
        };
        let Answer::Jobs(page, next) = service.query(&caller, query).await? else {
            anyhow::bail!("another answer than a page of jobs");
        };
        states.extend(page.into_iter().map(|job| {
            (
                job.id,
                (job.state, job.result.map(|result| result.to_vec())),
            )
        }));
        after = next;
        if after.is_none() {
            return Ok(states);
        }
    }
}

fn settle(book: &Book, states: &States, faults: u32) -> Outcome {
    let lost = book
        .acknowledged
        .iter()
        .filter(|id| {
            states
                .get(id)
                .is_none_or(|(state, _)| *state != State::Completed)
        })
        .copied()
        .collect();
    let mut doubled = book.doubled.clone();
    doubled.extend(
        book.completed
            .iter()
            .filter(|(id, (_, result))| {
                states
                    .get(id)
                    .is_some_and(|(_, recorded)| recorded.as_ref() != Some(result))
            })
            .map(|(id, _)| *id),
    );
    Outcome {
        acknowledged: book.acknowledged.len() as u64,
        completed: book.completed.len() as u64,
        lost,
        doubled,
        longest_gap: book.longest_gap,
        failed: book.failed,
        failed_leases: book.failed_leases,
        failure: book.failure.clone(),
        faults,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The accounting itself can fail: a lost and a doubled job are named.
    #[test]
    fn lost_and_doubled_jobs_are_named() {
        let mut book = Book {
            acknowledged: vec![JobId(1), JobId(2), JobId(3)],
            ..Book::default()
        };
        book.completed.insert(JobId(3), (LeaseId(9), b"9".to_vec()));
        let states = BTreeMap::from([
            (JobId(2), (State::Ready, None)),
            (JobId(3), (State::Completed, Some(b"8".to_vec()))),
        ]);
        let outcome = settle(&book, &states, 0);
        assert_eq!(outcome.lost, [JobId(1), JobId(2)]);
        assert_eq!(outcome.doubled, [JobId(3)]);
        assert!(!outcome.is_good());
    }
}
