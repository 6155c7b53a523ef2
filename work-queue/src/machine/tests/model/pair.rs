//! The machine and the model side by side: each step goes to both, and all answers are compared.

use super::super::*;
use super::naive::{Expected, KEPT_MAX, ModelJob, Naive};
use super::steps::{QUEUES, Spec, Step, settlement};
use std::collections::BTreeSet;

/// Machine and model side by side, with what tests pick from.
pub(super) struct Pair {
    pub(super) rig: Rig,
    model: Naive,
    leases: Vec<LeaseId>,
    jobs: Vec<JobId>,
    batches: Vec<BatchId>,
    sessions: Vec<SessionId>,
    last: Option<Settle>,
    /// Digest at the beginning of the snapshot that is under way, and its slices.
    snapshot: Option<(u64, Vec<Vec<u8>>)>,
    /// What the events said, apart from the model: joins by batch, jobs completed.
    joined: BTreeSet<BatchId>,
    completed: BTreeSet<JobId>,
}

fn queue_name(number: usize) -> Name {
    name(&format!("q{number}"))
}

fn pick<T: Copy>(of: &[T], n: usize) -> Option<T> {
    (!of.is_empty()).then(|| of[n % of.len()])
}

fn agree<T: PartialEq + std::fmt::Debug>(got: Result<T, Error>, expected: Expected<T>) {
    assert_eq!(
        got.as_ref().map_err(|error| error.code),
        expected.as_ref().map_err(|code| *code),
        "{got:?}"
    );
}

impl Pair {
    pub(super) fn new() -> Self {
        let mut rig = Rig::new();
        rig.machine.bounds.kept_jobs = KEPT_MAX as u64;
        rig.machine.bounds.steps = 3;
        let model = Naive {
            now: rig.now.0,
            ..Naive::default()
        };
        Self {
            rig,
            model,
            leases: Vec::new(),
            jobs: Vec::new(),
            batches: Vec::new(),
            sessions: Vec::new(),
            last: None,
            snapshot: None,
            joined: BTreeSet::new(),
            completed: BTreeSet::new(),
        }
    }

    fn run(&mut self, command: Command) -> Result<Reply, Error> {
        let reply = self.rig.run(command);
        self.rig.drain();
        reply
    }

    fn done(&mut self, command: Command) -> Result<(), Error> {
        self.run(command)
            .map(|reply| assert_eq!(reply, Reply::Done))
    }

    fn count(&mut self, command: Command) -> Result<u64, Error> {
        self.run(command).map(|reply| match reply {
            Reply::Count(n) => n,
            other => panic!("{other:?}"),
        })
    }

    fn kept(&mut self, command: Command) -> Result<bool, Error> {
        self.run(command).map(|reply| match reply {
            Reply::Kept { cancel_requested } => cancel_requested,
            other => panic!("{other:?}"),
        })
    }

    fn new_job(&self, spec: &Spec) -> NewJob {
        NewJob {
            payload: Bytes::from(format!("{spec:?}")),
            priority: spec.priority,
            not_before: spec.delay.map(|ms| self.rig.now.plus_ms(ms)),
            dedupe_key: spec.key.map(|key| text(&format!("k{key}"))),
            max_attempts: spec.max_attempts,
            batch: spec
                .place
                .and_then(|(n, index)| Some((pick(&self.batches, n)?, index))),
            ..NewJob::default()
        }
    }

    /// The model's review, which adopts the ids of joins.
    fn review(&mut self) {
        let Self { rig, model, .. } = self;
        model.review(&|id| match rig.ask(Query::Batch { batch: id }) {
            Ok(Answer::Batch(view)) => view.join,
            other => panic!("{other:?}"),
        });
    }

    /// How long the machine makes a job wait, if it still does at the end of the step.
    fn delay(rig: &Rig) -> impl Fn(JobId) -> Option<u64> + '_ {
        |id| rig.view(id).ready_at.map(|at| at.since_ms(rig.now))
    }

    fn enqueue(&mut self, queue: usize, specs: &[Spec]) {
        let jobs: Vec<_> = specs.iter().map(|spec| self.new_job(spec)).collect();
        let expected = self.model.enqueue(queue, &jobs);
        let command = Command::Enqueue {
            queue: queue_name(queue),
            jobs: jobs.clone(),
        };
        let (answer, expected) = match (self.run(command), expected) {
            (Ok(Reply::Enqueued(answer)), Ok(expected)) => (answer, expected),
            (got, expected) => {
                assert_eq!(
                    got.map(|_| ()).map_err(|error| error.code),
                    expected.map(|_| ())
                );
                return;
            }
        };
        for ((new, (id, duplicate)), known) in jobs.into_iter().zip(answer).zip(expected) {
            let known = known.or_else(|| self.model.job(id).map(|job| job.id));
            assert_eq!(duplicate, known.is_some());
            match known {
                Some(known) => assert_eq!(id, known),
                None => {
                    assert!(
                        self.jobs.iter().all(|other| *other < id),
                        "ids are never given twice"
                    );
                    self.jobs.push(id);
                    self.model.add(id, queue, new, None);
                }
            }
        }
    }

    /// Compares the leases of an answer with what the model hands out.
    fn granted(&mut self, queue: usize, max: u32, session: SessionId, leases: &[Lease]) {
        self.model.queue(queue);
        if !self.model.sessions.contains(&session) {
            self.model.sessions.push(session);
            self.sessions.push(session);
        }
        for lease in leases {
            assert_eq!(
                Some(lease.job),
                self.model.next(queue),
                "priority, then first come (P7)"
            );
            self.model.grant(lease, session);
            self.leases.push(lease.id);
        }
        if leases.len() < max as usize {
            assert_eq!(self.model.next(queue), None, "ready work is handed out");
        }
    }

    fn lease(&mut self, queue: usize, max: u32, session: Option<usize>) {
        let session = session.and_then(|n| pick(&self.sessions, n));
        let request = LeaseRequest {
            queue: queue_name(queue),
            ..request(session, max)
        };
        let open = session.is_none_or(|session| self.model.sessions.contains(&session));
        let parks = self
            .rig
            .machine
            .parks(&Command::Lease(request.clone()))
            .is_some();
        match self.run(Command::Lease(request)) {
            Ok(Reply::Leased { session, leases }) => {
                assert!(open);
                assert_eq!(parks, max > 0 && leases.is_empty());
                self.granted(queue, max, session, &leases);
            }
            other => {
                assert!(!open && !parks);
                assert_eq!(code(other), Code::SessionExpired);
            }
        }
    }

    fn settle(&mut self, picks: &[(usize, u8)], then: Option<usize>) {
        let settle: Vec<_> = picks
            .iter()
            .filter_map(|(n, kind)| {
                // Most of the time one that may be live.
                let recent = self.leases.len().saturating_sub(6);
                let lease = if n.is_multiple_of(4) {
                    pick(&self.leases, *n)
                } else {
                    pick(&self.leases[recent..], *n)
                };
                Some(Settle {
                    lease: lease?,
                    session: None,
                    settlement: settlement(*kind),
                })
            })
            .collect();
        self.settle_all(settle, then);
    }

    fn settle_all(&mut self, settle: Vec<Settle>, then: Option<usize>) {
        self.last = settle.last().cloned().or(self.last.take());
        let request = then.map(|queue| LeaseRequest {
            queue: queue_name(queue),
            ..request(None, 1)
        });
        let command = Command::Settle {
            settle: settle.clone(),
            then: request,
        };
        let Ok(Reply::Settled { outcomes, leased }) = self.rig.run(command) else {
            panic!("settlements are answered one by one");
        };
        for (settle, outcome) in settle.iter().zip(outcomes) {
            let expected = self.model.settle(settle, &Self::delay(&self.rig));
            agree(outcome, expected);
            self.review();
        }
        if let Some((session, leases)) = leased {
            self.granted(then.unwrap(), 1, session, &leases);
        }
        self.rig.drain();
    }

    fn expire(&mut self, n: usize, cause: u8, current: bool) {
        let Some(lease) = pick(&self.leases, n) else {
            return;
        };
        let cause = [
            ExpireCause::Silent,
            ExpireCause::Unlisted,
            ExpireCause::Revoked,
        ][usize::from(cause)];
        let known = self
            .model
            .jobs
            .iter()
            .find(|job| job.tries.iter().any(|t| t.lease == lease));
        let extensions = known.map_or(0, |job| job.extensions) + u32::from(!current);
        let command = Command::ExpireLeases {
            leases: vec![(lease, extensions)],
            cause,
        };
        let got = self.count(command);
        let Self { rig, model, .. } = self;
        agree(
            got,
            Ok(model.expire(lease, extensions, cause, &Self::delay(rig))),
        );
    }

    fn stall(&mut self, n: usize) {
        let Some(lease) = pick(&self.leases, n) else {
            return;
        };
        let command = Command::RevokeLeases {
            leases: vec![lease],
            cause: RevokeCause::Stalled,
        };
        let got = self.count(command);
        agree(got, Ok(self.model.stall(lease)));
    }

    fn cancel(&mut self, n: usize) {
        let Some(job) = pick(&self.jobs, n) else {
            return;
        };
        let got = self.done(Command::CancelJob { job });
        let expected = match self.model.job(job).map(|job| job.state) {
            None => Err(Code::NotFound),
            Some(State::Completed) => Err(Code::AlreadySettled),
            Some(_) => {
                self.model.cancel(job);
                Ok(())
            }
        };
        agree(got, expected);
    }

    fn retry(&mut self, n: usize) {
        let dead: Vec<_> = self
            .model
            .jobs
            .iter()
            .filter(|job| job.state == State::Dead)
            .map(|job| job.id)
            .collect();
        let Some(job) = pick(&dead, n)
            .filter(|_| !n.is_multiple_of(8))
            .or(pick(&self.jobs, n))
        else {
            return;
        };
        let got = self.done(Command::RetryJob { job });
        let expected = match self.model.job(job).map(|job| job.state) {
            None => Err(Code::NotFound),
            Some(State::Dead) if self.model.may_revive(job) => {
                self.model.revive(job);
                Ok(())
            }
            Some(State::Dead) => Err(Code::BatchSealed),
            Some(_) => Err(Code::InvalidArgument),
        };
        agree(got, expected);
    }

    fn skip(&mut self, n: usize) {
        let dead: Vec<_> = self
            .model
            .jobs
            .iter()
            .filter(|job| job.state == State::Dead)
            .map(|job| job.id)
            .collect();
        let Some(job) = pick(&dead, n)
            .filter(|_| !n.is_multiple_of(8))
            .or(pick(&self.jobs, n))
        else {
            return;
        };
        let got = self.done(Command::SkipChild { job });
        let expected = match self.model.job(job) {
            None => Err(Code::NotFound),
            Some(job) if job.state == State::Dead && job.new.batch.is_some() => {
                job.skipped = true;
                Ok(())
            }
            Some(_) => Err(Code::InvalidArgument),
        };
        agree(got, expected);
    }

    fn create(
        &mut self,
        queue: usize,
        join: Option<&(usize, Spec)>,
        on_dead: OnDead,
        key: Option<u8>,
    ) {
        let join = join.map(|(queue, spec)| {
            let spec = Spec {
                key: None,
                place: None,
                ..spec.clone()
            };
            (*queue, self.new_job(&spec))
        });
        let key = key.map(|key| text(&format!("b{key}")));
        let attaches = self.model.attaches(queue, key.as_ref());
        let command = Command::CreateBatch {
            queue: queue_name(queue),
            join: join.clone().map(|(queue, job)| (queue_name(queue), job)),
            on_dead,
            key: key.clone(),
        };
        match self.run(command) {
            Ok(Reply::Batch(id, true)) => assert_eq!(Some(id), attaches),
            Ok(Reply::Batch(id, false)) => {
                assert_eq!(attaches, None);
                self.batches.push(id);
                self.model.create(id, queue, join, on_dead, key);
            }
            other => panic!("{other:?}"),
        }
    }

    fn seal(&mut self, n: usize, expected: Option<u32>) {
        let Some(batch) = pick(&self.batches, n) else {
            return;
        };
        let there = self
            .model
            .jobs
            .iter()
            .filter(|job| job.new.batch.is_some_and(|(id, _)| id == batch))
            .count();
        let expected = expected.unwrap_or(u32::try_from(there).unwrap());
        let got = self.done(Command::SealBatch { batch, expected });
        agree(got, self.model.seal(batch, expected));
    }

    fn cancel_batch(&mut self, n: usize) {
        let Some(batch) = pick(&self.batches, n) else {
            return;
        };
        let got = self.done(Command::CancelBatch { batch });
        agree(got, self.model.cancel_batch(batch));
    }

    fn control(&mut self, step: &Step) {
        let Self { model, .. } = self;
        match *step {
            Step::Pause(queue, paused) => {
                let expected = match model.queues.get_mut(&queue) {
                    None => Err(Code::NotFound),
                    Some(row) => {
                        row.paused = paused;
                        Ok(())
                    }
                };
                agree(
                    self.done(Command::Pause {
                        queue: queue_name(queue),
                        paused,
                    }),
                    expected,
                );
            }
            Step::Purge(queue) => {
                let known = model.queues.contains_key(&queue);
                let expected = known.then(|| model.purge(queue)).ok_or(Code::NotFound);
                agree(
                    self.count(Command::Purge {
                        queue: queue_name(queue),
                    }),
                    expected,
                );
            }
            Step::Redrive(queue, max) => {
                let known = model.queues.contains_key(&queue);
                let mut dead: Vec<_> = model
                    .jobs
                    .iter()
                    .filter(|job| {
                        job.queue == queue && job.state == State::Dead && model.may_revive(job.id)
                    })
                    .map(|job| job.id)
                    .collect();
                dead.sort();
                dead.truncate(max as usize);
                for id in &dead {
                    model.revive(*id);
                }
                let expected = known.then_some(dead.len() as u64).ok_or(Code::NotFound);
                agree(
                    self.count(Command::Redrive {
                        queue: queue_name(queue),
                        max,
                    }),
                    expected,
                );
            }
            Step::Delete(queue) => {
                let expected = model.delete(queue);
                agree(
                    self.done(Command::DeleteQueue {
                        queue: queue_name(queue),
                    }),
                    expected,
                );
            }
            Step::Configure(queue, kind) => {
                let settings = Settings {
                    max_jobs: if kind == 0 { 5 } else { 1_000 },
                    retention_ms: if kind == 1 { 3_000 } else { 60_000 },
                    max_attempts: 2,
                    ..Settings::default()
                };
                model.queue(queue).settings = settings.clone();
                agree(
                    self.done(Command::Configure {
                        queue: queue_name(queue),
                        settings,
                    }),
                    Ok(()),
                );
                // A shorter retention takes effect at once.
                self.model.pass(0);
            }
            _ => {}
        }
    }

    fn sessions(&mut self, step: &Step) {
        match *step {
            Step::CloseSession(n) => {
                let Some(session) = pick(&self.sessions, n) else {
                    return;
                };
                let got = self.done(Command::CloseSession { session });
                let Self { rig, model, .. } = self;
                if !model.sessions.contains(&session) {
                    agree(got, Err(Code::SessionExpired));
                    return;
                }
                agree(got, Ok(()));
                for (id, cancel) in held(model, session) {
                    let outcome = if cancel {
                        AttemptOutcome::Cancelled
                    } else {
                        AttemptOutcome::Released
                    };
                    let said = (!cancel).then_some(Settlement::Release);
                    model.end(id, outcome, said, &Self::delay(rig));
                }
                model.sessions.retain(|other| *other != session);
            }
            Step::Forget(n) => {
                let Some(session) = pick(&self.sessions, n) else {
                    return;
                };
                let got = self.count(Command::ForgetSessions {
                    sessions: vec![session],
                });
                let idle =
                    self.model.sessions.contains(&session) && held(&self.model, session).is_empty();
                if idle {
                    self.model.sessions.retain(|other| *other != session);
                }
                agree(got, Ok(u64::from(idle)));
            }
            _ => {}
        }
    }

    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Enqueue(queue, specs) => self.enqueue(*queue, specs),
            Step::Lease(queue, max, session) => self.lease(*queue, *max, *session),
            Step::Settle(picks, then) => self.settle(picks, *then),
            Step::SettleByOther(n) => {
                if let (Some(lease), Some(session)) =
                    (pick(&self.leases, *n), pick(&self.sessions, n + 1))
                {
                    let settle = Settle {
                        lease,
                        session: Some(session),
                        settlement: settlement(0),
                    };
                    self.settle_all(vec![settle], None);
                }
            }
            Step::Again => {
                let again = self.last.clone();
                self.settle_all(again.into_iter().collect(), None);
            }
            Step::Extend(n) => {
                if let Some(lease) = pick(&self.leases, *n) {
                    let got = self.kept(Command::Extend {
                        lease,
                        session: None,
                        lease_ms: 60_000,
                    });
                    agree(got, self.model.extend(lease));
                }
            }
            Step::Checkpoint(n, byte) => {
                if let Some(lease) = pick(&self.leases, *n) {
                    let data = Bytes::from(vec![*byte]);
                    let got = self.kept(Command::Checkpoint {
                        lease,
                        session: None,
                        data: data.clone(),
                    });
                    agree(got, self.model.checkpoint(lease, &data));
                }
            }
            Step::Expire(n, cause, current) => self.expire(*n, *cause, *current),
            Step::Stall(n) => self.stall(*n),
            Step::Cancel(n) => self.cancel(*n),
            Step::Retry(n) => self.retry(*n),
            Step::Skip(n) => self.skip(*n),
            Step::Create(queue, join, on_dead, key) => {
                self.create(*queue, join.as_ref(), *on_dead, *key);
            }
            Step::Seal(n, expected) => self.seal(*n, *expected),
            Step::CancelBatch(n) => self.cancel_batch(*n),
            Step::CloseSession(_) | Step::Forget(_) => self.sessions(step),
            Step::Pass(ms) => {
                self.rig.pass(*ms);
                self.rig.drain();
                self.model.pass(*ms);
            }
            Step::Restore(bytes) => {
                self.rig.machine = self.rig.restored(*bytes);
                self.snapshot = None;
            }
            Step::SnapshotBegin => {
                self.rig.machine.snapshot_begin();
                self.snapshot = Some((self.rig.machine.digest(), Vec::new()));
            }
            Step::SnapshotSlice => self.slice(),
            _ => self.control(step),
        }
        self.review();
        // What a review ends may be over at once, when retention is short.
        self.model.pass(0);
        self.check();
    }

    fn slice(&mut self) {
        let Some((digest, mut slices)) = self.snapshot.take() else {
            return;
        };
        if let Some(slice) = self.rig.machine.snapshot_slice(200) {
            slices.push(slice);
            self.snapshot = Some((digest, slices));
        } else {
            let copy = from_slices(&slices, self.rig.machine.bounds);
            assert_eq!(copy.digest(), digest, "as of its beginning");
        }
    }

    /// Compares everything that can be asked.
    fn check(&mut self) {
        let duties = QueueDuties::new(&self.rig.machine, Mono(0));
        let ask = |query| self.rig.machine.query(&duties, self.rig.now, query);
        for number in 0..QUEUES {
            let query = Query::Queue {
                queue: queue_name(number),
            };
            let Some(row) = self.model.queues.get(&number) else {
                assert_eq!(code(ask(query)), Code::NotFound);
                continue;
            };
            let Ok(Answer::Queue(view)) = ask(query) else {
                panic!("queue {number}")
            };
            assert_eq!((&view.settings, view.paused), (&row.settings, row.paused));
            let jobs = || self.model.jobs.iter().filter(|job| job.queue == number);
            let count = |state| jobs().filter(|job| job.state == state).count() as u64;
            let c = view.counts;
            assert_eq!(
                [c.ready, c.delayed, c.leased],
                [State::Ready, State::Delayed, State::Leased].map(count)
            );
            assert_eq!(
                [c.completed, c.dead, c.cancelled],
                [State::Completed, State::Dead, State::Cancelled].map(count)
            );
            let page = Query::Jobs {
                queue: queue_name(number),
                state: None,
                label: None,
                after: None,
                limit: 1_000,
            };
            let Ok(Answer::Jobs(page, None)) = ask(page) else {
                panic!("a page")
            };
            let mut ids: Vec<_> = jobs().map(|job| job.id).collect();
            ids.sort();
            assert_eq!(page.iter().map(|view| view.id).collect::<Vec<_>>(), ids);
            for view in page {
                compare(
                    &view,
                    self.model
                        .jobs
                        .iter()
                        .find(|job| job.id == view.id)
                        .unwrap(),
                );
            }
        }
        for id in &self.batches {
            match (
                ask(Query::Batch { batch: *id }),
                self.model.batches.iter().find(|batch| batch.id == *id),
            ) {
                (Ok(Answer::Batch(view)), Some(batch)) => {
                    assert_eq!(
                        (view.state, view.expected, view.join),
                        (batch.state, batch.expected, batch.fired)
                    );
                }
                (Err(error), None) => assert_eq!(error.code, Code::NotFound),
                other => panic!("{other:?}"),
            }
        }
        let open = self.rig.machine.sessions.iter().map(|(id, _)| *id);
        assert!(open.eq(self.model.sessions.iter().copied()));
        self.check_events();
    }

    /// Promises read off the events alone, whatever the model thinks.
    fn check_events(&mut self) {
        for event in std::mem::take(&mut self.rig.events) {
            match event {
                Event::Batch {
                    batch,
                    state: BatchState::Joining,
                } => {
                    let revived = self
                        .model
                        .batches
                        .iter()
                        .any(|row| row.id == batch && row.fired.is_some());
                    assert!(
                        self.joined.insert(batch) || revived,
                        "a join fires once (P8)"
                    );
                }
                Event::Job {
                    job,
                    state: State::Completed,
                } => {
                    assert!(self.completed.insert(job), "one recorded outcome (P6)");
                }
                Event::Job { job, .. } | Event::Granted { job, .. } => {
                    assert!(
                        !self.completed.contains(&job),
                        "never handed out after its completion (P5)"
                    );
                }
                _ => {}
            }
        }
        let mut joins: Vec<_> = self.model.jobs.iter().filter_map(|job| job.joins).collect();
        joins.sort();
        let all = joins.len();
        joins.dedup();
        assert_eq!(joins.len(), all, "a batch has one join (P8)");
    }
}

fn held(model: &Naive, session: SessionId) -> Vec<(JobId, bool)> {
    let mut held: Vec<_> = model
        .jobs
        .iter()
        .filter(|job| {
            job.state == State::Leased && job.tries.last().is_some_and(|t| t.session == session)
        })
        .map(|job| (job.tries.last().unwrap().lease, job.id, job.cancel))
        .collect();
    held.sort();
    held.into_iter()
        .map(|(_, id, cancel)| (id, cancel))
        .collect()
}

fn compare(view: &JobView, job: &ModelJob) {
    assert_eq!(view.state, job.state, "{view:?} {job:?}");
    assert_eq!(
        (view.failures, view.losses, view.releases),
        (job.failures, job.losses, job.releases)
    );
    assert_eq!((&view.job, &view.result), (&job.new, &job.result));
    assert_eq!(
        view.ready_at,
        (job.state == State::Delayed).then_some(LogTime(job.at))
    );
    assert_eq!(
        view.cancel_requested,
        job.state == State::Leased && job.cancel
    );
    let shown = view
        .attempts
        .iter()
        .map(|attempt| (attempt.lease, attempt.outcome));
    let skip = job.tries.len().saturating_sub(limits::ATTEMPTS_KEPT_MAX);
    assert!(shown.eq(job.tries[skip..].iter().map(|t| (t.lease, t.outcome))));
    assert_eq!(
        view.waiting.is_empty(),
        !matches!(job.state, State::Ready | State::Delayed) && !view.waiting.starts_with("dead")
    );
}
