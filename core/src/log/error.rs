//! Why a data directory, a write or a snapshot was refused, and what to do about it.

use crate::types::{LogIndex, NodeId};
use std::io;

/// What to do about a damaged data directory; one text, because there is one safe way.
const REPLACE: &str = "this replica must not vote with it. Edit nothing: stop the node, keep the \
directory for inspection, and replace the node by one with an empty directory and a new node id, so \
that it fetches everything from the others; a cluster of one node must be restored from a backup";

/// Every failure of the log on disk.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process holds the directory.
    #[error(
        "the data directory {dir} is in use by another process{owner}; stop that process, or give this node a directory of its own"
    )]
    InUse {
        /// The directory.
        dir: String,
        /// Who has it, if it is known: " (pid 7)".
        owner: String,
    },
    /// The directory is not empty and not ours.
    #[error(
        "the data directory holds {file:?}, which is not Quorate's; give this node an empty directory, or the one it had before"
    )]
    Foreign {
        /// The first thing that is not ours.
        file: String,
    },
    /// Bytes that had been synced are damaged or gone.
    #[error("{file} is corrupt at byte {offset}: {what}; {}", REPLACE)]
    Corrupt {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A newer version wrote it.
    #[error(
        "{file} has format {found}, this version knows {known}; run the version that wrote it or a newer one"
    )]
    Newer {
        /// The file.
        file: String,
        /// Its format.
        found: u8,
        /// The newest format this version knows.
        known: u8,
    },
    /// The directory is another node's.
    #[error(
        "the data directory belongs to node {found}, this node is configured as {configured}; give it the directory of node {configured}, or set the node id to {found}"
    )]
    OtherNode {
        /// Whose it is.
        found: NodeId,
        /// Who asked.
        configured: NodeId,
    },
    /// There is no room. What was to be written is not in the file, nothing before it is harmed, and
    /// the same call may be made again.
    #[error("the disk is full ({what}); free space on the volume of the data directory")]
    Full {
        /// What was being written.
        what: String,
    },
    /// There is no snapshot of this index, or no longer: a newer one has replaced it.
    #[error("there is no snapshot up to {index}; a newer one has probably replaced it, take that")]
    NoSnapshot {
        /// The last index it was to include.
        index: LogIndex,
    },
    /// A write breaks an invariant of raft: a bug of ours. Nothing of it was taken.
    #[error("refused to log a write: {what}; this is a bug in Quorate, please report it")]
    Invalid {
        /// Which invariant.
        what: String,
    },
    /// The file system failed. Nothing is known about what is on disk behind it.
    #[error(
        "{what}: {source}; check the disk (kernel log, SMART) and the permissions of the data directory"
    )]
    Io {
        /// What was being done.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// An earlier write or sync failed; the process must end.
    #[error(
        "the log takes nothing more after an earlier failure ({first}); the process must end and recover from disk"
    )]
    Poisoned {
        /// The first failure.
        first: String,
    },
}

impl LogError {
    /// Whether the process must end: everything but a full disk and a snapshot that was replaced.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Full { .. } | Self::NoSnapshot { .. })
    }

    /// Takes an error of the file system while `what` was being done.
    pub(super) fn io(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            Self::Full { what }
        } else {
            Self::Io { what, source }
        }
    }

    /// Damage in `file`.
    pub(super) fn corrupt(file: &str, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt {
            file: file.to_owned(),
            offset,
            what: what.into(),
        }
    }
}
