//! Opening: every frame of every segment is read and checked before anything is believed.
//!
//! The writer has at most one frame that is not synced, the very last. So damage is the trace of an
//! interrupted write, and may be cut off, only if nothing proves that something came after it: no
//! later segment, no later frame behind it, no mark of it. Everything else is corruption.
//!
//! An interrupted write lacks something: disks write sectors whole, so each sector of it is there, or the
//! file ends before it, or it reads as zeros. A last frame that lacks nothing and does not match its
//! checksum was not interrupted but damaged, perhaps after it had been synced. It is cut off as well, but
//! the log is in doubt from then on.

use super::error::LogError;
use super::frame::{self, HEADER_BYTES};
use super::mark::Mark;
use super::names::{self, Kind};
use super::record::{self, Record};
use super::replay::Replay;
use super::{Disk, files, segment};
use crate::codec::CodecError;
use crate::types::{DiskId, LogIndex};

/// What is known of a segment that was read.
#[derive(Debug)]
pub(super) struct SegmentInfo {
    /// Its number.
    pub(super) id: u64,
    /// Length up to the end of its last whole frame.
    pub(super) len: u64,
    /// Bytes behind that which are to be cut.
    pub(super) torn: u64,
    /// They lack nothing: damage, not an interrupted write.
    pub(super) damaged: bool,
    /// Highest index of an entry in it.
    pub(super) highest: LogIndex,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Scan {
    /// All segments, oldest first; at least one.
    pub(super) segments: Vec<SegmentInfo>,
    /// Number of the last frame.
    pub(super) seq: u64,
    /// The records, replayed.
    pub(super) replay: Replay,
}

/// Reads and checks all segments; changes nothing.
pub(super) fn scan<D: Disk>(disk: &D, key: DiskId, mark: Option<Mark>) -> Result<Scan, LogError> {
    let ids: Vec<u64> = files::list(disk)?
        .iter()
        .filter_map(|name| match names::kind(name) {
            Kind::Segment(id) => Some(id),
            _ => None,
        })
        .collect();
    if ids.is_empty() {
        return Err(LogError::corrupt(
            &names::segment(1),
            0,
            "all segments of the log are missing",
        ));
    }
    let mut scan = Scan {
        segments: Vec::with_capacity(ids.len()),
        seq: 0,
        replay: Replay::default(),
    };
    for &id in &ids {
        if let Some(before) = scan.segments.last()
            && before.id + 1 != id
        {
            let gone = names::segment(before.id + 1);
            return Err(LogError::corrupt(&gone, 0, "the file is missing"));
        }
        let file = names::segment(id);
        let bytes = disk
            .read(&file)
            .map_err(|error| LogError::io(format!("cannot read {file}"), error))?;
        let reader = SegmentReader {
            file,
            bytes,
            key,
            id,
            marked: mark.map_or(0, |mark| mark.seq),
        };
        let info = reader.read(&mut scan)?;
        scan.segments.push(info);
    }
    check_mark(&scan, mark)?;
    Ok(scan)
}

/// A mark beyond the end of the log: its tail is gone without a trace in itself.
fn check_mark(scan: &Scan, mark: Option<Mark>) -> Result<(), LogError> {
    match (mark, scan.segments.last()) {
        (Some(mark), Some(last)) if mark.seq > scan.seq => Err(LogError::corrupt(
            &names::segment(mark.segment),
            if mark.segment == last.id { last.len } else { 0 },
            format!(
                "the log ends with frame {}, but frame {} had been synced",
                scan.seq, mark.seq
            ),
        )),
        _ => Ok(()),
    }
}

struct SegmentReader {
    file: String,
    bytes: Vec<u8>,
    key: DiskId,
    id: u64,
    /// The mark says that frames up to this number were synced.
    marked: u64,
}

impl SegmentReader {
    fn read(&self, scan: &mut Scan) -> Result<SegmentInfo, LogError> {
        let header = segment::Header::decode(&self.bytes, self.key, &self.file)?;
        if header.id != self.id {
            return Err(self.corrupt(0, format!("it is segment {} by its header", header.id)));
        }
        match scan.segments.last() {
            None => scan.seq = header.after,
            Some(before) if header.after > scan.seq => {
                return Err(LogError::corrupt(
                    &names::segment(before.id),
                    before.len,
                    format!(
                        "it ends with frame {}, but {} follows frame {}",
                        scan.seq, self.file, header.after
                    ),
                ));
            }
            // Were it to follow an earlier one, its first frame would not be the next.
            Some(_) => {}
        }
        let mut info = SegmentInfo {
            id: self.id,
            len: 0,
            torn: 0,
            damaged: false,
            highest: LogIndex(0),
        };
        let first = scan.seq + 1;
        let mut at = segment::HEADER_BYTES;
        while at < self.bytes.len() || scan.seq < first {
            match frame::read(&self.bytes[at..], self.key) {
                Ok((header, body)) => {
                    self.take(at, header, body, first, scan, &mut info)?;
                    at += HEADER_BYTES + body.len();
                }
                Err(what) => {
                    self.check_torn(at, what, first, scan.seq + 1)?;
                    info.torn = (self.bytes.len() - at) as u64;
                    info.damaged = !frame::lacks_something(&self.bytes[at..], at, self.key);
                    break;
                }
            }
        }
        info.len = at as u64;
        Ok(info)
    }

    /// Takes a frame whose checksums are right.
    fn take(
        &self,
        at: usize,
        header: frame::Header,
        body: &[u8],
        first: u64,
        scan: &mut Scan,
        info: &mut SegmentInfo,
    ) -> Result<(), LogError> {
        let expected = scan.seq + 1;
        if header.segment != self.id || header.seq != expected || header.synced >= header.seq {
            return Err(self.corrupt(
                at,
                format!(
                    "frame {} of segment {} stands where frame {expected} was expected",
                    header.seq, header.segment
                ),
            ));
        }
        let records = record::decode(body).map_err(|error| match error {
            CodecError::UnknownFormat(found) => LogError::Newer {
                file: self.file.clone(),
                found,
                known: crate::codec::FORMAT,
            },
            error => self.corrupt(at, format!("frame {expected}: {error}")),
        })?;
        for record in records {
            if matches!(record, Record::Base(_)) != (expected == first) {
                return Err(self.corrupt(at, "a segment has one base, in its first frame".into()));
            }
            let highest = scan
                .replay
                .take(record)
                .map_err(|what| self.corrupt(at, format!("frame {expected}: {what}")))?;
            info.highest = info.highest.max(highest);
        }
        scan.seq = expected;
        Ok(())
    }

    /// Whether the bad frame `seq` at `at` may be an interrupted write. (That it is in the last segment
    /// is seen when the next one is read.)
    fn check_torn(&self, at: usize, what: &str, first: u64, seq: u64) -> Result<(), LogError> {
        let proof = if seq == first {
            Some("it was synced before the file got its name".to_owned())
        } else if self.marked >= seq {
            Some("the mark says that it had been synced".to_owned())
        } else {
            frame::find(&self.bytes[at + 1..], self.key, self.id, seq)
                .map(|later| format!("a later frame follows at byte {}", at + 1 + later))
        };
        match proof {
            Some(proof) => Err(self.corrupt(at, format!("frame {seq}: {what}; {proof}"))),
            None => Ok(()),
        }
    }

    fn corrupt(&self, at: usize, what: String) -> LogError {
        LogError::corrupt(&self.file, at as u64, what)
    }
}
