//! What the body of a frame says.
//!
//! The first frame of a segment holds one [`Record::Base`]; every other holds one or more
//! [`Record::Write`], back to back: all writes that one sync made durable, hence whole or not there.

use crate::codec::{self, CodecError};
use crate::replica::{HardState, LogEntry, SnapshotMeta, Write};
use crate::types::{LogIndex, Term};
use serde::{Deserialize, Serialize};

/// Where a log stands: enough to go on from without anything written before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Base {
    /// The hard state.
    pub(super) hard_state: HardState,
    /// The snapshot that the log builds on.
    pub(super) snapshot: Option<SnapshotMeta>,
    /// Entries at or below this index are no longer needed.
    pub(super) compacted: LogIndex,
    /// The last entry, or the last that the snapshot includes.
    pub(super) last: LogIndex,
    /// Its term.
    pub(super) last_term: Term,
}

/// One record, as it is read back.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Record {
    /// Where the log stood when the segment began.
    Base(Base),
    /// A write.
    Write(WriteRecord),
}

/// A [`Write`] as it is kept.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct WriteRecord {
    hard_state: Option<HardState>,
    snapshot: Option<SnapshotMeta>,
    restart: bool,
    compact_to: Option<LogIndex>,
    entries: Vec<LogEntry>,
}

impl WriteRecord {
    /// The write.
    pub(super) fn into_write(self) -> Write {
        Write {
            hard_state: self.hard_state,
            entries: self.entries,
            snapshot: self.snapshot,
            compact_to: self.compact_to,
            restart: self.restart,
            cleared: false,
            must_sync: true,
        }
    }
}

/// [`Record`] with borrowed parts: the same bytes without a copy.
#[derive(Serialize)]
enum RecordRef<'a> {
    Base(&'a Base),
    Write(WriteRef<'a>),
}

#[derive(Serialize)]
struct WriteRef<'a> {
    hard_state: Option<HardState>,
    snapshot: Option<&'a SnapshotMeta>,
    restart: bool,
    compact_to: Option<LogIndex>,
    entries: &'a [LogEntry],
}

/// Appends the bytes of a base to a frame.
pub(super) fn encode_base(base: &Base, out: &mut Vec<u8>) {
    codec::encode_into(&RecordRef::Base(base), out);
}

/// Appends the bytes of a write to a frame.
pub(super) fn encode_write(write: &Write, out: &mut Vec<u8>) {
    let record = RecordRef::Write(WriteRef {
        hard_state: write.hard_state,
        snapshot: write.snapshot.as_ref(),
        restart: write.restart,
        compact_to: write.compact_to,
        entries: &write.entries,
    });
    codec::encode_into(&record, out);
}

/// The records of a frame's body; never none.
pub(super) fn decode(mut body: &[u8]) -> Result<Vec<Record>, CodecError> {
    let mut records = Vec::with_capacity(1);
    loop {
        let (record, rest) = codec::decode_prefix(body)?;
        records.push(record);
        if rest.is_empty() {
            return Ok(records);
        }
        body = rest;
    }
}
