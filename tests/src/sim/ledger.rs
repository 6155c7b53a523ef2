//! What the simulated clients saw, and what it must add up to: the checker of the queue's promises.
//!
//! The ledger knows nothing of the machine. It is told what was asked, what was answered and what each
//! worker believed at which true time, and it says which promise of `goals.md` was broken.

use super::rng::Rng;
use quorate_core::types::Name;
use quorate_work_queue::machine::{BatchId, JobId, LeaseId, State};
use std::collections::{BTreeMap, BTreeSet};

/// True time in nanoseconds since the start of the run.
pub(crate) type True = u64;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Its name in goals.md.
    pub promise: &'static str,
    /// What was seen.
    pub what: String,
}

/// A stretch of true time during which a worker took its lease for valid.
#[derive(Clone, Copy, Debug)]
struct Belief {
    lease: LeaseId,
    from: True,
    until: True,
}

#[derive(Debug, Default)]
struct JobRecord {
    queue: Option<Name>,
    acked: bool,
    beliefs: Vec<Belief>,
    grants: Vec<LeaseId>,
    completions_sent: BTreeMap<LeaseId, Vec<u8>>,
    completion_acked: Option<(True, LeaseId)>,
    failures_acked: u32,
}

#[derive(Debug, Default)]
struct BatchRecord {
    expected: Option<u32>,
    children: BTreeSet<JobId>,
    joins: BTreeSet<JobId>,
}

/// A job as the cluster reports it at the end.
#[derive(Clone, Debug)]
pub(crate) struct FinalJob {
    /// Its id.
    pub(crate) id: JobId,
    /// Its state.
    pub(crate) state: State,
    /// The recorded result.
    pub(crate) result: Option<Vec<u8>>,
}

/// The record of one run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    jobs: BTreeMap<JobId, JobRecord>,
    unique: BTreeMap<u64, JobId>,
    batches: BTreeMap<BatchId, BatchRecord>,
    tokens: BTreeMap<LeaseId, JobId>,
    violations: BTreeSet<Violation>,
    /// Acknowledged enqueues.
    pub(crate) enqueued: u64,
    /// Grants that reached a worker.
    pub(crate) granted: u64,
    /// Acknowledged completions.
    pub(crate) completed: u64,
}

impl Ledger {
    /// Records a violation found elsewhere.
    pub(crate) fn blame(&mut self, promise: &'static str, what: String) {
        self.broken(promise, what);
    }

    fn broken(&mut self, promise: &'static str, what: String) {
        // A few examples are enough, and keep a broken run readable.
        if self.violations.len() < 20 {
            self.violations.insert(Violation { promise, what });
        }
    }

    /// An enqueue of the job that its client numbers `number` was acknowledged.
    pub(crate) fn enqueue_acked(&mut self, number: u64, queue: &Name, job: JobId) {
        self.enqueued += 1;
        if let Some(first) = self.unique.insert(number, job)
            && first != job
        {
            self.broken(
                "P14",
                format!("retrying enqueue {number} under its key made {job} beside {first}"),
            );
        }
        let record = self.jobs.entry(job).or_default();
        record.acked = true;
        record.queue = Some(queue.clone());
    }

    /// A child was acknowledged.
    pub(crate) fn child_acked(&mut self, batch: BatchId, job: JobId) {
        self.batches.entry(batch).or_default().children.insert(job);
    }

    /// A seal was acknowledged.
    pub(crate) fn seal_acked(&mut self, batch: BatchId, expected: u32) {
        self.batches.entry(batch).or_default().expected = Some(expected);
    }

    /// A grant reached a worker.
    pub(crate) fn granted(&mut self, at: True, job: JobId, lease: LeaseId, joins: Option<BatchId>) {
        self.granted += 1;
        if let Some(other) = self.tokens.insert(lease, job)
            && other != job
        {
            self.broken(
                "P3",
                format!("token {lease} was granted for {job} and for {other}"),
            );
        }
        let record = self.jobs.entry(job).or_default();
        let after = record.completion_acked;
        let last = record.grants.last().copied();
        if last != Some(lease) {
            record.grants.push(lease);
        }
        if let Some((acked, by)) = after
            && lease > by
            && acked < at
        {
            self.broken(
                "P5",
                format!(
                    "{job} was granted as {lease} after its completion under {by} was acknowledged"
                ),
            );
        }
        if let Some(batch) = joins {
            let batch_record = self.batches.entry(batch).or_default();
            batch_record.joins.insert(job);
            if batch_record.joins.len() > 1 {
                self.broken(
                    "P8",
                    format!(
                        "the join of {batch} was fired as {:?}",
                        self.batches[&batch].joins
                    ),
                );
            }
            let unfinished: Vec<JobId> = self.batches[&batch]
                .children
                .iter()
                .copied()
                .filter(|child| {
                    self.jobs
                        .get(child)
                        .is_none_or(|record| record.completions_sent.is_empty())
                })
                .collect();
            if !unfinished.is_empty() {
                self.broken(
                    "P8",
                    format!("the join of {batch} runs while nobody ever completed {unfinished:?}"),
                );
            }
        }
    }

    /// A worker believed its lease from `from` to `until`.
    pub(crate) fn believed(&mut self, job: JobId, lease: LeaseId, from: True, until: True) {
        if from < until {
            self.jobs
                .entry(job)
                .or_default()
                .beliefs
                .push(Belief { lease, from, until });
        }
    }

    /// A worker sends a completion.
    pub(crate) fn completion_sent(&mut self, job: JobId, lease: LeaseId, result: &[u8]) {
        self.jobs
            .entry(job)
            .or_default()
            .completions_sent
            .insert(lease, result.to_vec());
    }

    /// A completion was acknowledged.
    pub(crate) fn completion_acked(&mut self, at: True, job: JobId, lease: LeaseId) {
        let record = self.jobs.entry(job).or_default();
        match record.completion_acked {
            None => {
                record.completion_acked = Some((at, lease));
                self.completed += 1;
            }
            Some((_, first)) if first != lease => {
                let what = format!("{job} was completed under {first} and under {lease}");
                self.broken("P6", what);
            }
            Some(_) => {}
        }
    }

    /// A failure was acknowledged of a job that may fail `most` times, or of one that may fail oftener.
    pub(crate) fn failure_acked(&mut self, job: JobId, most: u32) {
        let record = self.jobs.entry(job).or_default();
        record.failures_acked += 1;
        let failures = record.failures_acked;
        // Other jobs have the queue's default of five.
        if failures > most.max(5) {
            self.broken("bounded attempts", format!("{job} failed {failures} times"));
        }
    }

    /// Some job that was acknowledged, for a reader to ask after; a completed one as often as not.
    pub(crate) fn some_job(&self, rng: &mut Rng) -> Option<JobId> {
        let known: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, record)| record.acked)
            .map(|(id, _)| *id)
            .collect();
        let back = usize::try_from(rng.below(known.len().min(8) as u64)).unwrap_or(0);
        known
            .len()
            .checked_sub(back + 1)
            .and_then(|index| known.get(index).copied())
    }

    /// A read that was sent at `sent` saw the job in this state, or not at all.
    pub(crate) fn read(&mut self, sent: True, job: JobId, state: Option<State>) {
        let Some(record) = self.jobs.get(&job) else {
            return;
        };
        if record.acked && state.is_none() {
            self.broken(
                "P2",
                format!("a read sent after the enqueue of {job} was acknowledged does not see it"),
            );
            return;
        }
        if let Some((acked, _)) = record.completion_acked
            && acked < sent
            && state != Some(State::Completed)
        {
            self.broken(
                "P2",
                format!(
                    "a read sent after the completion of {job} was acknowledged sees {state:?}"
                ),
            );
        }
    }

    /// Checks what can only be checked when all is over. `jobs` is what the cluster reports.
    pub(crate) fn settle(&mut self, jobs: &[FinalJob], joined: &BTreeMap<BatchId, bool>) {
        let found: BTreeMap<JobId, &FinalJob> = jobs.iter().map(|job| (job.id, job)).collect();
        let records: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in records {
            self.check_beliefs(id);
            let Some(record) = self.jobs.get(&id) else {
                continue;
            };
            let (acked, completion) = (record.acked, record.completion_acked);
            let sent =
                completion.and_then(|(_, lease)| record.completions_sent.get(&lease).cloned());
            let Some(job) = found.get(&id) else {
                if acked {
                    self.broken("P1", format!("{id} was acknowledged and is gone"));
                }
                continue;
            };
            if acked && !matches!(job.state, State::Completed | State::Dead | State::Cancelled) {
                self.broken(
                    "P11",
                    format!("{id} is still {:?} after all faults ended", job.state),
                );
            }
            if completion.is_some() {
                if job.state != State::Completed {
                    self.broken(
                        "P5",
                        format!("{id} was acknowledged as completed and is {:?}", job.state),
                    );
                } else if job.result != sent {
                    self.broken(
                        "P6",
                        format!(
                            "{id} was acknowledged with {sent:?} and has {:?}",
                            job.result
                        ),
                    );
                }
            }
        }
        let sealed: Vec<BatchId> = self
            .batches
            .iter()
            .filter(|(_, batch)| batch.expected.is_some())
            .map(|(id, _)| *id)
            .collect();
        for batch in sealed {
            // A batch that is gone was final for as long as its queue keeps such; its join was seen.
            let seen = self
                .batches
                .get(&batch)
                .is_some_and(|record| !record.joins.is_empty());
            match joined.get(&batch) {
                Some(true) => {}
                None if seen => {}
                _ => self.broken(
                    "P8",
                    format!("{batch} is sealed, all is over, and it is not complete"),
                ),
            }
        }
    }

    fn check_beliefs(&mut self, job: JobId) {
        let record = self.jobs.entry(job).or_default();
        let mut beliefs = std::mem::take(&mut record.beliefs);
        beliefs.sort_by_key(|belief| (belief.from, belief.until));
        let mut longest: Option<Belief> = None;
        let mut overlaps = Vec::new();
        for belief in beliefs {
            if let Some(before) = longest
                && before.lease != belief.lease
                && belief.from < before.until
            {
                overlaps.push(format!(
                    "{job} was believed under {} until {} ms and under {} from {} ms",
                    before.lease,
                    before.until / 1_000_000,
                    belief.lease,
                    belief.from / 1_000_000
                ));
            }
            if longest.is_none_or(|before| belief.until > before.until) {
                longest = Some(belief);
            }
        }
        for overlap in overlaps {
            self.broken("P4", overlap);
        }
    }

    /// What was broken; empty is good.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.violations.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn final_job(id: u64, state: State, result: Option<&[u8]>) -> FinalJob {
        FinalJob {
            id: JobId(id),
            state,
            result: result.map(<[u8]>::to_vec),
        }
    }

    fn broken(ledger: &Ledger) -> Vec<&'static str> {
        ledger
            .violations()
            .iter()
            .map(|violation| violation.promise)
            .collect()
    }

    /// The checker itself can fail: each promise broken by hand is named.
    #[test]
    fn each_broken_promise_is_named() {
        let queue = Name::new("q").unwrap();
        let mut lost = Ledger::default();
        lost.enqueue_acked(1, &queue, JobId(1));
        lost.settle(&[], &BTreeMap::new());
        assert_eq!(broken(&lost), ["P1"]);

        let mut twice = Ledger::default();
        twice.completion_sent(JobId(1), LeaseId(1), b"a");
        twice.completion_acked(1, JobId(1), LeaseId(1));
        twice.completion_acked(2, JobId(1), LeaseId(2));
        assert_eq!(broken(&twice), ["P6"]);

        let mut other = Ledger::default();
        other.completion_sent(JobId(1), LeaseId(1), b"a");
        other.completion_acked(1, JobId(1), LeaseId(1));
        other.settle(
            &[final_job(1, State::Completed, Some(b"b"))],
            &BTreeMap::new(),
        );
        assert_eq!(broken(&other), ["P6"]);

        let mut overlap = Ledger::default();
        overlap.believed(JobId(1), LeaseId(1), 0, 10);
        overlap.believed(JobId(1), LeaseId(2), 9, 12);
        overlap.settle(&[final_job(1, State::Completed, None)], &BTreeMap::new());
        assert_eq!(broken(&overlap), ["P4"]);

        let mut again = Ledger::default();
        again.completion_acked(5, JobId(1), LeaseId(1));
        again.granted(6, JobId(1), LeaseId(2), None);
        assert_eq!(broken(&again), ["P5"]);

        let mut joins = Ledger::default();
        joins.granted(6, JobId(1), LeaseId(2), Some(BatchId(1)));
        joins.granted(6, JobId(2), LeaseId(3), Some(BatchId(1)));
        assert_eq!(broken(&joins), ["P8"]);

        let mut doubled = Ledger::default();
        doubled.enqueue_acked(1, &queue, JobId(1));
        doubled.enqueue_acked(1, &queue, JobId(2));
        assert_eq!(broken(&doubled), ["P14"]);
    }
}
