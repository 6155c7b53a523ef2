//! The part of the log that raft may read: a window of entries in memory, from a little before the
//! newest snapshot to the end, synced or not. The disk is written and never read while running.

use super::output::SnapshotMeta;
use crate::types::LogIndex;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};
use std::collections::VecDeque;

/// What an entry costs beside its data; close to what raft-rs counts.
const ENTRY_OVERHEAD_BYTES: u64 = 32;

/// Bytes an entry counts for.
fn weight(entry: &Entry) -> u64 {
    entry.data.len() as u64 + ENTRY_OVERHEAD_BYTES
}

/// Entries after `base`, contiguous.
#[derive(Debug)]
pub(super) struct Window {
    initial: RaftState,
    /// Index and term just before the first entry.
    base: (u64, u64),
    entries: VecDeque<Entry>,
    bytes: u64,
    /// The newest snapshot that is stored on this node's disk.
    stored: Option<SnapshotMeta>,
}

impl Window {
    /// A window that holds `entries` after `base`.
    pub(super) fn new(
        hard_state: HardState,
        conf_state: ConfState,
        base: (u64, u64),
        entries: VecDeque<Entry>,
        stored: Option<SnapshotMeta>,
    ) -> Self {
        let bytes = entries.iter().map(weight).sum();
        Self {
            initial: RaftState::new(hard_state, conf_state),
            base,
            entries,
            bytes,
            stored,
        }
    }

    /// Index of the first entry it could hold.
    pub(super) fn first(&self) -> u64 {
        self.base.0 + 1
    }

    /// Index of the last entry, or of what precedes the first.
    pub(super) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    /// Bytes of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The newest stored snapshot.
    pub(super) fn stored(&self) -> Option<&SnapshotMeta> {
        self.stored.as_ref()
    }

    /// Term of an index that is held or directly before the window.
    pub(super) fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        let at = index.checked_sub(self.first())?;
        self.entries
            .get(usize::try_from(at).ok()?)
            .map(|entry| entry.term)
    }

    /// Appends entries; an index that is held already cuts the window there first.
    pub(super) fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first().map(|entry| entry.index) else {
            return;
        };
        assert!(
            first >= self.first() && first <= self.last() + 1,
            "raft appends within or directly after the log: {first} to {}..={}",
            self.first(),
            self.last()
        );
        while self.last() >= first {
            let cut = self
                .entries
                .pop_back()
                .expect("last() >= first > base means there is an entry");
            self.bytes -= weight(&cut);
        }
        for entry in entries {
            assert_eq!(entry.index, self.last() + 1, "entries are contiguous");
            self.bytes += weight(&entry);
            self.entries.push_back(entry);
        }
    }

    /// Starts over after a snapshot that the leader sent.
    pub(super) fn restart(&mut self, meta: SnapshotMeta) {
        self.base = (meta.index.0, meta.term.0);
        self.entries.clear();
        self.bytes = 0;
        self.stored = Some(meta);
    }

    /// A snapshot of our own is stored: drops entries it covers but about `slack_bytes` of them.
    /// Returns the index up to which entries were dropped.
    pub(super) fn compact(&mut self, meta: SnapshotMeta, slack_bytes: u64) -> LogIndex {
        let index = meta.index.0;
        let mut covered: u64 = self
            .entries
            .iter()
            .take_while(|entry| entry.index <= index)
            .map(weight)
            .sum();
        while covered > slack_bytes {
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            covered -= weight(&entry);
            self.bytes -= weight(&entry);
            self.base = (entry.index, entry.term);
        }
        self.stored = Some(meta);
        LogIndex(self.base.0)
    }
}

impl Storage for Window {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let from = usize::try_from(low - self.first()).unwrap_or(usize::MAX);
        let count = usize::try_from(high.saturating_sub(low)).unwrap_or(usize::MAX);
        let max = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0_u64;
        let within = |entry: &&Entry| {
            let first = size == 0;
            size = size.saturating_add(weight(entry));
            first || size <= max
        };
        Ok(self
            .entries
            .iter()
            .skip(from)
            .take(count)
            .take_while(within)
            .cloned()
            .collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.term_of(index)
            .ok_or(Error::Store(if index < self.first() {
                StorageError::Compacted
            } else {
                StorageError::Unavailable
            }))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let unavailable = Error::Store(StorageError::SnapshotTemporarilyUnavailable);
        let meta = self.stored.as_ref().ok_or(unavailable)?;
        if meta.index.0 < request_index {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        Ok(super::wire::snapshot_of(meta))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ClusterId, Term};

    fn entry(index: u64, term: u64, len: usize) -> Entry {
        super::super::wire::raft_entry(index, term, vec![0; len].into())
    }

    fn window(entries: impl IntoIterator<Item = Entry>) -> Window {
        let mut window = Window::new(
            HardState::default(),
            ConfState::default(),
            (0, 0),
            VecDeque::new(),
            None,
        );
        window.append(entries.into_iter().collect());
        window
    }

    fn meta(index: u64, term: u64) -> SnapshotMeta {
        SnapshotMeta {
            index: LogIndex(index),
            term: Term(term),
            cluster: ClusterId(1),
            voters: Vec::new(),
            learners: Vec::new(),
        }
    }

    fn indexes(window: &Window, low: u64, high: u64, max: u64) -> Vec<u64> {
        let entries = window
            .entries(low, high, max, GetEntriesContext::empty(false))
            .unwrap();
        entries.iter().map(|entry| entry.index).collect()
    }

    #[test]
    fn an_append_within_the_log_cuts_its_tail_and_the_bytes_with_it() {
        let mut log = window((1..=5).map(|index| entry(index, 1, 10)));
        log.append(vec![entry(4, 2, 1)]);
        assert_eq!(
            (log.last(), log.term_of(4), log.term_of(5)),
            (4, Some(2), None)
        );
        assert_eq!(log.bytes(), 3 * 42 + 33);
    }

    #[test]
    fn reads_are_bounded_in_bytes_but_give_at_least_one_entry() {
        let log = window((1..=5).map(|index| entry(index, 1, 68)));
        assert_eq!(indexes(&log, 2, 6, 0), vec![2]);
        assert_eq!(indexes(&log, 2, 6, 250), vec![2, 3]);
        assert_eq!(indexes(&log, 2, 6, u64::MAX), vec![2, 3, 4, 5]);
        assert!(
            log.entries(2, 7, None, GetEntriesContext::empty(false))
                .is_err()
        );
    }

    #[test]
    fn compaction_keeps_the_slack_and_the_term_before_it_and_a_restart_keeps_nothing() {
        let mut log = window((1..=9).map(|index| entry(index, index, 68)));
        assert_eq!(log.compact(meta(6, 6), 250), LogIndex(4));
        assert_eq!(
            (log.first(), log.term_of(4), log.term_of(3)),
            (5, Some(4), None)
        );
        assert_eq!(log.bytes(), 500);
        assert_eq!(log.snapshot(0, 1).unwrap().get_metadata().index, 6);
        assert!(
            log.snapshot(7, 1).is_err(),
            "an older snapshot than asked for is not offered"
        );
        log.restart(meta(50, 12));
        assert_eq!(
            (log.first(), log.last(), log.term_of(50), log.bytes()),
            (51, 50, Some(12), 0)
        );
    }
}
