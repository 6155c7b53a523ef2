//! The load generator's own book of every job, which shares nothing with the queue: whatever was
//! acknowledged must come out, and be completed exactly once.

use crate::measure::Accounting;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const ACKNOWLEDGED: u8 = 1;
const UNKNOWN: u8 = 2;
const HANDED_OUT: u8 = 4;
const COMPLETED: u8 = 8;

/// One byte a job, by its number. Shared by all tasks of a load.
///
/// All accesses are relaxed: a job's own messages order its events (it is handed out after it was
/// sent, completed after it was handed out), and the totals are read when the tasks have ended.
#[derive(Debug)]
pub(super) struct Ledger {
    jobs: Vec<AtomicU8>,
    next: AtomicU64,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    completed: AtomicU64,
    redelivered: AtomicU64,
    doubled: AtomicU64,
    strangers: AtomicU64,
}

impl Ledger {
    /// An empty book for at most so many jobs.
    pub(super) fn new(jobs_max: u64) -> Self {
        let jobs_max = usize::try_from(jobs_max).unwrap_or(usize::MAX);
        Self {
            jobs: std::iter::repeat_with(AtomicU8::default)
                .take(jobs_max)
                .collect(),
            next: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            redelivered: AtomicU64::new(0),
            doubled: AtomicU64::new(0),
            strangers: AtomicU64::new(0),
        }
    }

    /// The number of the next job, or none when the book is full.
    pub(super) fn draw(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.jobs.len() as u64).then_some(number)
    }

    /// Its enqueue was acknowledged.
    pub(super) fn acknowledged(&self, number: u64) {
        self.mark(number, ACKNOWLEDGED);
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// Nobody knows whether it was enqueued.
    pub(super) fn unknown(&self, number: u64) {
        self.mark(number, UNKNOWN);
        self.unknown.fetch_add(1, Ordering::Relaxed);
    }

    /// A worker got it.
    pub(super) fn handed_out(&self, number: u64) {
        match self.mark(number, HANDED_OUT) {
            Some(before) if before & COMPLETED != 0 => bump(&self.doubled),
            Some(before) if before & HANDED_OUT != 0 => bump(&self.redelivered),
            Some(_) => {}
            None => bump(&self.strangers),
        }
    }

    /// The completion was acknowledged.
    pub(super) fn completed(&self, number: u64) {
        match self.mark(number, COMPLETED) {
            Some(before) if before & COMPLETED != 0 => bump(&self.doubled),
            Some(_) => bump(&self.completed),
            None => bump(&self.strangers),
        }
    }

    /// Jobs acknowledged so far.
    pub(super) fn acknowledged_count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Jobs completed so far.
    pub(super) fn completed_count(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Whether every acknowledged job is completed.
    pub(super) fn settled(&self) -> bool {
        // Cheap first: a job of unknown outcome may be among the completed.
        self.completed_count() >= self.acknowledged_count() && self.lost() == 0
    }

    /// The totals. Call when the load has ended.
    pub(super) fn accounting(&self) -> Accounting {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Accounting {
            acknowledged: load(&self.acknowledged),
            completed: load(&self.completed),
            lost: self.lost(),
            // A job that nobody sent is as wrong as one that comes twice.
            doubled: load(&self.doubled) + load(&self.strangers),
            redelivered: load(&self.redelivered),
            unknown: load(&self.unknown),
        }
    }

    fn lost(&self) -> u64 {
        let lost = |job: &&AtomicU8| {
            let marks = job.load(Ordering::Relaxed);
            marks & ACKNOWLEDGED != 0 && marks & COMPLETED == 0
        };
        let drawn = usize::try_from(self.next.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        self.jobs.iter().take(drawn).filter(lost).count() as u64
    }

    /// Sets a mark and gives the marks before, or nothing for a number never drawn.
    fn mark(&self, number: u64, mark: u8) -> Option<u8> {
        let job = self.jobs.get(usize::try_from(number).ok()?)?;
        Some(job.fetch_or(mark, Ordering::Relaxed))
    }
}

fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_redelivered_or_never_sent_shows() {
        let ledger = Ledger::new(10);
        let drawn: Vec<_> = std::iter::from_fn(|| ledger.draw()).collect();
        assert_eq!(drawn, (0..10).collect::<Vec<_>>());

        for fine in 0..4 {
            ledger.acknowledged(fine);
            ledger.handed_out(fine);
            ledger.completed(fine);
        }
        ledger.acknowledged(4); // Never comes out: lost.
        assert!(!ledger.settled());
        ledger.acknowledged(5);
        ledger.handed_out(5);
        ledger.handed_out(5); // Its first worker died: redelivered.
        ledger.completed(5);
        ledger.handed_out(0); // After its completion: doubled.
        ledger.completed(1); // A second completion: doubled.
        ledger.unknown(6);
        ledger.handed_out(99); // Nobody sent it: counts as doubled.

        assert_eq!(
            ledger.accounting(),
            Accounting {
                acknowledged: 6,
                completed: 5,
                lost: 1,
                doubled: 3,
                redelivered: 1,
                unknown: 1
            }
        );
        ledger.completed(4);
        assert!(ledger.settled());
    }
}
