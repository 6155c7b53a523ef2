//! What a blob's content is: its size and hash, taken while it streams by.

use super::BlobError;
use crate::machine::Blob;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::Arc;

/// Size and SHA-256 of what went by.
#[derive(Default)]
pub(super) struct Hash {
    sha: Sha256,
    size: u64,
}

impl Hash {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.sha.update(bytes);
        self.size += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }

    /// As a blob at this address.
    pub(super) fn blob(self, uri: String) -> Blob {
        let mut hex = String::with_capacity(64);
        for byte in self.sha.finalize() {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Blob {
            uri: Arc::from(uri),
            sha256: Arc::from(hex),
            size: self.size,
        }
    }
}

/// Whether what was found is what was stated.
pub(super) fn check(expected: &Blob, found: &Blob) -> Result<(), BlobError> {
    // An input that the queue did not make may state neither; a stated hash comes with its size.
    let damaged = |found: String, expected: String, uri: &str| BlobError::Damaged {
        uri: uri.to_owned(),
        found,
        expected,
    };
    if expected.size != 0 && expected.size != found.size {
        return Err(damaged(
            format!("{} bytes", found.size),
            expected.size.to_string(),
            &expected.uri,
        ));
    }
    if !expected.sha256.is_empty() && expected.sha256 != found.sha256 {
        return Err(damaged(
            format!("SHA-256 {}", found.sha256),
            expected.sha256.to_string(),
            &expected.uri,
        ));
    }
    Ok(())
}
