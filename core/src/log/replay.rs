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
