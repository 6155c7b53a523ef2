//! A directory of the file system.

use super::{Disk, DiskFile, DiskReader, LogError};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Locked for as long as a process uses the directory; holds its pid for the error message.
const LOCK: &str = "lock";
/// Stands in the root of every ext file system; a volume may be mounted right at the data directory.
const LOST_AND_FOUND: &str = "lost+found";

/// A data directory of the file system, locked against other processes until the last clone is
/// dropped.
#[derive(Clone, Debug)]
pub struct RealDisk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// The directory itself, open for syncing.
    handle: File,
    /// Holds the lock; the kernel lets go of it when the process ends in any way.
    _lock: File,
}

impl RealDisk {
    /// Opens and locks the directory `dir`; creates it (mode 0700) when it is not there.
    pub fn open(dir: &Path) -> Result<Self, LogError> {
        let failed = |what: &str, error| LogError::io(format!("{what} {}", dir.display()), error);
        if !dir.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(|e| failed("cannot create the data directory", e))?;
            if let Some(parent) = dir.canonicalize().ok().as_deref().and_then(Path::parent) {
                File::open(parent)
                    .and_then(|parent| parent.sync_all())
                    .map_err(|e| failed("cannot sync the parent of the data directory", e))?;
            }
        }
        let lock = lock(dir)?;
        let handle = File::open(dir).map_err(|e| failed("cannot open the data directory", e))?;
        Ok(Self {
            inner: Arc::new(Inner {
                dir: dir.to_owned(),
                handle,
                _lock: lock,
            }),
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.inner.dir
    }

    fn at(&self, name: &str) -> PathBuf {
        self.inner.dir.join(name)
    }
}

fn lock(dir: &Path) -> Result<File, LogError> {
    let failed = |error| LogError::io(format!("cannot lock {}", dir.display()), error);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(dir.join(LOCK))
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut owner = String::new();
            // Only for the message: without it the error is still right.
            let pid = match (&file).take(20).read_to_string(&mut owner) {
                Ok(_) if !owner.trim().is_empty() => format!(" (pid {})", owner.trim()),
                _ => String::new(),
            };
            return Err(LogError::InUse {
                dir: dir.display().to_string(),
                owner: pid,
            });
        }
        Err(error) => return Err(failed(error.into())),
    }
    // A full disk must not keep a node from starting; the pid only helps a person.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

impl Disk for RealDisk {
    type File = RealFile;
    type Reader = RealReader;

    fn create(&self, name: &str) -> io::Result<RealFile> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.at(name))?;
        Ok(RealFile { file, size: 0 })
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        let file = OpenOptions::new().write(true).open(self.at(name))?;
        let size = file.metadata()?.len();
        Ok(RealFile { file, size })
    }

    fn reader(&self, name: &str) -> io::Result<RealReader> {
        let file = File::open(self.at(name))?;
        let size = file.metadata()?.len();
        Ok(RealReader { file, size })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.at(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.inner.dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != LOCK && name != LOST_AND_FOUND {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.inner.handle.sync_all()
    }
}

/// A file of a [`RealDisk`], open for writing.
#[derive(Debug)]
pub struct RealFile {
    file: File,
    size: u64,
}

impl DiskFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.size)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.size = len;
        // Not sync_data: the new length is metadata, and all that matters here.
        self.file.sync_all()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// A file of a [`RealDisk`], open for reading.
#[derive(Debug)]
pub struct RealReader {
    file: File,
    size: u64,
}

impl DiskReader for RealReader {
    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn size(&self) -> u64 {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_opened_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let disk = RealDisk::open(&path).unwrap();
        let refused = RealDisk::open(&path).unwrap_err();
        assert!(matches!(&refused, LogError::InUse { .. }), "{refused}");
        assert!(
            refused
                .to_string()
                .contains(&std::process::id().to_string()),
            "{refused}"
        );
        let clone = disk.clone();
        drop(disk);
        assert!(RealDisk::open(&path).is_err(), "a clone still holds it");
        drop(clone);
        assert!(RealDisk::open(&path).is_ok());
    }

    #[test]
    fn files_are_written_cut_renamed_listed_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        let mut file = disk.create("x").unwrap();
        assert!(disk.create("x").is_err());
        file.append(b"hello").unwrap();
        file.append(b" world").unwrap();
        file.write_at(0, b"J").unwrap();
        file.truncate(5).unwrap();
        file.append(b"!").unwrap();
        file.sync().unwrap();
        assert_eq!(file.size(), 6);
        drop(file);
        let mut file = disk.open("x").unwrap();
        file.append(b"?").unwrap();
        disk.rename("x", "y").unwrap();
        disk.sync_dir().unwrap();
        assert_eq!(disk.list().unwrap(), ["y"]);
        let mut reader = disk.reader("y").unwrap();
        disk.remove("y").unwrap();
        let mut bytes = vec![0; usize::try_from(reader.size()).unwrap()];
        reader.read_exact_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, b"Jello!?");
        assert!(reader.read_exact_at(7, &mut [0]).is_err());
        assert!(disk.open("y").is_err());
    }
}
