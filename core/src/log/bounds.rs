//! What a log knows of itself without its entries: hard state, base, last index, terms. Pure.
//!
//! Two users: the writer asks it whether a write keeps raft's invariants before a byte is written, and
//! recovery checks and replays records through it.

use super::record::Base;
use crate::replica::{HardState, LogEntry, SnapshotMeta, Write};
use crate::types::{LogIndex, NodeId, Term};

/// Where a log stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    base: Base,
    /// First index of each run of entries of one term, ascending; ends at `base.last`.
    runs: Vec<(LogIndex, Term)>,
}

impl Bounds {
    /// The bounds of a log that goes on from `base`.
    pub(super) fn new(base: Base) -> Self {
        Self {
            base,
            runs: Vec::new(),
        }
    }

    /// Where the log stands, for the first frame of a segment.
    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    /// The index that the snapshot covers; zero without one.
    pub(super) fn snapshot_index(&self) -> LogIndex {
        self.base
            .snapshot
            .as_ref()
            .map_or(LogIndex(0), |meta| meta.index)
    }

    /// Term of the entry at `index`, as far as it is known.
    fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == LogIndex(0) {
            return Some(Term(0));
        }
        if let Some(meta) = &self.base.snapshot
            && meta.index == index
        {
            return Some(meta.term);
        }
        if index == self.base.last {
            return Some(self.base.last_term);
        }
        if index > self.base.last {
            return None;
        }
        let after = self.runs.partition_point(|(first, _)| *first <= index);
        let (_, term) = self.runs.get(after.checked_sub(1)?)?;
        Some(*term)
    }

    /// Checks that `write` may follow.
    pub(super) fn check(&self, write: &Write) -> Result<(), String> {
        let hard = self.check_hard_state(write.hard_state)?;
        let base_index = self.check_snapshot(write.snapshot.as_ref(), write.restart)?;
        let (last, last_term) = self.check_entries(&write.entries, base_index, write.restart)?;
        if last_term > hard.term {
            return Err(format!(
                "entry {last} is of term {last_term}, above the current term {}",
                hard.term
            ));
        }
        if hard.commit > last {
            return Err(format!(
                "commit index {} is beyond the last index {last}",
                hard.commit
            ));
        }
        match write.compact_to {
            Some(to) if to > base_index => Err(format!(
                "entries up to {to} were to go, but the snapshot covers only {base_index}"
            )),
            _ => Ok(()),
        }
    }

    fn check_hard_state(&self, new: Option<HardState>) -> Result<HardState, String> {
        let old = self.base.hard_state;
        let Some(new) = new else { return Ok(old) };
        if new.term < old.term {
            return Err(format!("term {} after term {}", new.term, old.term));
        }
        if new.term == old.term && old.vote != NodeId(0) && new.vote != old.vote {
            return Err(format!(
                "a second vote in term {}: for {} after {}",
                new.term, new.vote, old.vote
            ));
        }
        Ok(new)
    }

    fn check_snapshot(
        &self,
        meta: Option<&SnapshotMeta>,
        restart: bool,
    ) -> Result<LogIndex, String> {
        let old = self.snapshot_index();
        let Some(meta) = meta else {
            return if restart {
                Err("the log was to start over without a snapshot".into())
            } else {
                Ok(old)
            };
        };
        let committed = self.base.hard_state.commit;
        if meta.index < old || meta.index == LogIndex(0) || (restart && meta.index < committed) {
            return Err(format!(
                "a snapshot up to {} after one up to {old} and commits up to {committed}",
                meta.index
            ));
        }
        // A term is unknown only while old records are replayed whose segments' predecessors are gone.
        let other = |held| held != meta.term;
        let differs = meta.index > self.base.last || self.term_at(meta.index).is_some_and(other);
        if !restart && differs {
            return Err(format!(
                "the snapshot ends with entry {} of term {}, which the log does not hold",
                meta.index, meta.term
            ));
        }
        Ok(meta.index)
    }

    /// Checks that the entries join the log; answers index and term of its last entry behind them.
    fn check_entries(
        &self,
        entries: &[LogEntry],
        base_index: LogIndex,
        restart: bool,
    ) -> Result<(LogIndex, Term), String> {
        // After a restart the log ends where the snapshot does; its term is checked by raft.
        let last = if restart { base_index } else { self.base.last };
        let Some(first) = entries.first() else {
            let term = if restart {
                Term(0)
            } else {
                self.base.last_term
            };
            return Ok((last, term));
        };
        let floor = base_index.max(self.base.hard_state.commit);
        if first.index <= floor || first.index.0 > last.0 + 1 {
            return Err(format!(
                "entries from {} do not join a log committed to {floor} that ends at {last}",
                first.index
            ));
        }
        let mut index = LogIndex(first.index.0 - 1);
        let mut term = if restart {
            Term(0)
        } else {
            self.term_at(index).unwrap_or_default()
        };
        for entry in entries {
            if entry.index.0 != index.0 + 1 || entry.term < term {
                return Err(format!(
                    "entry {} of term {} after entry {index} of term {term}",
                    entry.index, entry.term
                ));
            }
            (index, term) = (entry.index, entry.term);
        }
        Ok((index, term))
    }

    /// Takes over a snapshot as the base.
    pub(super) fn rebase(&mut self, meta: SnapshotMeta, restart: bool) {
        if restart {
            self.runs.clear();
            self.base.last = meta.index;
            self.base.last_term = meta.term;
        }
        // What a snapshot holds is committed; the caller may not have said so yet.
        self.base.hard_state.commit = self.base.hard_state.commit.max(meta.index);
        // Terms below the base are never asked for again; the run it lies in stays.
        let keep = self.runs.partition_point(|(first, _)| *first <= meta.index);
        self.runs.drain(..keep.saturating_sub(1));
        self.base.snapshot = Some(meta);
    }

    /// Takes over a hard state. The commit index never goes back: a lower one is only older news.
    pub(super) fn set_hard_state(&mut self, new: HardState) {
        let commit = self.base.hard_state.commit.max(new.commit);
        self.base.hard_state = HardState { commit, ..new };
    }

    /// Takes over an entry, which cuts the log at its index.
    pub(super) fn push(&mut self, index: LogIndex, term: Term) {
        let keep = self.runs.partition_point(|(first, _)| *first < index);
        self.runs.truncate(keep);
        if self.runs.last().is_none_or(|(_, last)| *last != term) {
            self.runs.push((index, term));
        }
        self.base.last = index;
        self.base.last_term = term;
    }

    /// Takes over that entries up to `to` are no longer needed.
    pub(super) fn compact(&mut self, to: LogIndex) {
        self.base.compacted = self.base.compacted.max(to);
    }

    /// Takes over a whole write that [`Bounds::check`] has let pass.
    pub(super) fn apply(&mut self, write: &Write) {
        if let Some(meta) = &write.snapshot {
            self.rebase(meta.clone(), write.restart);
        }
        if let Some(hard_state) = write.hard_state {
            self.set_hard_state(hard_state);
        }
        for entry in &write.entries {
            self.push(entry.index, entry.term);
        }
        if let Some(to) = write.compact_to {
            self.compact(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ClusterId;

    fn meta(index: u64, term: u64) -> SnapshotMeta {
        SnapshotMeta {
            index: LogIndex(index),
            term: Term(term),
            cluster: ClusterId(1),
            voters: Vec::new(),
            learners: Vec::new(),
        }
    }

    /// Entries 1 to 9: terms 1, 1, 1, 2, 2, 2, 5, 5, 5.
    fn sample() -> Bounds {
        let mut bounds = Bounds::default();
        for (index, term) in (1..=9).zip([1, 1, 1, 2, 2, 2, 5, 5, 5]) {
            bounds.push(LogIndex(index), Term(term));
        }
        bounds
    }

    fn terms(bounds: &Bounds) -> Vec<Option<u64>> {
        (1..=12)
            .map(|index| bounds.term_at(LogIndex(index)).map(|term| term.0))
            .collect()
    }

    #[test]
    fn the_term_of_every_entry_above_the_base_is_known() {
        let all = [1, 1, 1, 2, 2, 2, 5, 5, 5].map(Some);
        assert_eq!(terms(&sample())[..9], all);
        assert_eq!(terms(&sample())[9..], [None; 3]);
        for base in 1..=9_u64 {
            let mut bounds = sample();
            let at = usize::try_from(base).unwrap() - 1;
            bounds.rebase(meta(base, all[at].unwrap()), false);
            assert_eq!(terms(&bounds)[at..9], all[at..], "base {base}");
            assert_eq!(bounds.base.hard_state.commit, LogIndex(base));
        }
    }

    #[test]
    fn an_entry_cuts_what_stood_at_and_after_its_index() {
        let mut bounds = sample();
        bounds.push(LogIndex(5), Term(6));
        assert_eq!(
            terms(&bounds)[..6],
            [Some(1), Some(1), Some(1), Some(2), Some(6), None]
        );
        for index in 6..=9 {
            bounds.push(LogIndex(index), Term(6));
        }
        assert_eq!(terms(&bounds)[4..9], [Some(6); 5]);
        bounds.push(LogIndex(4), Term(6));
        assert_eq!(terms(&bounds)[2..5], [Some(1), Some(6), None]);
    }

    #[test]
    fn a_restart_forgets_every_entry_and_its_term() {
        let mut bounds = sample();
        bounds.rebase(meta(6, 7), true);
        assert_eq!(terms(&bounds)[4..8], [None, Some(7), None, None]);
        assert_eq!(bounds.base.last, LogIndex(6));
        bounds.push(LogIndex(7), Term(8));
        bounds.push(LogIndex(8), Term(8));
        assert_eq!(terms(&bounds)[4..8], [None, Some(7), Some(8), Some(8)]);
    }

    #[test]
    fn a_lower_commit_index_is_older_news() {
        let mut bounds = sample();
        let hard = |commit| HardState {
            term: Term(5),
            vote: NodeId(1),
            commit: LogIndex(commit),
        };
        bounds.set_hard_state(hard(7));
        bounds.set_hard_state(hard(3));
        assert_eq!(bounds.base.hard_state, hard(7));
    }
}
