//! What a log does between writes: begins segments, removes what is no longer needed.

use super::Log;
use crate::log::error::LogError;
use crate::log::recovery::SegmentInfo;
use crate::log::{Disk, DiskFile, files, names, segment, snapshot};
use crate::types::LogIndex;

impl<D: Disk> Log<D> {
    /// After a sync, with nothing waiting: removes what is no longer needed, and begins a new segment
    /// if it is time.
    pub(super) fn tidy(&mut self) -> Result<(), LogError> {
        if self.frees {
            self.remove_segments()?;
            if let Some(meta) = &self.bounds.base().snapshot {
                snapshot::remove_before(&self.disk, meta.index)?;
            }
            self.frees = false;
        }
        if self.current.len >= self.options.segment_bytes {
            self.roll()?;
            self.remove_segments()?;
        }
        Ok(())
    }

    fn roll(&mut self) -> Result<(), LogError> {
        let header = segment::Header {
            id: self.current.id + 1,
            after: self.seq,
        };
        self.file = segment::create(&self.disk, self.key, header, self.bounds.base())?;
        self.seq += 1;
        let begun = SegmentInfo {
            id: header.id,
            len: self.file.size(),
            torn: 0,
            damaged: false,
            highest: LogIndex(0),
        };
        self.older
            .push_back(std::mem::replace(&mut self.current, begun));
        self.mark.write(self.end())?;
        self.mark.sync()
    }

    /// Removes the oldest segments that hold nothing needed, one durably after the other: a crash
    /// must not leave an older one without a newer.
    pub(super) fn remove_segments(&mut self) -> Result<(), LogError> {
        let compacted = self.bounds.base().compacted;
        while let Some(oldest) = self.older.front()
            && oldest.highest <= compacted
        {
            files::remove(&self.disk, &names::segment(oldest.id))?;
            files::sync_dir(&self.disk)?;
            self.older.pop_front();
        }
        Ok(())
    }
}
