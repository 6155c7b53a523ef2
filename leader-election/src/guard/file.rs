//! A file that several processes can reach, for example on a disk that two machines mount, and that
//! takes no write of an old leader.
//!
//! Beside `plan.json` stand `plan.json.token`, which holds the highest token in decimal, and
//! `plan.json.lock`, on which every step takes an exclusive `flock`. A write raises and syncs the token
//! first and replaces the file then, both by a new file that is synced, renamed and made durable by a
//! sync of the directory. So after a power cut the file is a whole old one or a whole new one, and the
//! token is never behind what was written under it.
//!
//! What it rests on: every writer uses this guard (the file system itself refuses nobody), and the file
//! system keeps an `flock` for as long as the process that holds it lives. Local file systems do.
//! A network file system that takes a lock away from a client it cannot reach, and lets that client
//! write afterwards, does not; keep such resources behind a server that checks the token.

use super::{Stale, admit};
use quorate_core::types::FencingToken;
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Why a step on a [`SharedFile`] failed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A newer token was presented before; nothing was changed.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// The token file holds no token. Nothing is written past it: whether a token is stale cannot be
    /// told.
    #[error(
        "{path} does not hold a fencing token but {found:?}; find out which process wrote it, then put the highest token ever used there"
    )]
    Damaged {
        /// The token file.
        path: PathBuf,
        /// The first characters of what it holds.
        found: String,
    },
    /// The file system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// What the file system said.
        source: io::Error,
    },
}

/// A file under a fencing token. Every method blocks, for as long as another process is within a step;
/// call it from `spawn_blocking` in async code.
#[derive(Clone, Debug)]
pub struct SharedFile {
    path: PathBuf,
}

/// The exclusive lock of one step; the kernel releases it when the descriptor is closed, also by the
/// death of the process.
struct Locked(#[allow(dead_code, reason = "held, not read")] File);

impl SharedFile {
    /// The file at this path; it need not exist. The token and lock files stand beside it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Raises the highest token, then reads: what it gives is the last word of all older leaders,
    /// `None` if nobody wrote yet.
    ///
    /// # Errors
    /// A newer token was presented before; the file system refused; the token file is damaged.
    pub fn seal(&self, token: FencingToken) -> Result<Option<Vec<u8>>, FileError> {
        let _locked = self.lock()?;
        self.raise(token)?;
        self.content()
    }

    /// Replaces the whole content. It is synced to disk when this returns.
    ///
    /// # Errors
    /// As [`SharedFile::seal`]; when stale or damaged nothing was written.
    pub fn write(&self, token: FencingToken, content: &[u8]) -> Result<(), FileError> {
        let _locked = self.lock()?;
        self.raise(token)?;
        self.replace(&self.path, content)
    }

    /// The content as it is, for processes that only look; `None` if nobody wrote yet. A leader uses
    /// [`SharedFile::seal`].
    ///
    /// # Errors
    /// The file system refused.
    pub fn read(&self) -> Result<Option<Vec<u8>>, FileError> {
        self.content()
    }

    /// The highest token that was presented; 0 if none was.
    ///
    /// # Errors
    /// The file system refused; the token file is damaged.
    pub fn highest(&self) -> Result<FencingToken, FileError> {
        let path = self.beside(".token");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FencingToken(0)),
            Err(error) => return Err(refused("read", &path)(error)),
        };
        let text = String::from_utf8_lossy(&text);
        text.trim()
            .parse()
            .map(FencingToken)
            .map_err(|_| FileError::Damaged {
                path,
                found: text.chars().take(40).collect(),
            })
    }

    fn raise(&self, token: FencingToken) -> Result<(), FileError> {
        let highest = self.highest()?;
        if admit(highest, token)? > highest {
            self.replace(&self.beside(".token"), format!("{token}\n").as_bytes())?;
        }
        Ok(())
    }

    fn lock(&self) -> Result<Locked, FileError> {
        let path = self.beside(".lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(refused("open", &path))?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Locked(file)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(refused("lock", &path)(error.into())),
            }
        }
    }

    fn content(&self) -> Result<Option<Vec<u8>>, FileError> {
        match fs::read(&self.path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refused("read", &self.path)(error)),
        }
    }

    /// Puts a whole, synced file in place of another, or none.
    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), FileError> {
        let mut fresh = path.as_os_str().to_owned();
        // One name: only the holder of the lock writes it, and what a crash left is overwritten.
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        let mut file = File::create(&fresh).map_err(refused("create", &fresh))?;
        file.write_all(content)
            .and_then(|()| file.sync_all())
            .map_err(refused("write", &fresh))?;
        fs::rename(&fresh, path).map_err(refused("rename to", path))?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(refused("sync", directory))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name: OsString = self.path.clone().into();
        name.push(suffix);
        name.into()
    }
}

fn refused(what: &str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let what = format!("cannot {what} {}", path.display());
    move |source| FileError::Io { what, source }
}
