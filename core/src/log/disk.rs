//! The few things a log asks of a file system, so that the simulator can stand in for it.

use std::io;

/// One directory. Names are plain file names.
pub trait Disk: Send + 'static {
    /// An open file of it.
    type File: DiskFile;

    /// Creates an empty file and opens it for appending; it must not exist.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;
    /// Opens an existing file for appending at its end.
    fn open_append(&mut self, name: &str) -> io::Result<Self::File>;
    /// All bytes of a file.
    fn read(&mut self, name: &str) -> io::Result<Vec<u8>>;
    /// Renames a file, replacing the target. Durable only after [`Disk::sync_dir`].
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable only after [`Disk::sync_dir`].
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Cuts a file to this length and syncs it.
    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()>;
    /// Names of all files, sorted.
    fn list(&mut self) -> io::Result<Vec<String>>;
    /// Makes creations, renames and removals durable.
    fn sync_dir(&mut self) -> io::Result<()>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send + 'static {
    /// Appends all of `bytes`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything appended durable (fdatasync).
    fn sync(&mut self) -> io::Result<()>;
    /// Length in bytes.
    fn size(&self) -> u64;
}
