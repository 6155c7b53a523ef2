//! Checkpoints: the files a command leaves in `WORK_CHECKPOINT_DIR`, handed to the next attempt.
//!
//! A command writes a file under another name and renames it into place, so that what is seen is
//! whole. Small files travel in the checkpoint itself; what does not fit goes to the blob store under
//! the attempt's prefix and the checkpoint holds its address.

use super::blobs::{BlobError, Blobs};
use super::files::{FileError, list};
use crate::machine::{Blob, limits};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Files of one checkpoint.
const FILES_MAX: usize = 32;
/// Bytes of files that travel in the checkpoint itself; base64 and names must fit beside them.
const INLINE_BYTES_MAX: u64 = limits::RESULT_BYTES_MAX as u64 / 2;
/// Files that are being written, by their name.
const UNFINISHED: [&str; 2] = [".tmp", ".part"];

#[derive(Serialize, Deserialize)]
struct Packed {
    version: u32,
    files: Vec<PackedFile>,
}

#[derive(Serialize, Deserialize)]
struct PackedFile {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sha256: String,
    #[serde(default)]
    size: u64,
}

const VERSION: u32 = 1;

/// What the directory looked like: names, sizes and times.
type Look = Vec<(String, PathBuf, u64, Option<SystemTime>)>;

/// The checkpoints of one attempt.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    dir: PathBuf,
    prefix: String,
    saved: Look,
    seen: Look,
    number: u32,
}

impl Checkpoints {
    /// For an attempt whose blobs go under `prefix`. Call it after [`restore`].
    pub(crate) fn new(dir: &Path, prefix: &str) -> Self {
        let saved = look(dir).unwrap_or_default();
        Self {
            dir: dir.to_owned(),
            prefix: format!("{prefix}/checkpoint"),
            seen: saved.clone(),
            saved,
            number: 0,
        }
    }

    /// The checkpoint to save, if the files changed since the last one. While the command runs they
    /// must also have kept still since the last call; with `last` they are taken as they are.
    pub(crate) async fn changed(
        &mut self,
        blobs: Option<&Blobs>,
        last: bool,
    ) -> Result<Option<Bytes>, FileError> {
        let now = look(&self.dir)?;
        let still = now == self.seen;
        self.seen.clone_from(&now);
        if now == self.saved || !(still || last) {
            return Ok(None);
        }
        self.number += 1;
        let prefix = format!("{}/{}", self.prefix, self.number);
        let packed = pack(&now, blobs, &prefix).await?;
        self.saved = now;
        Ok(Some(packed))
    }
}

fn look(dir: &Path) -> Result<Look, FileError> {
    let files = list(dir, FILES_MAX)?;
    Ok(files
        .into_iter()
        .filter(|(name, ..)| !UNFINISHED.iter().any(|end| name.ends_with(end)))
        .map(|(name, path, size)| {
            let time = path.metadata().and_then(|meta| meta.modified()).ok();
            (name, path, size, time)
        })
        .collect())
}

async fn pack(files: &Look, blobs: Option<&Blobs>, prefix: &str) -> Result<Bytes, FileError> {
    let mut packed = Packed {
        version: VERSION,
        files: Vec::with_capacity(files.len()),
    };
    let mut left = INLINE_BYTES_MAX;
    for (name, path, size, _) in files {
        if *size <= left {
            left -= size;
            let bytes = std::fs::read(path).map_err(|error| FileError::Io {
                path: path.clone(),
                error,
            })?;
            packed.files.push(PackedFile {
                name: name.clone(),
                base64: Some(STANDARD.encode(&bytes)),
                uri: None,
                sha256: String::new(),
                size: *size,
            });
        } else {
            let blobs = blobs.ok_or(BlobError::NoStore)?;
            let blob = blobs.store(path, &format!("{prefix}/{name}")).await?;
            packed.files.push(PackedFile {
                name: name.clone(),
                base64: None,
                uri: Some(blob.uri.to_string()),
                sha256: blob.sha256.to_string(),
                size: blob.size,
            });
        }
    }
    // Our own type of strings and numbers.
    let bytes = serde_json::to_vec(&packed).unwrap_or_default();
    Ok(Bytes::from(bytes))
}

/// Puts the files of an earlier attempt's checkpoint into `dir`. A checkpoint that is not one of ours
/// (a Rust worker's, say) becomes the single file `checkpoint`.
pub(crate) async fn restore(
    data: &Bytes,
    dir: &Path,
    blobs: Option<&Blobs>,
) -> Result<(), FileError> {
    let write = |path: PathBuf, bytes: &[u8]| {
        std::fs::write(&path, bytes).map_err(|error| FileError::Io { path, error })
    };
    let packed = match serde_json::from_slice::<Packed>(data) {
        Ok(packed) if packed.version == VERSION => packed,
        _ => return write(dir.join("checkpoint"), data),
    };
    for file in packed.files.into_iter().take(FILES_MAX) {
        let inside = file
            .name
            .split('/')
            .all(|part| !matches!(part, "" | "." | ".."));
        if !inside {
            continue;
        }
        let path = dir.join(&file.name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| FileError::Io {
                path: parent.to_owned(),
                error,
            })?;
        }
        if let Some(uri) = file.uri {
            let blob = Blob {
                uri: Arc::from(uri),
                sha256: Arc::from(file.sha256),
                size: file.size,
            };
            let blobs = blobs.ok_or(BlobError::NoStore)?;
            blobs.fetch(&blob, &path).await?;
        } else if let Some(bytes) = file.base64.and_then(|text| STANDARD.decode(text).ok()) {
            write(path, &bytes)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_small_and_large_come_back_in_the_next_attempt_and_only_changes_are_saved() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(&format!("file://{}/store", dir.path().display())).unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        std::fs::create_dir_all(&one).unwrap();
        std::fs::create_dir_all(&two).unwrap();
        let mut checkpoints = Checkpoints::new(&one, "jobs/j/1");
        assert_eq!(checkpoints.changed(Some(&blobs), true).await.unwrap(), None);
        std::fs::write(one.join("small"), "s").unwrap();
        std::fs::create_dir(one.join("sub")).unwrap();
        std::fs::write(one.join("sub/large"), vec![9; 200_000]).unwrap();
        std::fs::write(one.join("half.tmp"), "x").unwrap();
        assert_eq!(
            checkpoints.changed(Some(&blobs), false).await.unwrap(),
            None,
            "it may still be written to"
        );
        let data = checkpoints
            .changed(Some(&blobs), false)
            .await
            .unwrap()
            .unwrap();
        assert!(data.len() <= limits::RESULT_BYTES_MAX);
        assert_eq!(checkpoints.changed(Some(&blobs), true).await.unwrap(), None);

        restore(&data, &two, Some(&blobs)).await.unwrap();
        assert_eq!(std::fs::read(two.join("small")).unwrap(), b"s");
        assert_eq!(
            std::fs::read(two.join("sub/large")).unwrap(),
            vec![9; 200_000]
        );
        assert!(!two.join("half.tmp").exists());
    }

    #[tokio::test]
    async fn a_checkpoint_of_another_kind_is_handed_on_as_a_file_and_no_name_escapes() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        restore(&Bytes::from_static(b"raw"), &inner, None)
            .await
            .unwrap();
        assert_eq!(std::fs::read(inner.join("checkpoint")).unwrap(), b"raw");
        let evil = r#"{"version":1,"files":[{"name":"../evil","base64":"eA==","size":1},{"name":"/evil2","base64":"eA==","size":1}]}"#;
        restore(&Bytes::from(evil), &inner, None).await.unwrap();
        assert!(!dir.path().join("evil").exists() && !Path::new("/evil2").exists());
    }
}
