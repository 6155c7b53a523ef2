//! The naive model: what the queue promises, written as plainly as can be, with no index, no sweep and
//! nothing of the machine's code. It shares the vocabulary with the machine, because that is what both
//! are asked in. It gives no ids and draws no jitter; those it adopts from the machine.

use super::super::*;
use std::collections::BTreeMap;

/// Kept jobs of a queue that are final, in these tests.
pub(super) const KEPT_MAX: usize = 4;

#[derive(Clone, Debug)]
pub(super) struct Try {
    pub(super) lease: LeaseId,
    pub(super) session: SessionId,
    pub(super) outcome: Option<AttemptOutcome>,
    said: Option<Settlement>,
}

#[derive(Clone, Debug)]
pub(super) struct ModelJob {
    pub(super) id: JobId,
    pub(super) queue: usize,
    pub(super) new: NewJob,
    pub(super) state: State,
    /// Delayed until, or final since.
    pub(super) at: u64,
    pub(super) tries: Vec<Try>,
    pub(super) failures: u32,
    pub(super) losses: u32,
    pub(super) releases: u32,
    pub(super) result: Option<Bytes>,
    pub(super) cancel: bool,
    pub(super) revoking: Option<RevokeCause>,
    pub(super) extensions: u32,
    checkpoint: Option<Bytes>,
    pub(super) joins: Option<BatchId>,
    pub(super) skipped: bool,
    /// Since when its retention runs.
    retired: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct ModelQueue {
    pub(super) settings: Settings,
    pub(super) paused: bool,
    incarnation: u32,
}

#[derive(Clone, Debug)]
pub(super) struct ModelBatch {
    pub(super) id: BatchId,
    queue: usize,
    incarnation: u32,
    key: Option<Arc<str>>,
    on_dead: OnDead,
    join: Option<(usize, NewJob)>,
    pub(super) expected: Option<u32>,
    pub(super) state: BatchState,
    pub(super) fired: Option<JobId>,
    closed: bool,
    due: u64,
}

/// The whole state.
#[derive(Clone, Debug, Default)]
pub(super) struct Naive {
    pub(super) now: u64,
    /// By number: `q0`, `q1`, …
    pub(super) queues: BTreeMap<usize, ModelQueue>,
    pub(super) incarnations: u32,
    /// In the order of enqueueing.
    pub(super) jobs: Vec<ModelJob>,
    pub(super) batches: Vec<ModelBatch>,
    pub(super) sessions: Vec<SessionId>,
}

pub(super) type Expected<T> = Result<T, Code>;

fn is_over(state: State) -> bool {
    matches!(state, State::Completed | State::Dead | State::Cancelled)
}

impl Naive {
    pub(super) fn queue(&mut self, number: usize) -> &mut ModelQueue {
        if !self.queues.contains_key(&number) {
            self.incarnations += 1;
            let queue = ModelQueue {
                settings: Settings::default(),
                paused: false,
                incarnation: self.incarnations,
            };
            self.queues.insert(number, queue);
        }
        self.queues.get_mut(&number).unwrap()
    }

    pub(super) fn job(&mut self, id: JobId) -> Option<&mut ModelJob> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }

    pub(super) fn batch(&mut self, id: BatchId) -> Option<&mut ModelBatch> {
        self.batches.iter_mut().find(|batch| batch.id == id)
    }

    /// Which of these jobs are known already: by id, or as an earlier one of the request.
    pub(super) fn enqueue(
        &mut self,
        queue: usize,
        jobs: &[NewJob],
    ) -> Expected<Vec<Option<JobId>>> {
        let mut known = Vec::new();
        let mut new = 0;
        for (n, job) in jobs.iter().enumerate() {
            let same_place = |other: &NewJob| job.batch.is_some() && other.batch == job.batch;
            let same_key =
                |other: &NewJob| job.dedupe_key.is_some() && other.dedupe_key == job.dedupe_key;
            let kept = self.jobs.iter().find(|other| {
                same_place(&other.new) || (other.queue == queue && same_key(&other.new))
            });
            if let Some(kept) = kept {
                known.push(Some(kept.id));
                continue;
            }
            if let Some((batch, _)) = job.batch {
                match self.batch(batch) {
                    None => return Err(Code::NotFound),
                    Some(batch) if batch.state != BatchState::Open => {
                        return Err(Code::BatchSealed);
                    }
                    Some(_) => {}
                }
            }
            if !jobs[..n]
                .iter()
                .any(|other| same_place(other) || same_key(other))
            {
                new += 1;
            }
            known.push(None);
        }
        let held = self
            .jobs
            .iter()
            .filter(|job| job.queue == queue && !self.is_kept(job))
            .count();
        let max = self
            .queues
            .get(&queue)
            .map_or(u64::MAX, |queue| queue.settings.max_jobs);
        if new > 0 && (held + new) as u64 > max {
            return Err(Code::OverQuota);
        }
        self.queue(queue);
        Ok(known)
    }

    pub(super) fn add(&mut self, id: JobId, queue: usize, new: NewJob, joins: Option<BatchId>) {
        let later = new.not_before.filter(|at| at.0 > self.now);
        self.jobs.push(ModelJob {
            id,
            queue,
            state: if later.is_some() {
                State::Delayed
            } else {
                State::Ready
            },
            at: later.map_or(self.now, |at| at.0),
            new,
            tries: Vec::new(),
            failures: 0,
            losses: 0,
            releases: 0,
            result: None,
            cancel: false,
            revoking: None,
            extensions: 0,
            checkpoint: None,
            joins,
            skipped: false,
            retired: None,
        });
    }

    /// Final, and one of those that go when there are too many.
    fn is_kept(&self, job: &ModelJob) -> bool {
        job.retired.is_some() && job.state != State::Dead && job.new.batch.is_none()
    }

    /// The job that must be handed out next.
    pub(super) fn next(&self, queue: usize) -> Option<JobId> {
        if self.queues.get(&queue)?.paused {
            return None;
        }
        self.jobs
            .iter()
            .filter(|job| job.queue == queue && job.state == State::Ready)
            .min_by_key(|job| job.new.priority)
            .map(|job| job.id)
    }

    pub(super) fn grant(&mut self, lease: &Lease, session: SessionId) {
        let job = self.job(lease.job).unwrap();
        assert_eq!(job.state, State::Ready);
        job.state = State::Leased;
        job.extensions = 0;
        job.revoking = None;
        assert_eq!(lease.payload, job.new.payload);
        assert_eq!(lease.checkpoint, job.checkpoint);
        assert_eq!(lease.attempt as usize, job.tries.len() + 1);
        assert_eq!(lease.batch, job.new.batch);
        assert_eq!(lease.joins, job.joins);
        assert!(
            job.tries.iter().all(|other| other.lease < lease.id),
            "tokens grow"
        );
        job.tries.push(Try {
            lease: lease.id,
            session,
            outcome: None,
            said: None,
        });
    }

    /// The job and attempt of a lease.
    fn find(&self, lease: LeaseId, session: Option<SessionId>) -> Expected<(JobId, usize)> {
        for job in &self.jobs {
            for (n, attempt) in job.tries.iter().enumerate() {
                if attempt.lease == lease {
                    return if session.is_some_and(|session| session != attempt.session) {
                        Err(Code::Forbidden)
                    } else {
                        Ok((job.id, n))
                    };
                }
            }
        }
        Err(Code::NotFound)
    }

    /// What a lease that has ended answers to anything new.
    fn ended(job: &ModelJob, n: usize, outcome: AttemptOutcome) -> Code {
        use AttemptOutcome::{Cancelled, Completed, Failed, Released};
        if matches!(outcome, Completed | Failed | Released | Cancelled) {
            Code::AlreadySettled
        } else if n + 1 == job.tries.len() {
            Code::LeaseExpired
        } else {
            Code::StaleFencingToken
        }
    }

    /// A lease that must be live: its job.
    fn live(&mut self, lease: LeaseId, session: Option<SessionId>) -> Expected<&mut ModelJob> {
        let (id, n) = self.find(lease, session)?;
        let job = self.job(id).unwrap();
        match job.tries[n].outcome {
            Some(outcome) => Err(Self::ended(job, n, outcome)),
            None => Ok(job),
        }
    }

    pub(super) fn settle(
        &mut self,
        settle: &Settle,
        delay: &dyn Fn(JobId) -> Option<u64>,
    ) -> Expected<()> {
        let (id, n) = self.find(settle.lease, settle.session)?;
        let said = settle.settlement.clone();
        let job = self.job(id).unwrap();
        if let Some(outcome) = job.tries[n].outcome {
            let harmless = outcome == AttemptOutcome::Cancelled
                && !matches!(said, Settlement::Complete { .. });
            return if harmless || job.tries[n].said.as_ref() == Some(&said) {
                Ok(())
            } else {
                Err(Self::ended(job, n, outcome))
            };
        }
        let is_complete = matches!(said, Settlement::Complete { .. });
        if job.cancel {
            self.end(id, AttemptOutcome::Cancelled, None, delay);
            return if is_complete {
                Err(Code::AlreadySettled)
            } else {
                Ok(())
            };
        }
        let outcome = match &said {
            Settlement::Complete { result, .. } => {
                job.result = Some(result.clone());
                job.checkpoint = None;
                AttemptOutcome::Completed
            }
            Settlement::Fail { .. } => AttemptOutcome::Failed,
            Settlement::Release => AttemptOutcome::Released,
        };
        self.end(id, outcome, Some(said), delay);
        Ok(())
    }

    /// The live lease of a job ends.
    pub(super) fn end(
        &mut self,
        id: JobId,
        outcome: AttemptOutcome,
        said: Option<Settlement>,
        delay: &dyn Fn(JobId) -> Option<u64>,
    ) {
        let now = self.now;
        let queue = self.job(id).unwrap().queue;
        let settings = self.queue(queue).settings.clone();
        let job = self.job(id).unwrap();
        let max = job.new.max_attempts.unwrap_or(settings.max_attempts);
        let attempt = job.tries.last_mut().unwrap();
        attempt.outcome = Some(outcome);
        attempt.said.clone_from(&said);
        let mut backoff = None;
        job.state = match outcome {
            AttemptOutcome::Completed => State::Completed,
            AttemptOutcome::Cancelled => State::Cancelled,
            AttemptOutcome::Released | AttemptOutcome::Unclaimed => {
                job.releases += 1;
                State::Ready
            }
            AttemptOutcome::Lost => {
                job.losses += 1;
                if job.losses >= max {
                    State::Dead
                } else if job.losses == 1 {
                    State::Ready
                } else {
                    backoff = Some((job.losses - 1, None));
                    State::Delayed
                }
            }
            AttemptOutcome::Failed | AttemptOutcome::Stalled => {
                job.failures += 1;
                let (retry, asked) = match &said {
                    Some(Settlement::Fail {
                        retry, delay_ms, ..
                    }) => (*retry, *delay_ms),
                    _ => (true, None),
                };
                if !retry || job.failures >= max {
                    State::Dead
                } else if asked == Some(0) {
                    State::Ready
                } else {
                    backoff = Some((job.failures, asked));
                    State::Delayed
                }
            }
        };
        job.at = now;
        if let Some((nth, asked)) = backoff {
            let exact = settings.backoff_initial_ms * 2_u64.pow(nth - 1);
            let exact = exact.min(settings.backoff_max_ms);
            let drawn = asked.or_else(|| delay(id)).unwrap_or(exact);
            assert!(
                asked.is_some() || (exact * 9 / 10..=exact * 11 / 10).contains(&drawn),
                "{nth}: {drawn}"
            );
            job.at = now + drawn;
        }
        self.settled(id);
    }

    /// After a change of state: retention begins, if nothing needs the job.
    fn settled(&mut self, id: JobId) {
        let now = self.now;
        let closed = |batches: &[ModelBatch], id: BatchId| {
            batches.iter().any(|batch| batch.id == id && batch.closed)
        };
        let Some(job) = self.jobs.iter_mut().find(|job| job.id == id) else {
            return;
        };
        let needed = job
            .new
            .batch
            .is_some_and(|(batch, _)| !closed(&self.batches, batch));
        job.retired = (is_over(job.state) && !needed).then_some(now);
        if job.state != State::Dead {
            job.skipped = false;
        }
        let (queue, joins, state) = (job.queue, job.joins, job.state);
        if let Some(batch) = joins {
            self.join_is(batch, state);
        }
        self.evict(queue);
    }

    fn evict(&mut self, queue: usize) {
        loop {
            let mut kept: Vec<_> = self
                .jobs
                .iter()
                .filter(|job| job.queue == queue && self.is_kept(job))
                .map(|job| (job.retired, job.id))
                .collect();
            if kept.len() <= KEPT_MAX {
                return;
            }
            kept.sort();
            let id = kept[0].1;
            self.jobs.retain(|job| job.id != id);
        }
    }

    pub(super) fn cancel(&mut self, id: JobId) {
        let now = self.now;
        let job = self.job(id).unwrap();
        match job.state {
            State::Completed | State::Cancelled => {}
            State::Leased => {
                job.cancel = true;
                job.revoking = Some(RevokeCause::Cancelled);
            }
            State::Ready | State::Delayed | State::Dead => {
                job.state = State::Cancelled;
                job.at = now;
                self.settled(id);
            }
        }
    }

    pub(super) fn may_revive(&self, id: JobId) -> bool {
        let job = self.jobs.iter().find(|job| job.id == id).unwrap();
        job.new.batch.is_none_or(|(batch, _)| {
            let batch = self.batches.iter().find(|other| other.id == batch).unwrap();
            !batch.closed && batch.fired.is_none()
        })
    }

    pub(super) fn revive(&mut self, id: JobId) {
        let now = self.now;
        let job = self.job(id).unwrap();
        job.state = State::Ready;
        job.at = now;
        job.failures = 0;
        job.losses = 0;
        job.releases = 0;
        self.settled(id);
    }

    pub(super) fn extend(&mut self, lease: LeaseId) -> Expected<bool> {
        let job = self.live(lease, None)?;
        match job.revoking {
            Some(RevokeCause::Cancelled) => Ok(true),
            Some(RevokeCause::Stalled) => Err(Code::LeaseExpired),
            None => {
                job.extensions += 1;
                Ok(false)
            }
        }
    }

    pub(super) fn checkpoint(&mut self, lease: LeaseId, data: &Bytes) -> Expected<bool> {
        let job = self.live(lease, None)?;
        job.checkpoint = Some(data.clone());
        Ok(job.cancel)
    }

    pub(super) fn expire(
        &mut self,
        lease: LeaseId,
        extensions: u32,
        cause: ExpireCause,
        delay: &dyn Fn(JobId) -> Option<u64>,
    ) -> u64 {
        let Ok(job) = self.live(lease, None) else {
            return 0;
        };
        let outcome = match (job.revoking, cause) {
            _ if job.extensions != extensions => return 0,
            (Some(RevokeCause::Stalled), _) => AttemptOutcome::Stalled,
            (Some(RevokeCause::Cancelled), _) => AttemptOutcome::Cancelled,
            (None, ExpireCause::Silent) => AttemptOutcome::Lost,
            (None, ExpireCause::Unlisted) => AttemptOutcome::Unclaimed,
            (None, ExpireCause::Revoked) => return 0,
        };
        let id = job.id;
        self.end(id, outcome, None, delay);
        1
    }

    pub(super) fn stall(&mut self, lease: LeaseId) -> u64 {
        match self.live(lease, None) {
            Ok(job) if job.revoking.is_none() => {
                job.revoking = Some(RevokeCause::Stalled);
                1
            }
            _ => 0,
        }
    }

    pub(super) fn purge(&mut self, queue: usize) -> u64 {
        let waiting: Vec<_> = self
            .jobs
            .iter()
            .filter(|job| job.queue == queue && matches!(job.state, State::Ready | State::Delayed))
            .map(|job| job.id)
            .collect();
        for id in &waiting {
            self.cancel(*id);
        }
        waiting.len() as u64
    }

    pub(super) fn delete(&mut self, queue: usize) -> Expected<()> {
        if !self.queues.contains_key(&queue) {
            return Err(Code::NotFound);
        }
        let busy = self
            .jobs
            .iter()
            .any(|job| job.queue == queue && (!is_over(job.state) || job.retired.is_none()));
        let serves = self.batches.iter().any(|batch| {
            !batch.closed
                && (batch.queue == queue || batch.join.as_ref().is_some_and(|join| join.0 == queue))
        });
        if busy || serves {
            return Err(Code::InvalidArgument);
        }
        let gone: Vec<_> = self
            .jobs
            .iter()
            .filter(|job| job.queue == queue)
            .map(|job| job.id)
            .collect();
        self.queues.remove(&queue);
        for id in gone {
            self.remove(id);
        }
        Ok(())
    }

    fn remove(&mut self, id: JobId) {
        let joins = self.job(id).unwrap().joins;
        self.jobs.retain(|job| job.id != id);
        if let Some(batch) = joins {
            self.close(batch, BatchState::Dead);
        }
    }

    /// The batch that this creation attaches to.
    pub(super) fn attaches(&self, queue: usize, key: Option<&Arc<str>>) -> Option<BatchId> {
        let incarnation = self.queues.get(&queue)?.incarnation;
        self.batches
            .iter()
            .rev()
            .find(|batch| {
                key.is_some() && batch.key.as_ref() == key && batch.incarnation == incarnation
            })
            .filter(|batch| batch.state != BatchState::Cancelled)
            .map(|batch| batch.id)
    }

    pub(super) fn create(
        &mut self,
        id: BatchId,
        queue: usize,
        join: Option<(usize, NewJob)>,
        on_dead: OnDead,
        key: Option<Arc<str>>,
    ) {
        let incarnation = self.queue(queue).incarnation;
        if let Some(join) = &join {
            self.queue(join.0);
        }
        self.batches.push(ModelBatch {
            id,
            queue,
            incarnation,
            key,
            on_dead,
            join,
            expected: None,
            state: BatchState::Open,
            fired: None,
            closed: false,
            due: 0,
        });
    }

    pub(super) fn seal(&mut self, id: BatchId, expected: u32) -> Expected<()> {
        let mut places: Vec<u32> = self
            .children(id)
            .iter()
            .map(|job| job.new.batch.unwrap().1)
            .collect();
        places.sort_unstable();
        let Some(batch) = self.batch(id) else {
            return Err(Code::NotFound);
        };
        match batch.expected {
            Some(sealed) if sealed == expected => Ok(()),
            Some(_) => Err(Code::BatchSealed),
            None if batch.state == BatchState::Cancelled => Err(Code::BatchSealed),
            None if places != (0..expected).collect::<Vec<_>>() => Err(Code::InvalidArgument),
            None => {
                batch.expected = Some(expected);
                Ok(())
            }
        }
    }

    pub(super) fn cancel_batch(&mut self, id: BatchId) -> Expected<()> {
        let Some(batch) = self.batch(id) else {
            return Err(Code::NotFound);
        };
        if batch.state == BatchState::Cancelled {
            return Ok(());
        }
        if batch.closed {
            return Err(Code::AlreadySettled);
        }
        let fired = batch.fired;
        self.close(id, BatchState::Cancelled);
        if let Some(join) = fired {
            self.cancel(join);
        }
        Ok(())
    }

    fn children(&self, id: BatchId) -> Vec<&ModelJob> {
        self.jobs
            .iter()
            .filter(|job| job.new.batch.is_some_and(|(batch, _)| batch == id))
            .collect()
    }

    fn close(&mut self, id: BatchId, state: BatchState) {
        let now = self.now;
        let Some(queue) = self
            .batch(id)
            .filter(|batch| !batch.closed)
            .map(|batch| batch.queue)
        else {
            return;
        };
        let due = now + self.queue(queue).settings.retention_ms;
        let batch = self.batch(id).unwrap();
        batch.closed = true;
        batch.state = state;
        batch.due = due;
        batch.join = None;
        let children: Vec<_> = self
            .children(id)
            .iter()
            .map(|job| (job.id, job.state))
            .collect();
        for (child, state) in children {
            if is_over(state) {
                self.job(child).unwrap().retired = Some(now);
            } else {
                self.cancel(child);
            }
        }
    }

    fn join_is(&mut self, id: BatchId, state: State) {
        let Some(batch) = self.batch(id).filter(|batch| !batch.closed) else {
            return;
        };
        match state {
            State::Completed => self.close(id, BatchState::Completed),
            State::Cancelled => self.close(id, BatchState::Cancelled),
            State::Dead => batch.state = BatchState::Dead,
            _ => batch.state = BatchState::Joining,
        }
    }

    /// Brings batches up to date; `fired` gives the id of the join that the machine must have fired.
    pub(super) fn review(&mut self, fired: &dyn Fn(BatchId) -> Option<JobId>) {
        let open: Vec<_> = self
            .batches
            .iter()
            .filter(|batch| !batch.closed && batch.fired.is_none())
            .map(|batch| batch.id)
            .collect();
        for id in open {
            let children = self.children(id);
            let count = |state| children.iter().filter(|job| job.state == state).count();
            let skipped = children.iter().filter(|job| job.skipped).count();
            let dead = count(State::Dead) - skipped;
            let done = count(State::Completed) + count(State::Cancelled) + skipped;
            let batch = self.batch(id).unwrap();
            let done = done
                + if batch.on_dead == OnDead::Join {
                    dead
                } else {
                    0
                };
            if dead > 0 && batch.on_dead == OnDead::Cancel {
                self.close(id, BatchState::Cancelled);
                continue;
            }
            let Some(expected) = batch.expected else {
                continue;
            };
            if done == expected as usize {
                match batch.join.take() {
                    None => self.close(id, BatchState::Completed),
                    Some((queue, new)) => {
                        let join = fired(id).expect("the join must have been fired");
                        batch.fired = Some(join);
                        batch.state = BatchState::Joining;
                        self.add(join, queue, new, Some(id));
                    }
                }
            } else if dead > 0 && batch.on_dead == OnDead::Hold {
                batch.state = BatchState::Held;
            } else {
                batch.state = BatchState::Running;
            }
        }
    }

    /// Time passes.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now += ms;
        let now = self.now;
        for job in &mut self.jobs {
            if job.state == State::Delayed && job.at <= now {
                job.state = State::Ready;
                job.at = now;
            }
        }
        let gone: Vec<_> = self
            .jobs
            .iter()
            .filter(|job| {
                let retention = self.queues[&job.queue].settings.retention_ms;
                job.retired.is_some_and(|at| at + retention <= now)
            })
            .map(|job| job.id)
            .collect();
        for id in gone {
            self.remove(id);
        }
        let jobs = &self.jobs;
        self.batches.retain(|batch| {
            let any = jobs
                .iter()
                .any(|job| job.new.batch.is_some_and(|(id, _)| id == batch.id));
            !batch.closed || batch.due > now || any
        });
    }
}
