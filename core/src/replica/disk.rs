//! Writes on their way to the disk, and what waits for them.
//!
//! A follower may answer only when what the answer stands for is synced; so raft's messages of a turn
//! are held until the write of that turn, and every write before it, is on disk. A turn that writes
//! nothing but answers while a write is under way waits for that one. Answers to heartbeats alone stand
//! for nothing on disk but the term.

use crate::types::Mono;
use raft::eraftpb::Message;
use std::collections::VecDeque;
use std::time::Duration;

/// What waits for one turn's write.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Number of raft's ready, to be reported persisted.
    pub(super) ready: Option<u64>,
    /// Messages to be sent then.
    pub(super) messages: Vec<Message>,
    /// A snapshot of the leader up to this index is the base of the log then.
    pub(super) installed: Option<u64>,
}

#[derive(Debug)]
struct Outstanding {
    ticket: u64,
    /// When the write was handed out; `None` when there was nothing to write.
    since: Option<Mono>,
    held: Held,
}

/// Tickets that are not yet reported, oldest first.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    last: u64,
    outstanding: VecDeque<Outstanding>,
}

impl Tickets {
    /// A ticket for a write that is handed out at `now`.
    pub(super) fn write(&mut self, now: Mono, held: Held) -> u64 {
        self.last += 1;
        self.outstanding.push_back(Outstanding {
            ticket: self.last,
            since: Some(now),
            held,
        });
        self.last
    }

    /// Holds what needs no write of its own but must not overtake earlier ones. Given back when there
    /// are none.
    pub(super) fn follow(&mut self, held: Held) -> Option<Held> {
        if self.outstanding.is_empty() {
            return Some(held);
        }
        self.outstanding.push_back(Outstanding {
            ticket: self.last,
            since: None,
            held,
        });
        None
    }

    /// The writes up to and including `ticket` are on disk: what waited for them, in order.
    pub(super) fn done(&mut self, ticket: u64) -> Vec<Held> {
        let mut done = Vec::new();
        while self
            .outstanding
            .front()
            .is_some_and(|first| first.ticket <= ticket)
        {
            done.extend(self.outstanding.pop_front().map(|first| first.held));
        }
        done
    }

    /// Whether the write of `ticket` is on disk.
    pub(super) fn is_done(&self, ticket: u64) -> bool {
        self.outstanding
            .front()
            .is_none_or(|first| first.ticket > ticket)
    }

    /// Whether anything is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Whether a snapshot of the leader is on its way.
    pub(super) fn installing(&self) -> bool {
        self.outstanding
            .iter()
            .any(|one| one.held.installed.is_some())
    }

    /// The loop stood still for `gap`: no write can be said to have taken it.
    pub(super) fn stalled(&mut self, gap: Duration) {
        for since in self
            .outstanding
            .iter_mut()
            .filter_map(|one| one.since.as_mut())
        {
            *since = *since + gap;
        }
    }

    /// For how long the oldest write has been on its way, the loop running.
    pub(super) fn age(&self, now: Mono) -> Duration {
        let oldest = self.outstanding.iter().find_map(|one| one.since);
        oldest.map_or(Duration::ZERO, |since| now.since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(ready: u64) -> Held {
        Held {
            ready: Some(ready),
            ..Held::default()
        }
    }

    fn readies(done: &[Held]) -> Vec<u64> {
        done.iter().filter_map(|held| held.ready).collect()
    }

    #[test]
    fn what_writes_nothing_waits_for_the_write_before_it_and_for_no_other() {
        let mut tickets = Tickets::default();
        assert!(tickets.follow(held(1)).is_some(), "nothing to wait for");
        assert_eq!(tickets.write(Mono(10), held(2)), 1);
        assert!(tickets.follow(held(3)).is_none());
        assert_eq!(tickets.write(Mono(20), held(4)), 2);
        assert_eq!(tickets.age(Mono(30)), Duration::from_nanos(20));
        assert!(tickets.is_done(0) && !tickets.is_done(1));
        assert_eq!(readies(&tickets.done(1)), vec![2, 3]);
        assert!(tickets.is_done(1) && !tickets.is_done(2));
        assert_eq!(tickets.age(Mono(30)), Duration::from_nanos(10));
        assert_eq!(readies(&tickets.done(2)), vec![4]);
        assert!(tickets.is_empty());
    }
}
