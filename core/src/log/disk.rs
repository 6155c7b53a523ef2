//! The few things a log asks of a file system, so that a model of one can stand in for it.
//!
//! A disk is one flat directory. The contract is that of POSIX and no more: bytes are durable after
//! [`DiskFile::sync`], names after [`Disk::sync_dir`], and what was not synced may be there after a
//! power cut in any part and any order. One thing more is assumed, as SQLite does (its "powersafe
//! overwrite"): a write that is cut short harms no byte outside its own range.

use std::io;

/// One directory. Names are plain file names. A handle: clones are the same directory.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file of it, for writing.
    type File: DiskFile;
    /// An open file of it, for reading; stays readable when the file is removed.
    type Reader: DiskReader;

    /// Creates an empty file and opens it for writing; it must not exist.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Opens an existing file for writing; appends go to its end.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Opens an existing file for reading.
    fn reader(&self, name: &str) -> io::Result<Self::Reader>;
    /// Renames a file, replacing the target. Durable only after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable only after [`Disk::sync_dir`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Names of everything in it, sorted, but for what belongs to the disk itself.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// All bytes of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut reader = self.reader(name)?;
        let len = usize::try_from(reader.size()).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        reader.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    }
}

/// A file of a [`Disk`], open for writing.
pub trait DiskFile: Send + 'static {
    /// Appends all of `bytes`. After an error a part of them may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Overwrites bytes within the file's length.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file to this length and syncs it.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Makes everything written durable (fdatasync).
    fn sync(&mut self) -> io::Result<()>;
    /// Length in bytes.
    fn size(&self) -> u64;
}

/// A file of a [`Disk`], open for reading.
pub trait DiskReader: Send + 'static {
    /// Fills `buffer` from `offset`; an error when the file ends before.
    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Length in bytes when it was opened.
    fn size(&self) -> u64;
}
