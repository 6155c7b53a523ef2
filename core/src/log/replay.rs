//! From records back to a log. Pure.

use super::bounds::Bounds;
use super::record::{Base, Record};
use crate::replica::{LogEntry, Write};
use crate::types::LogIndex;
use std::collections::BTreeMap;

/// A log as far as its records were read.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// None before the first base.
    bounds: Option<Bounds>,
    /// Entries above the snapshot. There may be holes on the way: a segment was removed because a
    /// snapshot covered it that later records tell of.
    entries: BTreeMap<LogIndex, LogEntry>,
}

impl Replay {
    /// Takes the next record. Answers the highest index of an entry in it, zero for none.
    pub(super) fn take(&mut self, record: Record) -> Result<LogIndex, String> {
        match record {
            Record::Base(base) => self.base(base).map(|()| LogIndex(0)),
            Record::Write(record) => self.write(record.into_write()),
        }
    }

    fn base(&mut self, base: Base) -> Result<(), String> {
        match &self.bounds {
            None => self.bounds = Some(Bounds::new(base)),
            Some(bounds) if *bounds.base() == base => {}
            Some(_) => {
                return Err("the segment does not go on from where the one before ended".into());
            }
        }
        Ok(())
    }

    fn write(&mut self, write: Write) -> Result<LogIndex, String> {
        let bounds = self
            .bounds
            .as_mut()
            .ok_or("the segment does not begin with its base")?;
        bounds.check(&write)?;
        bounds.apply(&write);
        if write.restart {
            self.entries.clear();
        }
        if write.snapshot.is_some() {
            let above = LogIndex(bounds.snapshot_index().0 + 1);
            self.entries = self.entries.split_off(&above);
        }
        let (Some(first), Some(last)) = (write.entries.first(), write.entries.last()) else {
            return Ok(LogIndex(0));
        };
        let highest = last.index;
        self.entries.split_off(&first.index);
        self.entries
            .extend(write.entries.into_iter().map(|entry| (entry.index, entry)));
        Ok(highest)
    }

    /// The whole log: its bounds and the entries above its snapshot. An error when one is missing.
    pub(super) fn finish(self) -> Result<(Bounds, Vec<LogEntry>), String> {
        let bounds = self.bounds.ok_or("there is no base")?;
        let mut next = bounds.snapshot_index().0 + 1;
        for index in self.entries.keys() {
            if index.0 != next {
                return Err(missing(next, index.0 - 1));
            }
            next += 1;
        }
        let last = bounds.base().last.0;
        if next <= last {
            return Err(missing(next, last));
        }
        Ok((bounds, self.entries.into_values().collect()))
    }
}

fn missing(from: u64, to: u64) -> String {
    format!("entries {from} to {to} are missing")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::HardState;
    use crate::types::Term;

    fn base(last: u64) -> Base {
        Base {
            hard_state: HardState {
                term: Term(1),
                ..HardState::default()
            },
            last: LogIndex(last),
            last_term: Term(1),
            ..Base::default()
        }
    }

    fn entries(from: u64, to: u64) -> Write {
        let entry = |index| LogEntry {
            index: LogIndex(index),
            term: Term(1),
            kind: 0,
            data: bytes::Bytes::new(),
        };
        Write {
            entries: (from..=to).map(entry).collect(),
            ..Write::default()
        }
    }

    #[test]
    fn entries_of_a_segment_that_is_gone_are_missed() {
        let mut nothing_after = Replay::default();
        nothing_after.base(base(5)).unwrap();
        assert_eq!(
            nothing_after.finish().map(drop),
            Err("entries 1 to 5 are missing".to_owned())
        );
        let mut gone_before = Replay::default();
        gone_before.base(base(5)).unwrap();
        gone_before.write(entries(6, 8)).unwrap();
        assert_eq!(
            gone_before.finish().map(drop),
            Err("entries 1 to 5 are missing".to_owned())
        );
        assert!(Replay::default().finish().is_err(), "no base at all");
        assert!(Replay::default().write(entries(1, 1)).is_err());
    }

    #[test]
    fn a_segment_must_go_on_from_where_the_one_before_ended() {
        let mut replay = Replay::default();
        replay.base(base(0)).unwrap();
        replay.write(entries(1, 3)).unwrap();
        replay.base(base(3)).unwrap();
        assert!(replay.base(base(2)).is_err());
        let other = HardState {
            term: Term(2),
            ..HardState::default()
        };
        let voted = Base {
            hard_state: other,
            ..base(3)
        };
        assert!(replay.base(voted).is_err(), "a vote was lost");
        let (bounds, entries) = replay.finish().unwrap();
        assert_eq!((bounds.base().last, entries.len()), (LogIndex(3), 3));
    }
}
