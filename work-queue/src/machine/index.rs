//! What is derived of the jobs of one queue: never in a snapshot, rebuilt after one.
//!
//! One ordered set holds every job of the queue under its state, so that a job is in exactly one state
//! by construction: the first ready key is the next job to hand out (priority, then the order of
//! enqueueing), and lists by state are ranges.

use super::rows::{Job, Marks, count_mut};
use super::types::{Counts, JobId, State};
use quorate_core::types::LogTime;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bits of a key that hold the job's number. Numbers are fencing tokens, hence below 2^53.
const ID_BITS: u32 = 56;

/// Priorities of ready jobs come first; each other state is one class.
const CLASSES: std::ops::Range<u8> = 0..21;

/// The end of the ready classes.
pub(super) const READY_END: u64 = 16 << ID_BITS;

/// The end of what waits: ready and delayed.
pub(super) const WAITING_END: u64 = 17 << ID_BITS;

fn class(state: State, priority: u8) -> u8 {
    match state {
        State::Ready => priority,
        State::Delayed => 16,
        State::Leased => 17,
        State::Completed => 18,
        State::Dead => 19,
        State::Cancelled => 20,
    }
}

fn key(class: u8, id: u64) -> u64 {
    u64::from(class) << ID_BITS | id
}

/// The job of a key.
pub(super) fn job_of(key: u64) -> JobId {
    JobId(key & ((1 << ID_BITS) - 1))
}

/// Whether the index can hold this id.
pub(super) fn fits(id: JobId) -> bool {
    id.0 >> ID_BITS == 0
}

/// What the index knows of a job: compared before and after a change of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Face {
    id: JobId,
    pub(super) state: State,
    priority: u8,
    at: LogTime,
    weight: u64,
    retired: bool,
    pub(super) skipped: bool,
    /// Its retention ends early when there are too many of its like.
    evictable: bool,
}

impl Face {
    pub(super) fn of(id: JobId, job: &Job) -> Self {
        let retired = job.marks.has(Marks::RETIRED);
        Self {
            id,
            state: job.state,
            priority: job.priority,
            at: job.at,
            weight: job.weight(),
            retired,
            skipped: job.marks.has(Marks::SKIPPED),
            evictable: retired && job.state != State::Dead && job.batch().is_none(),
        }
    }
}

impl Face {
    /// A hash of it, for the digest of the state (the finaliser of SplitMix64).
    pub(super) fn mix(&self) -> u64 {
        let state = u64::from(class(self.state, self.priority));
        let marks = u64::from(self.retired) | u64::from(self.skipped) << 1;
        [self.id.0, state, self.at.0, self.weight, marks]
            .into_iter()
            .fold(0, |hash, part| super::backoff::mix(hash ^ part))
    }
}

/// The index of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueIndex {
    /// Every job of the queue, by class and number.
    jobs: BTreeSet<u64>,
    /// Delayed jobs by the time they become ready.
    delayed: BTreeSet<(LogTime, JobId)>,
    /// Retired jobs that go when their time is over, by the time they became final.
    retired: BTreeSet<(LogTime, JobId)>,
    /// Those that also go when there are too many.
    kept: BTreeSet<(LogTime, JobId)>,
    pub(super) counts: Counts,
    /// Jobs that the quota counts: all but those in `kept`.
    pub(super) held_jobs: u64,
    /// Their bytes, and those of joins that are not fired yet.
    pub(super) held_bytes: u64,
    /// Bytes of the jobs in `kept`.
    pub(super) kept_bytes: u64,
    pub(super) dedupe: BTreeMap<Arc<str>, JobId>,
    /// Batches that are not closed and name this queue.
    pub(super) open_batches: u64,
    /// What stands for this queue in the machine's timers.
    pub(super) deadline: Option<LogTime>,
}

impl QueueIndex {
    /// Accounts for a row that came (`None` before), changed, or went (`None` after).
    pub(super) fn replace(&mut self, before: Option<Face>, after: Option<Face>) {
        if before == after {
            return;
        }
        if let Some(face) = before {
            let found = self
                .jobs
                .remove(&key(class(face.state, face.priority), face.id.0));
            assert!(found, "a job is in exactly one state: {face:?}");
            self.account(&face, false);
        }
        if let Some(face) = after {
            let new = self
                .jobs
                .insert(key(class(face.state, face.priority), face.id.0));
            assert!(new, "a job is in exactly one state: {face:?}");
            self.account(&face, true);
        }
    }

    fn account(&mut self, face: &Face, add: bool) {
        step(count_mut(&mut self.counts, face.state), 1, add);
        if face.evictable {
            step(&mut self.kept_bytes, face.weight, add);
        } else {
            step(&mut self.held_jobs, 1, add);
            step(&mut self.held_bytes, face.weight, add);
        }
        let timed = if face.state == State::Delayed {
            &mut self.delayed
        } else if face.evictable {
            &mut self.kept
        } else if face.retired {
            &mut self.retired
        } else {
            return;
        };
        if add {
            timed.insert((face.at, face.id));
        } else {
            timed.remove(&(face.at, face.id));
        }
    }

    /// The job to hand out next.
    pub(super) fn first_ready(&self) -> Option<JobId> {
        self.first_from(0, READY_END).map(job_of)
    }

    /// The first key from `from` and below `end`.
    pub(super) fn first_from(&self, from: u64, end: u64) -> Option<u64> {
        self.jobs.range(from..end).next().copied()
    }

    /// Any job.
    pub(super) fn any(&self) -> Option<JobId> {
        self.jobs.first().copied().map(job_of)
    }

    /// Number of final jobs that batches still need.
    pub(super) fn needed_jobs(&self) -> u64 {
        let c = &self.counts;
        let finals = c.completed + c.dead + c.cancelled;
        finals - self.retired.len() as u64 - self.kept_jobs()
    }

    /// Number of jobs that go when there are too many.
    pub(super) fn kept_jobs(&self) -> u64 {
        self.kept.len() as u64
    }

    /// The job that goes first when there are too many.
    pub(super) fn oldest_kept(&self) -> Option<JobId> {
        self.kept.first().map(|(_, id)| *id)
    }

    /// A delayed job whose time has come.
    pub(super) fn due_delayed(&self, now: LogTime) -> Option<JobId> {
        self.delayed
            .first()
            .filter(|(at, _)| *at <= now)
            .map(|(_, id)| *id)
    }

    /// A retired job whose retention is over.
    pub(super) fn due_retired(&self, now: LogTime, retention_ms: u64) -> Option<JobId> {
        [self.retired.first(), self.kept.first()]
            .into_iter()
            .flatten()
            .find(|(at, _)| at.plus_ms(retention_ms) <= now)
            .map(|(_, id)| *id)
    }

    /// When something becomes due.
    pub(super) fn next_due(&self, retention_ms: u64) -> Option<LogTime> {
        let retired = [self.retired.first(), self.kept.first()]
            .into_iter()
            .flatten()
            .map(|(at, _)| at.plus_ms(retention_ms));
        self.delayed
            .first()
            .map(|(at, _)| *at)
            .into_iter()
            .chain(retired)
            .min()
    }

    /// The first ready job of each priority: the oldest of all is among them.
    pub(super) fn ready_heads(&self) -> impl Iterator<Item = JobId> {
        (0..16).filter_map(|priority| {
            self.first_from(key(priority, 0), key(priority + 1, 0))
                .map(job_of)
        })
    }

    /// The first `max` jobs after `after` by number, in this state or in all.
    pub(super) fn page(&self, state: Option<State>, after: JobId, max: usize) -> Vec<JobId> {
        let from = after.0.saturating_add(1);
        if !fits(JobId(from)) {
            return Vec::new();
        }
        let mut page: Vec<JobId> = CLASSES
            .filter(|of| match state {
                None => true,
                Some(State::Ready) => *of < 16,
                Some(state) => *of == class(state, 0),
            })
            .flat_map(|of| {
                self.jobs
                    .range(key(of, from)..key(of + 1, 0))
                    .take(max)
                    .map(|key| job_of(*key))
            })
            .collect();
        page.sort_unstable();
        page.truncate(max);
        page
    }
}

/// Adds or takes away; a count below zero is a bug that must not go on.
pub(super) fn step(count: &mut u64, by: u64, add: bool) {
    *count = if add {
        count.saturating_add(by)
    } else {
        count
            .checked_sub(by)
            .expect("what is taken from a count was added to it before")
    };
}
