//! The log of one replica: writes in, synced frames out.

mod opening;
mod tidying;

pub use opening::{Recovered, Tail};

use super::bounds::Bounds;
use super::error::LogError;
use super::mark::{Mark, MarkFile};
use super::recovery::SegmentInfo;
use super::{Disk, DiskFile, files, frame, names, record, snapshot};
use crate::codec;
use crate::replica::Write;
use crate::types::{DiskId, LogIndex};
use std::collections::VecDeque;

/// A frame that has grown to this size is closed and the next begun. More in one frame would only
/// lengthen the wait for its sync.
const FRAME_BYTES: usize = 8 * 1024 * 1024;

/// Largest single write, in encoded bytes: safely below what the codec decodes.
pub const WRITE_BYTES_MAX: usize = codec::BYTES_MAX - 16 * 1024 * 1024;

/// How a log is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment that has reached this size, in bytes, is followed by a new one. Compaction removes
    /// whole segments, so this is also what a compacted log may keep too much.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Counters since the log was opened, and its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Syncs of segments for writes: one for each frame.
    pub syncs: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes of those segments.
    pub segments_bytes: u64,
    /// Number of the last frame.
    pub seq: u64,
}

/// The log of one replica, open for writing.
///
/// [`Log::append`] takes writes into memory, [`Log::sync`] makes them durable, all in one frame with
/// one write and one fdatasync: what was appended since the last sync is on disk as a whole or not at
/// all. Nothing is written without being synced, so at most the last frame can be torn.
///
/// After any failure but [`LogError::Full`] the log takes nothing more: after a failed fdatasync the
/// system may have dropped the data and will report success the next time (Rebello et al., "Can
/// Applications Recover from fsync Failures?", 2020). The process must end and recover from disk.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: D,
    key: DiskId,
    options: Options,
    /// Including what is not yet synced.
    bounds: Bounds,
    /// Older segments, oldest first.
    older: VecDeque<SegmentInfo>,
    current: SegmentInfo,
    file: D::File,
    mark: MarkFile<D::File>,
    /// The last synced frame.
    seq: u64,
    /// Frames that wait for their sync: sealed only then. All but the last are full.
    waiting: VecDeque<Frame>,
    /// Something that is synced made older files unnecessary.
    frees: bool,
    /// A write that ends the doubt was appended and is not yet synced.
    clears: bool,
    poisoned: Option<String>,
    syncs: u64,
    bytes: u64,
}

/// A frame in the making.
#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    highest: LogIndex,
    /// Something became unnecessary.
    frees: bool,
}

impl<D: Disk> Log<D> {
    /// Takes a write, in memory. It is durable after the next [`Log::sync`]; a write whose
    /// `must_sync` is false may wait for a later write's. The caller bounds how much it appends
    /// between two syncs. [`LogError::Invalid`] when the write breaks an invariant of raft or is
    /// larger than [`WRITE_BYTES_MAX`].
    pub fn append(&mut self, write: &Write) -> Result<(), LogError> {
        self.check_poisoned()?;
        let invalid = |what| LogError::Invalid { what };
        if let Some(meta) = &write.snapshot
            && !snapshot::exists(&self.disk, meta)?
        {
            return Err(invalid(format!(
                "the snapshot up to {} is not stored",
                meta.index
            )));
        }
        self.bounds.check(write).map_err(invalid)?;
        let mut frame = match self.waiting.pop_back() {
            Some(frame) if frame.bytes.len() < FRAME_BYTES => frame,
            full => {
                self.waiting.extend(full);
                Frame {
                    bytes: frame::begin(),
                    highest: LogIndex(0),
                    frees: false,
                }
            }
        };
        let before = frame.bytes.len();
        record::encode_write(write, &mut frame.bytes);
        let len = frame.bytes.len() - before;
        if len > WRITE_BYTES_MAX {
            frame.bytes.truncate(before);
            if before > frame::HEADER_BYTES {
                self.waiting.push_back(frame);
            }
            return Err(invalid(format!(
                "it has {len} bytes, more than {WRITE_BYTES_MAX}"
            )));
        }
        if let Some(last) = write.entries.last() {
            frame.highest = frame.highest.max(last.index);
        }
        frame.frees |= write.snapshot.is_some() || write.compact_to.is_some();
        self.waiting.push_back(frame);
        self.bounds.apply(write);
        self.clears |= write.cleared;
        Ok(())
    }

    /// Makes everything appended durable. After [`LogError::Full`] what was not written waits on in
    /// memory: call again when there is room. Any other error ends this log.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.check_poisoned()?;
        while let Some(frame) = self.waiting.pop_front() {
            match self.write_frame(frame) {
                Ok(()) => {}
                // There is room in what is still to be removed. What only a waiting write allows to remove must
                // stay: the log on disk still begins with it.
                Err(LogError::Full { .. })
                    if self.frees && !self.waiting.iter().any(|frame| frame.frees) =>
                {
                    self.free().map_err(|error| self.failed(error))?;
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
        if std::mem::take(&mut self.clears)
            && let Err(error) =
                files::remove(&self.disk, names::DOUBT).and_then(|()| files::sync_dir(&self.disk))
        {
            return Err(self.failed(error));
        }
        match self.tidy() {
            // What was asked is durable; the new segment is tried again after the next write.
            Ok(()) | Err(LogError::Full { .. }) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// [`Log::append`] for each write, then one [`Log::sync`]: the group commit.
    pub fn write_and_sync(&mut self, writes: &[Write]) -> Result<(), LogError> {
        for write in writes {
            self.append(write)?;
        }
        self.sync()
    }

    /// Syncs, and leaves a sign that the log ends here, so that the next start is certain that
    /// nothing is missing.
    pub fn close(mut self) -> Result<(), LogError> {
        self.sync()?;
        self.mark.settle(Mark {
            closed: true,
            ..self.end()
        })
    }

    /// Counters and size.
    pub fn stats(&self) -> Stats {
        Stats {
            syncs: self.syncs,
            bytes: self.bytes,
            segments: self.older.len() as u64 + 1,
            segments_bytes: self.older.iter().map(|s| s.len).sum::<u64>() + self.current.len,
            seq: self.seq,
        }
    }

    /// Writes and syncs one frame. When the disk is full, the frame waits on and the file is as it
    /// was.
    fn write_frame(&mut self, mut frame: Frame) -> Result<(), LogError> {
        let seq = self.seq + 1;
        frame::seal(&mut frame.bytes, self.key, self.current.id, seq, self.seq);
        if let Err(error) = self.file.append(&frame.bytes) {
            let error = LogError::io("appending to the log", error);
            if let LogError::Full { .. } = error {
                // A part of the frame may be there, and no other may follow it. Nothing was
                // acknowledged and no sync has failed, so the file may go back to what it was.
                self.file
                    .truncate(self.current.len)
                    .map_err(|source| LogError::Io {
                        what: "taking back an append that did not fit".into(),
                        source,
                    })?;
                self.waiting.push_front(frame);
            }
            return Err(error);
        }
        // Never Full: a sync that found no room has lost what it was to write.
        self.file.sync().map_err(|source| LogError::Io {
            what: "syncing the log".into(),
            source,
        })?;
        self.seq = seq;
        self.current.len += frame.bytes.len() as u64;
        self.current.highest = self.current.highest.max(frame.highest);
        self.syncs += 1;
        self.bytes += frame.bytes.len() as u64;
        self.frees |= frame.frees;
        match self.mark.write(self.end()) {
            // The mark is only evidence; the frame is durable without it.
            Err(LogError::Full { .. }) => Ok(()),
            written => written,
        }
    }

    fn end(&self) -> Mark {
        Mark {
            closed: false,
            segment: self.current.id,
            seq: self.seq,
            end: self.current.len,
        }
    }

    fn check_poisoned(&self) -> Result<(), LogError> {
        match &self.poisoned {
            None => Ok(()),
            Some(first) => Err(LogError::Poisoned {
                first: first.clone(),
            }),
        }
    }

    fn failed(&mut self, error: LogError) -> LogError {
        if error.is_fatal() {
            self.poisoned = Some(error.to_string());
        }
        error
    }
}
