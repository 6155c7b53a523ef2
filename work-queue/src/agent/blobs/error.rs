//! Why a blob could not be fetched or stored.

use std::io;
use std::path::PathBuf;

/// Why a blob could not be fetched or stored.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The address of a store is not one.
    #[error("{0:?} is not a blob store; use file:///absolute/path")]
    NotAStore(String),
    /// A store of a kind that this build cannot reach.
    #[error(
        "{0:?}: only directories (file:///absolute/path) are built in so far; mount the bucket, or use a shared directory"
    )]
    Unsupported(String),
    /// The store's directory cannot be used.
    #[error(
        "the blob store {path}: {error}; create it, or give this user the right to write there"
    )]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A blob of another store.
    #[error(
        "{uri:?} is not in the blob store {store}; copy it there and enqueue the job with that address"
    )]
    Elsewhere {
        /// The blob.
        uri: String,
        /// The agent's store.
        store: String,
    },
    /// No store is configured.
    #[error("the job has files and this worker has no blob store; set QUORATE_BLOBS")]
    NoStore,
    /// It is not there.
    #[error("{0:?} is not in the blob store; it was deleted or not written yet")]
    Missing(String),
    /// It is not what it should be.
    #[error("{uri:?} has {found} and should have {expected}; it was changed or damaged")]
    Damaged {
        /// The blob.
        uri: String,
        /// Size or hash as found.
        found: String,
        /// As expected.
        expected: String,
    },
    /// The store failed.
    #[error("{what}: {error}{}", disk_hint(error))]
    Store {
        /// What was being done.
        what: String,
        /// What the store said.
        error: object_store::Error,
    },
    /// A file of this machine failed.
    #[error("{}: {error}{}", path.display(), disk_hint(error))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl BlobError {
    /// Whether another attempt may succeed: not when the address itself is wrong.
    pub fn is_transient(&self) -> bool {
        !matches!(
            self,
            Self::NotAStore(_) | Self::Unsupported(_) | Self::Elsewhere { .. }
        )
    }
}

/// What to do about a full disk, for the end of a message.
pub(crate) fn disk_hint(error: &(dyn std::error::Error + 'static)) -> &'static str {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| {
            matches!(
                io.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        }) {
            return " (the disk is full: free space, or give the worker another directory)";
        }
        // An error within an io::Error is not among its sources.
        next = match io.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_recognised_however_deep_its_error_lies() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let deep = io::Error::other(object_store::Error::Generic {
            store: "x",
            source: Box::new(full()),
        });
        assert!(disk_hint(&full()).contains("free space"));
        assert!(disk_hint(&deep).contains("free space"));
        assert_eq!(disk_hint(&io::Error::from(io::ErrorKind::NotFound)), "");
    }
}
