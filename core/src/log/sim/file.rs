//! Open files of the simulated disk.

use super::SimDisk;
use crate::log::{DiskFile, DiskReader};
use std::io;

/// A file of a [`SimDisk`], open for writing.
#[derive(Debug)]
pub struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) inode: u64,
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        let broken = state.faults.failing_writes > 0;
        let fits = if broken {
            state.faults.failing_writes -= 1;
            bytes.len() / 2
        } else {
            state.room(bytes.len())
        };
        state.stats.bytes += fits as u64;
        let inode = state.inode(self.inode)?;
        inode.write(inode.len(), &bytes[..fits]);
        if broken {
            return Err(io::Error::other("simulated failure of a write"));
        }
        if fits < bytes.len() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        state.stats.bytes += bytes.len() as u64;
        state.inode(self.inode)?.write(offset, bytes);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.fails_sync()?;
        state.stats.syncs += 1;
        state.inode(self.inode)?.truncate(len);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        let failed = state.fails_sync();
        let inode = state.inode(self.inode)?;
        match failed {
            Ok(()) => inode.sync(),
            Err(error) => {
                inode.lose();
                return Err(error);
            }
        }
        state.stats.syncs += 1;
        Ok(())
    }

    fn size(&self) -> u64 {
        self.disk
            .state()
            .inode(self.inode)
            .map_or(0, |inode| inode.len())
    }
}

/// A file of a [`SimDisk`], open for reading: its bytes when it was opened.
#[derive(Debug)]
pub struct SimReader {
    pub(super) bytes: Vec<u8>,
}

impl DiskReader for SimReader {
    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let source = start
            .checked_add(buffer.len())
            .and_then(|end| self.bytes.get(start..end))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(source);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}
