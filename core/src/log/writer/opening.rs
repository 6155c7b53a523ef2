//! Opening a log: what was recovered, and how sure that is.

use super::{Log, Options};
use crate::log::error::LogError;
use crate::log::identity::Identity;
use crate::log::mark::{self, Mark};
use crate::log::{Disk, DiskFile, DiskReader, files, names, recovery, snapshot};
use crate::replica::{HardState, LogEntry, SnapshotMeta, Write};
use crate::types::{NodeId, Term};
use std::collections::VecDeque;
use std::io;

/// How sure it is that nothing synced is missing at the end of a log. Everywhere else it is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Certain: the log was closed in order and is all there.
    Closed,
    /// The log ends with a whole frame at or after the last mark that survived. Had the file lost
    /// whole synced frames after that mark, nobody could tell.
    Open,
    /// A frame was cut off that lacks a part of what was written: a write that the crash interrupted.
    Cut {
        /// Bytes that were cut.
        bytes: u64,
    },
    /// A frame was cut off that lacks nothing and does not match its checksum: it was damaged, perhaps
    /// after it had been synced. The log is in doubt.
    Damaged {
        /// Bytes that were cut.
        bytes: u64,
    },
}

/// What a log held when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The hard state.
    pub hard_state: HardState,
    /// The snapshot that the log builds on; its file is there and whole.
    pub snapshot: Option<SnapshotMeta>,
    /// All entries above the snapshot, without a hole.
    pub entries: Vec<LogEntry>,
    /// How the log ended.
    pub tail: Tail,
    /// Now or at an earlier opening a damaged end was cut off, and no write since then was
    /// [`Write::cleared`](crate::replica::Write::cleared): synced entries may be missing at the end. The
    /// hard state is of a new term then, in which this disk has not voted.
    pub doubt: bool,
}

impl<D: Disk> Log<D> {
    /// Opens the log of a formatted directory: verifies all of it, cuts a torn tail, removes
    /// leftovers. The recovered state is durable when this returns.
    pub fn open(
        disk: D,
        identity: &Identity,
        options: Options,
    ) -> Result<(Self, Recovered), LogError> {
        let key = identity.disk;
        let (mut mark, marked) = mark::open(&disk, key)?;
        let mut scan = recovery::scan(&disk, key, marked)?;
        let first_file = names::segment(scan.segments.first().map_or(1, |first| first.id));
        let (bounds, entries) = scan
            .replay
            .finish()
            .map_err(|what| LogError::corrupt(&first_file, 0, what))?;
        if let Some(meta) = &bounds.base().snapshot {
            snapshot::verify(&disk, meta)?;
        }

        // All is well; from here on things are changed.
        let mut current = scan
            .segments
            .pop()
            .ok_or_else(|| LogError::corrupt(&first_file, 0, "the file is missing"))?;
        let name = names::segment(current.id);
        let failed = |error| LogError::io(format!("cannot open {name}"), error);
        let mut file = disk.open(&name).map_err(failed)?;
        if current.damaged {
            // The evidence goes with what is cut, so it is remembered first.
            let mut doubt = files::create(&disk, names::DOUBT).map_err(failed)?;
            doubt.sync().map_err(failed)?;
            files::sync_dir(&disk)?;
        }
        let doubt = files::list(&disk)?.iter().any(|name| name == names::DOUBT);
        if current.torn > 0 {
            file.truncate(current.len).map_err(failed)?;
        }
        let proven = match marked {
            Some(mark) if mark.segment == current.id => mark.end,
            _ => 0,
        };
        rewrite(&disk, &name, &mut file, proven).map_err(failed)?;
        files::sync_dir(&disk)?;
        let end = Mark {
            closed: false,
            segment: current.id,
            seq: scan.seq,
            end: current.len,
        };
        mark.settle(end)?;

        let mut recovered = Recovered {
            hard_state: bounds.base().hard_state,
            snapshot: bounds.base().snapshot.clone(),
            entries,
            tail: match marked {
                _ if current.damaged => Tail::Damaged {
                    bytes: current.torn,
                },
                _ if current.torn > 0 => Tail::Cut {
                    bytes: current.torn,
                },
                Some(mark)
                    if mark
                        == (Mark {
                            closed: true,
                            ..end
                        }) =>
                {
                    Tail::Closed
                }
                _ => Tail::Open,
            },
            doubt,
        };
        (current.torn, current.damaged) = (0, false);
        let mut log = Self {
            disk,
            key,
            options,
            bounds,
            older: scan.segments.into(),
            current,
            file,
            mark,
            seq: scan.seq,
            waiting: VecDeque::new(),
            frees: false,
            clears: false,
            poisoned: None,
            syncs: 0,
            bytes: 0,
        };
        log.remove_leftovers()?;
        if doubt {
            let hard_state = HardState {
                term: Term(recovered.hard_state.term.0 + 1),
                vote: NodeId(0),
                ..recovered.hard_state
            };
            log.write_and_sync(&[Write {
                hard_state: Some(hard_state),
                must_sync: true,
                ..Write::default()
            }])?;
            recovered.hard_state = hard_state;
        }
        Ok((log, recovered))
    }

    /// What earlier runs left: temporary files, snapshots that are not the base, segments whose
    /// removal a crash interrupted.
    fn remove_leftovers(&mut self) -> Result<(), LogError> {
        for name in files::list(&self.disk)? {
            if names::kind(&name) == names::Kind::Temporary {
                files::remove(&self.disk, &name)?;
            }
        }
        snapshot::remove_all_but(&self.disk, self.bounds.base().snapshot.as_ref())?;
        files::sync_dir(&self.disk)?;
        while self.remove_segment()? {}
        Ok(())
    }
}

/// Writes what stands from `from` on once more, and syncs it. What was read may so far be in the
/// system's cache only, and a vote may be based on it; and if an earlier process ended because a sync
/// failed, the system takes the cached bytes for written, so that a sync alone would do nothing.
fn rewrite<D: Disk>(disk: &D, name: &str, file: &mut D::File, from: u64) -> io::Result<()> {
    let mut reader = disk.reader(name)?;
    let len = usize::try_from(reader.size().saturating_sub(from)).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    reader.read_exact_at(from, &mut bytes)?;
    if !bytes.is_empty() {
        file.write_at(from, &bytes)?;
    }
    file.sync()
}
