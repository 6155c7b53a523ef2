//! Operations on their way into the log and through it.
//!
//! They gather in batches, already encoded, while an entry is under way; each batch becomes one entry.
//! After that they wait until the entry at their index is applied: only its term tells whether it is
//! theirs. When the leader loses its office, what was not proposed is certainly not done, and what was
//! proposed stays undecided until that index is applied or a bound has passed.

use super::config::Config;
use super::entry::{Entry, Header, LoggedOp};
use super::input::RequestId;
use super::parked::Place;
use crate::codec;
use crate::planted::{self, Bug};
use crate::types::Mono;
use serde::Serialize;
use std::collections::VecDeque;

/// Who waits for the outcome of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Waiter {
    /// The leader itself.
    Own,
    /// A proposal.
    Reply(RequestId),
    /// The opening of a stream.
    Stream(RequestId),
    /// A proposal that is parked when it would find nothing.
    Waiting {
        /// The request.
        id: RequestId,
        /// For how long it may be parked.
        until: Mono,
        /// Where it was parked before.
        place: Option<Place>,
    },
}

/// Operations that will be one entry.
#[derive(Debug)]
pub(super) struct Batch<C> {
    pub(super) ops: Vec<LoggedOp<C>>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) encoded: Vec<u8>,
}

impl<C> Default for Batch<C> {
    fn default() -> Self {
        Self {
            ops: Vec::new(),
            waiters: Vec::new(),
            encoded: Vec::new(),
        }
    }
}

/// An entry that this replica proposed and that is not yet applied here.
#[derive(Debug)]
pub(super) struct Proposed<C> {
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) entry: Entry<C>,
    pub(super) waiters: Vec<Waiter>,
}

/// Waiters of an entry that was proposed in an office that is over.
#[derive(Debug)]
struct Undecided {
    index: u64,
    term: u64,
    waiters: Vec<Waiter>,
    until: Mono,
}

/// What is known of an entry when it is applied.
#[derive(Debug)]
pub(super) enum Origin<C> {
    /// Proposed here in this office: with its operations, which need not be decoded.
    Ours(Proposed<C>),
    /// Proposed here in an earlier office: who waits for it.
    Earlier(Vec<Waiter>),
    /// Proposed elsewhere.
    Foreign,
}

/// Everything on its way.
#[derive(Debug)]
pub(super) struct Pending<C> {
    batches: VecDeque<Batch<C>>,
    ops: usize,
    bytes: usize,
    in_flight: VecDeque<Proposed<C>>,
    undecided: VecDeque<Undecided>,
}

impl<C: Serialize> Batch<C> {
    /// For a planted bug: takes over what the leader proposed on its own account.
    fn take_own(&mut self, ops: Vec<LoggedOp<C>>, waiters: &[Waiter]) {
        for (op, waiter) in ops.into_iter().zip(waiters) {
            if matches!(waiter, Waiter::Own) {
                codec::encode_into(&op, &mut self.encoded);
                self.ops.push(op);
                self.waiters.push(Waiter::Own);
            }
        }
    }
}

impl<C> Default for Pending<C> {
    fn default() -> Self {
        Self {
            batches: VecDeque::new(),
            ops: 0,
            bytes: 0,
            in_flight: VecDeque::new(),
            undecided: VecDeque::new(),
        }
    }
}

impl<C: Serialize> Pending<C> {
    /// Whether there is room for another operation of a caller.
    pub(super) fn has_room(&self, config: &Config) -> bool {
        self.ops < config.pending_ops_max && self.bytes < config.pending_bytes_max
    }

    /// Adds an operation to the last batch, or to a new one when it is full. Gives the waiter back when
    /// the operation is too large to be logged.
    pub(super) fn push(
        &mut self,
        config: &Config,
        op: LoggedOp<C>,
        waiter: Waiter,
    ) -> Result<(), Waiter> {
        let full = self.batches.back().is_none_or(|batch| {
            batch.ops.len() >= config.entry_ops_max || batch.encoded.len() >= config.entry_bytes_max
        });
        if full {
            self.batches.push_back(Batch::default());
        }
        let batch = self
            .batches
            .back_mut()
            .expect("one was pushed when there was none");
        let before = batch.encoded.len();
        codec::encode_into(&op, &mut batch.encoded);
        if batch.encoded.len() - before > config.op_bytes_max {
            batch.encoded.truncate(before);
            if batch.ops.is_empty() {
                self.batches.pop_back();
            }
            return Err(waiter);
        }
        self.bytes += batch.encoded.len() - before;
        self.ops += 1;
        batch.ops.push(op);
        batch.waiters.push(waiter);
        Ok(())
    }

    /// The oldest batch, to be proposed.
    pub(super) fn take_batch(&mut self) -> Option<Batch<C>> {
        let batch = self.batches.pop_front()?;
        self.ops -= batch.ops.len();
        self.bytes -= batch.encoded.len();
        Some(batch)
    }

    /// Puts back a batch that raft did not take.
    pub(super) fn put_back(&mut self, batch: Batch<C>) {
        self.ops += batch.ops.len();
        self.bytes += batch.encoded.len();
        self.batches.push_front(batch);
    }

    /// Raft took the entry at this index.
    pub(super) fn proposed(
        &mut self,
        index: u64,
        term: u64,
        header: Header,
        batch: (Vec<LoggedOp<C>>, Vec<Waiter>),
    ) {
        let (ops, waiters) = batch;
        assert!(
            self.in_flight
                .back()
                .is_none_or(|last| last.index < index && last.term == term),
            "proposals of one office have rising indexes"
        );
        self.in_flight.push_back(Proposed {
            index,
            term,
            entry: Entry { header, ops },
            waiters,
        });
    }

    /// Index of the newest entry under way and the number of them.
    pub(super) fn under_way(&self) -> Option<(u64, usize)> {
        self.in_flight
            .back()
            .map(|last| (last.index, self.in_flight.len()))
    }

    /// What is known of the entry that is about to be applied.
    pub(super) fn applying(&mut self, index: u64, term: u64) -> (Origin<C>, Vec<Waiter>) {
        let mut superseded = Vec::new();
        let mut origin = Origin::Foreign;
        // More than one office may have proposed at one index; at most one of them is the applied one.
        let mut rest = VecDeque::with_capacity(self.undecided.len());
        for one in self.undecided.drain(..) {
            match (one.index == index, one.term == term) {
                (true, true) => origin = Origin::Earlier(one.waiters),
                (true, false) => superseded.extend(one.waiters),
                (false, _) => rest.push_back(one),
            }
        }
        self.undecided = rest;
        if self
            .in_flight
            .front()
            .is_some_and(|first| first.index == index)
        {
            let proposed = self.in_flight.pop_front().expect("the front was looked at");
            assert_eq!(
                proposed.term, term,
                "while in office, what is applied at our index is ours"
            );
            origin = Origin::Ours(proposed);
        }
        (origin, superseded)
    }

    /// The office is over: gives the waiters of what was never proposed, and keeps the others until
    /// they are decided or `until`.
    pub(super) fn lose_office(&mut self, until: Mono) -> Vec<Waiter> {
        let mut kept = Batch::default();
        for proposed in self.in_flight.drain(..) {
            let Proposed {
                index,
                term,
                entry,
                waiters,
            } = proposed;
            if planted::on(Bug::ExpiryCrossesTerm) {
                kept.take_own(entry.ops, &waiters);
            }
            self.undecided.push_back(Undecided {
                index,
                term,
                waiters,
                until,
            });
        }
        self.ops = 0;
        self.bytes = 0;
        let lost = self
            .batches
            .drain(..)
            .flat_map(|batch| batch.waiters)
            .collect();
        if !kept.ops.is_empty() {
            self.put_back(kept);
        }
        lost
    }

    /// Waiters whose entry is at or below an index that a snapshot of the leader skipped over, or
    /// whose time is up: nobody here will know.
    pub(super) fn give_up(&mut self, now: Mono, skipped: u64) -> Vec<Waiter> {
        if self
            .undecided
            .iter()
            .all(|one| one.index > skipped && one.until > now)
        {
            return Vec::new();
        }
        let (over, rest): (Vec<_>, Vec<_>) = self
            .undecided
            .drain(..)
            .partition(|one| one.index <= skipped || one.until <= now);
        self.undecided = rest.into();
        over.into_iter().flat_map(|one| one.waiters).collect()
    }
}
