//! A queue for tests of workers: in memory, without replication, and as ill-behaved as a test wants.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's module, of which each test file uses a part"
)]

use async_trait::async_trait;
use bytes::Bytes;
use quorate_core::error::{Code, Error};
use quorate_core::machine::OpKey;
use quorate_core::types::Name;
use quorate_work_queue::machine::{
    Answer, BatchId, Blob, ChildView, Command, JobId, Lease, LeaseId, LeaseRequest, NewJob,
    Progress, Query, Renewal, Renewed, Reply, SessionId, Settle, Settlement,
};
use quorate_work_queue::queue::Queue;
use quorate_work_queue::service::{Caller, ClusterInfo, QueueService};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A job of the fake queue.
#[derive(Clone, Debug, Default)]
pub struct FakeJob {
    pub id: u64,
    pub payload: Bytes,
    pub inputs: Vec<Blob>,
    pub attempt: u32,
    pub checkpoint: Option<Bytes>,
    pub joins: Option<BatchId>,
}

/// What the fake queue holds and how it behaves.
#[derive(Debug, Default)]
pub struct State {
    pub ready: VecDeque<FakeJob>,
    pub leased: BTreeMap<LeaseId, FakeJob>,
    /// Every settlement that was accepted, in order.
    pub settled: Vec<(JobId, Settlement)>,
    /// The heartbeat that came last before each lease was asked for, and how many since did not list it.
    unlisted: BTreeMap<LeaseId, (u64, u32)>,
    pub progress: Vec<(LeaseId, Progress)>,
    pub checkpoints: Vec<Bytes>,
    pub children: Vec<ChildView>,
    pub sessions_opened: u64,
    pub sessions_closed: u64,
    pub renewals: u64,
    /// How often a heartbeat found a lease that it listed alive.
    pub kept: u64,
    /// Grants that went back because two heartbeats did not list them.
    pub taken_back: u64,
    next: u64,

    pub lease_ms: u64,
    /// Heartbeats are not answered.
    pub mute: bool,
    /// Leases that heartbeats report as ended because of a cancel.
    pub cancel: BTreeSet<LeaseId>,
    /// The next so many settlements are recorded but answered with an unknown outcome.
    pub lose_settle_answers: u32,
    /// The next so many settlements fail with `no_quorum` and are not recorded.
    pub refuse_settles: u32,
    /// The next request for work is answered so much later than it is granted.
    pub late_grant: Option<Duration>,
    /// Every call about this session is refused.
    pub dead_session: Option<SessionId>,
    /// The next so many enqueues are done but answered with an unknown outcome.
    pub lose_enqueue_answers: u32,
    /// Client streams expire when an enqueue's answer is lost.
    pub expire_with_lost_answer: bool,
    /// The next so many enqueues hang before they answer, though they are done.
    pub hang_enqueues: u32,
    pub streams: BTreeSet<u64>,
    pub streams_opened: u64,
    /// What was done under which number of which stream.
    pub answers: BTreeMap<(u64, u64), Reply>,
    pub done_below: u64,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct FakeQueue {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl FakeQueue {
    pub fn new(lease_ms: u64) -> Self {
        let state = State {
            lease_ms,
            next: 1,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            changed: Arc::new(Notify::new()),
        }
    }

    pub fn queue(&self) -> Queue {
        Queue::from_service(Arc::new(self.clone()))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn push(&self, payload: &str) -> JobId {
        self.push_job(FakeJob {
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            ..FakeJob::default()
        })
    }

    pub fn push_job(&self, mut job: FakeJob) -> JobId {
        let mut state = self.lock();
        state.next += 1;
        job.id = state.next;
        state.ready.push_back(job.clone());
        drop(state);
        self.changed.notify_waiters();
        JobId(job.id)
    }

    fn enqueue(&self, key: Option<&OpKey>, jobs: Vec<NewJob>) -> Result<(Reply, bool), Error> {
        let mut state = self.lock();
        let mut number = None;
        if let Some(OpKey::Stream {
            stream,
            seq,
            done_below,
        }) = key
        {
            if !state.streams.contains(stream) {
                return Err(Error::new(Code::SessionExpired, "no such stream"));
            }
            assert!(
                done_below <= seq && *seq >= state.done_below || *stream != state.streams_opened
            );
            state.done_below = *done_below;
            number = Some((*stream, *seq));
            if let Some(answer) = state.answers.get(&(*stream, *seq)) {
                return Ok((answer.clone(), false));
            }
        }
        let mut ids = Vec::new();
        for job in jobs {
            state.next += 1;
            let id = state.next;
            ids.push((JobId(id), false));
            state.ready.push_back(FakeJob {
                id,
                payload: job.payload,
                inputs: job.inputs,
                ..FakeJob::default()
            });
        }
        let reply = Reply::Enqueued(ids);
        if let Some(number) = number {
            state.answers.insert(number, reply.clone());
        }
        if state.lose_enqueue_answers > 0 {
            state.lose_enqueue_answers -= 1;
            if state.expire_with_lost_answer {
                state.streams.clear();
            }
            return Err(Error::new(Code::OutcomeUnknown, "the answer was lost"));
        }
        let hang = state.hang_enqueues > 0;
        state.hang_enqueues = state.hang_enqueues.saturating_sub(1);
        drop(state);
        self.changed.notify_waiters();
        Ok((reply, hang))
    }

    /// Waits until `what` gives something.
    pub async fn until<T>(&self, what: impl Fn(&State) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = what(&self.lock()) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found)
            .await
            .expect("it happens within 30 s")
    }

    /// Waits for the outcome of a job.
    pub async fn outcome(&self, job: JobId) -> Settlement {
        self.until(|state| {
            let found = state.settled.iter().find(|(settled, _)| *settled == job);
            found.map(|(_, settlement)| settlement.clone())
        })
        .await
    }

    async fn lease(
        &self,
        request: &LeaseRequest,
        wait: Duration,
    ) -> (Vec<Lease>, Option<Duration>) {
        let end = tokio::time::Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            let leases = self.lock().grant(request);
            if !leases.is_empty() {
                return (leases, self.lock().late_grant.take());
            }
            if tokio::time::timeout_at(end, changed).await.is_err() {
                return (Vec::new(), None);
            }
        }
    }
}

impl State {
    fn check(&self, session: Option<SessionId>) -> Result<(), Error> {
        if session.is_some() && session == self.dead_session {
            return Err(Error::new(Code::SessionExpired, "gone"));
        }
        Ok(())
    }

    fn grant(&mut self, request: &LeaseRequest) -> Vec<Lease> {
        let mut leases = Vec::new();
        while leases.len() < request.max as usize {
            let Some(mut job) = self.ready.pop_front() else {
                break;
            };
            job.attempt += 1;
            self.next += 1;
            let id = LeaseId(self.next);
            leases.push(Lease {
                id,
                job: JobId(job.id),
                queue: Name::new("q").unwrap(),
                attempt: job.attempt,
                lease_ms: request.lease_ms.unwrap_or(self.lease_ms),
                payload: job.payload.clone(),
                payload_is_json: true,
                inputs: job.inputs.clone(),
                labels: Vec::new(),
                checkpoint: job.checkpoint.clone(),
                traceparent: None,
                joins: job.joins,
                batch: None,
            });
            self.leased.insert(id, job);
            self.unlisted.insert(id, (request.heartbeat, 0));
        }
        leases
    }

    /// Takes back what two complete heartbeats in a row did not list.
    fn sweep(&mut self, renewal: &Renewal) {
        if !renewal.complete {
            return;
        }
        let held: Vec<LeaseId> = self.leased.keys().copied().collect();
        for lease in held {
            let Some((heartbeat, missed)) = self.unlisted.get_mut(&lease) else {
                continue;
            };
            if renewal.leases.contains(&lease) {
                *missed = 0;
            } else if renewal.number > *heartbeat {
                *missed += 1;
            }
            if *missed >= 2 {
                self.ready.extend(self.leased.remove(&lease));
                self.taken_back += 1;
            }
        }
    }

    fn settle(&mut self, settle: &Settle) -> Result<(), Error> {
        let Some(job) = self.leased.remove(&settle.lease) else {
            let known = self.settled.iter().any(|(_, s)| *s == settle.settlement);
            return if known {
                Ok(())
            } else {
                Err(Error::new(Code::LeaseExpired, "no such lease"))
            };
        };
        if let Settlement::Complete { result, .. } = &settle.settlement
            && &result[..] == b"\"refuse me\""
        {
            self.leased.insert(settle.lease, job);
            return Err(Error::new(Code::TooLarge, "too large for the fake"));
        }
        self.settled
            .push((JobId(job.id), settle.settlement.clone()));
        match &settle.settlement {
            Settlement::Release | Settlement::Fail { retry: true, .. } => self.ready.push_back(job),
            _ => {}
        }
        Ok(())
    }
}

#[async_trait]
impl QueueService for FakeQueue {
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Reply, Error> {
        match command {
            Command::OpenSession { .. } => {
                let mut state = self.lock();
                state.sessions_opened += 1;
                Ok(Reply::Session(SessionId(state.sessions_opened)))
            }
            Command::CloseSession { .. } => {
                self.lock().sessions_closed += 1;
                Ok(Reply::Done)
            }
            Command::Lease(request) => {
                self.lock().check(request.session)?;
                let (leases, late) = self.lease(&request, caller.wait).await;
                tokio::time::sleep(late.unwrap_or_default()).await;
                let session = request.session.expect("workers open a session first");
                Ok(Reply::Leased { session, leases })
            }
            Command::Settle { settle, then } => {
                let mut state = self.lock();
                if state.refuse_settles > 0 {
                    state.refuse_settles -= 1;
                    return Err(Error::new(Code::NoQuorum, "no leader"));
                }
                let outcomes = settle.into_iter().map(|s| state.settle(&s)).collect();
                if state.lose_settle_answers > 0 {
                    state.lose_settle_answers -= 1;
                    return Err(Error::new(Code::OutcomeUnknown, "the answer was lost"));
                }
                let leased = then.map(|request| {
                    let session = request.session.expect("workers open a session first");
                    (session, state.grant(&request))
                });
                Ok(Reply::Settled { outcomes, leased })
            }
            Command::Checkpoint { lease, data, .. } => {
                let mut state = self.lock();
                let Some(job) = state.leased.get_mut(&lease) else {
                    return Err(Error::new(Code::LeaseExpired, "no such lease"));
                };
                job.checkpoint = Some(data.clone());
                state.checkpoints.push(data);
                Ok(Reply::Kept {
                    cancel_requested: false,
                })
            }
            Command::Enqueue { jobs, .. } => {
                let (reply, hang) = self.enqueue(caller.key.as_ref(), jobs)?;
                if hang {
                    std::future::pending::<()>().await;
                }
                Ok(reply)
            }
            other => panic!("the fake has no {other:?}"),
        }
    }

    async fn open_stream(&self, _caller: &Caller) -> Result<u64, Error> {
        let mut state = self.lock();
        state.streams_opened += 1;
        state.done_below = 0;
        let stream = state.streams_opened;
        state.streams.insert(stream);
        Ok(stream)
    }

    async fn query(&self, _caller: &Caller, query: Query) -> Result<Answer, Error> {
        match query {
            Query::BatchResults { from, .. } => {
                // Two a page, so that paging is exercised.
                let all = self.lock().children.clone();
                let page: Vec<_> = all
                    .iter()
                    .filter(|c| c.index >= from)
                    .take(2)
                    .cloned()
                    .collect();
                let next = page.last().map(|last| last.index + 1);
                let more = all.iter().any(|c| Some(c.index) >= next && next.is_some());
                Ok(Answer::BatchResults(page, next.filter(|_| more)))
            }
            other => panic!("the fake has no {other:?}"),
        }
    }

    async fn renew(&self, caller: &Caller, renewal: Renewal) -> Result<Renewed, Error> {
        if self.lock().mute {
            tokio::time::sleep(caller.timeout).await;
            return Err(Error::new(Code::NoQuorum, "nobody answers"));
        }
        let mut state = self.lock();
        state.check(Some(renewal.session))?;
        state.renewals += 1;
        let leased = state.leased.len();
        state.sweep(&renewal);
        if state.leased.len() < leased {
            self.changed.notify_waiters();
        }
        state.progress.extend(renewal.progress);
        let mut renewed = Renewed::default();
        for lease in renewal.leases {
            if state.cancel.contains(&lease) {
                renewed.ended.push(lease);
                renewed.cancelled.push(lease);
            } else if state.leased.contains_key(&lease) {
                renewed.live.push(lease);
                state.kept += 1;
            } else {
                renewed.ended.push(lease);
            }
        }
        Ok(renewed)
    }

    async fn cluster(&self) -> Result<ClusterInfo, Error> {
        Ok(ClusterInfo::default())
    }
}

/// Notices when everything in this runtime stands still: its process was stopped, or got no processor. What has to
/// happen in time cannot happen then, and a test that asks for it tells such a run from a broken promise.
#[derive(Debug)]
pub struct Stalls {
    /// When it last looked, and the longest time between two looks.
    looks: Arc<Mutex<(Instant, Duration)>>,
    task: JoinHandle<()>,
}

impl Stalls {
    /// Begins to watch.
    pub fn watch() -> Self {
        let looks = Arc::new(Mutex::new((Instant::now(), Duration::ZERO)));
        let looking = Arc::clone(&looks);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let mut looks = looking.lock().unwrap();
                let (last, longest) = *looks;
                *looks = (Instant::now(), longest.max(last.elapsed()));
            }
        });
        Self { looks, task }
    }

    /// The longest time that nothing ran, the current one included.
    pub fn longest(&self) -> Duration {
        let (last, longest) = *self.looks.lock().unwrap();
        longest.max(last.elapsed())
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.task.abort();
    }
}
