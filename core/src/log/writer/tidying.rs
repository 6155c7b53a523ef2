//! What a log does between writes: begins segments, removes what is no longer needed.

use super::Log;
use crate::log::error::LogError;
use crate::log::recovery::SegmentInfo;
use crate::log::{Disk, DiskFile, files, names, segment, snapshot};
use crate::types::LogIndex;

impl<D: Disk> Log<D> {
    /// After a sync, with nothing waiting: removes something that is no longer needed, and begins a new segment
    /// if it is time. One file at a time: the next write waits for it, and many large files take long.
    pub(super) fn tidy(&mut self) -> Result<(), LogError> {
        if self.frees {
            self.free()?;
        }
        if self.current.len >= self.options.segment_bytes {
            self.roll()?;
            self.frees = true;
        }
        Ok(())
    }

    /// Removes a segment, or at last the snapshots, that nobody needs any more.
    pub(super) fn free(&mut self) -> Result<(), LogError> {
        if !self.remove_segment()? {
            if let Some(meta) = &self.bounds.base().snapshot {
                snapshot::remove_before(&self.disk, meta.index)?;
            }
            self.frees = false;
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

    /// Removes the oldest segment if it holds nothing needed, and says whether there was one. Durably, before
    /// the next one goes: a crash must not leave an older one without a newer.
    pub(super) fn remove_segment(&mut self) -> Result<bool, LogError> {
        let compacted = self.bounds.base().compacted;
        let oldest = self.older.front();
        let Some(oldest) = oldest.filter(|oldest| oldest.highest <= compacted) else {
            return Ok(false);
        };
        files::remove(&self.disk, &names::segment(oldest.id))?;
        files::sync_dir(&self.disk)?;
        self.older.pop_front();
        Ok(true)
    }
}
