//! Files outside the queue: fetched before a job, stored after it, both as streams with their
//! SHA-256 taken on the way.
//!
//! A store is a directory (local, or shared between machines) behind the crate `object_store`; its
//! address is `file:///path`. A blob's address is that of its store followed by its name. Only blobs
//! of the agent's own store are read: a payload must not make a worker hand out files of its host.

mod address;
mod error;
mod hash;

pub use error::BlobError;
pub(crate) use error::disk_hint;

use crate::machine::Blob;
use address::{decode, encode};
use bytes::Bytes;
use futures::StreamExt;
use hash::{Hash, check};
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes read, hashed and written at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// A store of blobs.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// Its address, ending with `/`.
    base: String,
    root: PathBuf,
}

impl Blobs {
    /// Opens the store at `uri` and tries that it can be written to. A directory that is not there is
    /// created.
    pub fn open(uri: &str) -> Result<Self, BlobError> {
        let Some(path) = uri.strip_prefix("file://") else {
            return Err(match uri.split_once("://") {
                Some(("s3" | "s3a" | "gs" | "az" | "abfs" | "http" | "https", _)) => {
                    BlobError::Unsupported(uri.to_owned())
                }
                _ => BlobError::NotAStore(uri.to_owned()),
            });
        };
        let root = decode(path)
            .map(PathBuf::from)
            .filter(|root| root.is_absolute())
            .ok_or_else(|| BlobError::NotAStore(uri.to_owned()))?;
        let unusable = |error| BlobError::Unusable {
            path: root.clone(),
            error,
        };
        std::fs::create_dir_all(&root).map_err(unusable)?;
        // Workers share the directory, and in containers they share the process id 1 too.
        let probe = root.join(format!(".quorate-probe-{:016x}", rand::random::<u64>()));
        std::fs::write(&probe, b"").map_err(unusable)?;
        std::fs::remove_file(&probe).map_err(unusable)?;
        let root = root.canonicalize().map_err(unusable)?;
        // Published files are synced, name and all, before their address is given to anyone.
        let store = LocalFileSystem::new_with_prefix(&root)
            .map_err(|error| BlobError::Store {
                what: format!("opening {}", root.display()),
                error,
            })?
            .with_fsync(true);
        let mut base = format!("file://{}", encode(&root.to_string_lossy()));
        if !base.ends_with('/') {
            base.push('/');
        }
        Ok(Self {
            store: Arc::new(store),
            base,
            root,
        })
    }

    /// The store's address, ending with `/`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The directory, for commands that read blobs in place.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The address of the blob `name`.
    pub fn uri(&self, name: &str) -> String {
        format!("{}{}", self.base, encode(name))
    }

    /// The name within the store of a blob's address, or of a bare name.
    fn location(&self, uri: &str) -> Result<Location, BlobError> {
        let elsewhere = || BlobError::Elsewhere {
            uri: uri.to_owned(),
            store: self.base.clone(),
        };
        let name = if uri.contains("://") {
            // The store may be reached by another name than the one it was opened with (a link).
            let path = uri.strip_prefix("file://").and_then(decode);
            match uri.strip_prefix(&self.base) {
                Some(name) => decode(name).ok_or_else(elsewhere)?,
                None => {
                    let path = path.ok_or_else(elsewhere)?;
                    let path = Path::new(&path).canonicalize().map_err(|_| elsewhere())?;
                    let name = path.strip_prefix(&self.root).map_err(|_| elsewhere())?;
                    name.to_string_lossy().into_owned()
                }
            }
        } else {
            uri.to_owned()
        };
        let inside = !name.is_empty()
            && !name.starts_with('/')
            && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !inside {
            return Err(elsewhere());
        }
        Location::parse(&name).map_err(|_| elsewhere())
    }

    /// Writes the blob to the file `to`, which appears whole or not at all. Checks the size and hash
    /// that `blob` states and returns those found.
    pub async fn fetch(&self, blob: &Blob, to: &Path) -> Result<Blob, BlobError> {
        let location = self.location(&blob.uri)?;
        let part = part_of(to);
        let fetched = self.fetch_part(blob, &location, &part).await;
        let fetched = match fetched {
            Ok(fetched) => tokio::fs::rename(&part, to)
                .await
                .map(|()| fetched)
                .map_err(|error| BlobError::Io {
                    path: to.to_owned(),
                    error,
                }),
            Err(error) => Err(error),
        };
        if fetched.is_err() {
            let _ = tokio::fs::remove_file(&part).await;
        }
        fetched
    }

    async fn fetch_part(
        &self,
        blob: &Blob,
        location: &Location,
        part: &Path,
    ) -> Result<Blob, BlobError> {
        let failed = |error| match error {
            object_store::Error::NotFound { .. } => BlobError::Missing(blob.uri.to_string()),
            error => BlobError::Store {
                what: format!("reading {}", blob.uri),
                error,
            },
        };
        let got = self.store.get(location).await.map_err(failed)?;
        let mut hash = Hash::default();
        match got.payload {
            GetResultPayload::File(file, _) => {
                let part = part.to_owned();
                hash = tokio::task::spawn_blocking(move || copy(file, &part))
                    .await
                    .map_err(|error| BlobError::Io {
                        path: PathBuf::from(blob.uri.as_ref()),
                        error: io::Error::other(error),
                    })??;
            }
            GetResultPayload::Stream(mut stream) => {
                let io = |error| BlobError::Io {
                    path: part.to_owned(),
                    error,
                };
                let mut file = tokio::fs::File::create(part).await.map_err(io)?;
                while let Some(chunk) = stream.next().await {
                    let chunk = chunk.map_err(failed)?;
                    hash.update(&chunk);
                    file.write_all(&chunk).await.map_err(io)?;
                }
                file.flush().await.map_err(io)?;
            }
        }
        let found = hash.blob(blob.uri.to_string());
        check(blob, &found)?;
        Ok(found)
    }

    /// Stores the file `from` under `name`, whole or not at all, and gives its address, size and hash.
    pub async fn store(&self, from: &Path, name: &str) -> Result<Blob, BlobError> {
        let uri = self.uri(name);
        let io = |error| BlobError::Io {
            path: from.to_owned(),
            error,
        };
        let failed = |error| BlobError::Store {
            what: format!("writing {uri}"),
            error,
        };
        let location = self.location(name)?;
        let mut file = tokio::fs::File::open(from).await.map_err(io)?;
        let mut hash = Hash::default();
        let mut writer = BufWriter::new(Arc::clone(&self.store), location);
        loop {
            let mut chunk = bytes::BytesMut::with_capacity(CHUNK_BYTES);
            while chunk.len() < CHUNK_BYTES && file.read_buf(&mut chunk).await.map_err(io)? > 0 {}
            if chunk.is_empty() {
                break;
            }
            hash.update(&chunk);
            if let Err(error) = writer.put(chunk.freeze()).await {
                let _ = writer.abort().await;
                return Err(failed(error));
            }
        }
        writer.shutdown().await.map_err(|error| BlobError::Io {
            path: self.root.clone(),
            error,
        })?;
        Ok(hash.blob(uri))
    }

    /// Stores bytes under `name`.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<Blob, BlobError> {
        let uri = self.uri(name);
        let location = self.location(name)?;
        let mut hash = Hash::default();
        hash.update(&bytes);
        self.store
            .put(&location, bytes.into())
            .await
            .map_err(|error| BlobError::Store {
                what: format!("writing {uri}"),
                error,
            })?;
        Ok(hash.blob(uri))
    }

    /// The content of a small blob, at most `bytes_max` bytes, checked against size and hash.
    pub async fn get(&self, blob: &Blob, bytes_max: u64) -> Result<Bytes, BlobError> {
        let failed = |error| match error {
            object_store::Error::NotFound { .. } => BlobError::Missing(blob.uri.to_string()),
            error => BlobError::Store {
                what: format!("reading {}", blob.uri),
                error,
            },
        };
        let location = self.location(&blob.uri)?;
        let got = self.store.get(&location).await.map_err(failed)?;
        if got.meta.size > bytes_max {
            return Err(BlobError::Damaged {
                uri: blob.uri.to_string(),
                found: format!("{} bytes", got.meta.size),
                expected: format!("at most {bytes_max}"),
            });
        }
        let bytes = got.bytes().await.map_err(failed)?;
        let mut hash = Hash::default();
        hash.update(&bytes);
        check(blob, &hash.blob(blob.uri.to_string()))?;
        Ok(bytes)
    }
}

fn copy(mut from: std::fs::File, to: &Path) -> Result<Hash, BlobError> {
    let io = |error| BlobError::Io {
        path: to.to_owned(),
        error,
    };
    let mut file = std::fs::File::create(to).map_err(io)?;
    let mut hash = Hash::default();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = io::Read::read(&mut from, &mut buffer).map_err(io)?;
        let chunk = buffer.get(..read).unwrap_or_default();
        if chunk.is_empty() {
            return Ok(hash);
        }
        hash.update(chunk);
        io::Write::write_all(&mut file, chunk).map_err(io)?;
    }
}

/// A file's name while it is being written.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(uri: &str) -> Blob {
        Blob {
            uri: Arc::from(uri),
            sha256: Arc::from(""),
            size: 0,
        }
    }

    /// Workers on several hosts, or in containers, try the same directory in the same moment.
    #[test]
    fn a_store_may_be_opened_by_many_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let uri = format!("file://{}/blobs", dir.path().display());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..200).for_each(|_| drop(Blobs::open(&uri).unwrap())));
            }
        });
        let left = std::fs::read_dir(dir.path().join("blobs")).unwrap();
        assert_eq!(left.count(), 0);
    }

    #[tokio::test]
    async fn what_is_stored_comes_back_whole_with_its_hash_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a b%ü");
        let blobs = Blobs::open(&format!("file://{}", encode(root.to_str().unwrap()))).unwrap();
        let from = dir.path().join("from");
        let content: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&from, &content).unwrap();
        let stored = blobs.store(&from, "x/ü 1.bin").await.unwrap();
        assert_eq!(stored.size, 3_000_000);
        assert!(stored.uri.ends_with("/x/%C3%BC%201.bin"), "{}", stored.uri);
        let to = dir.path().join("to");
        assert_eq!(blobs.fetch(&stored, &to).await.unwrap(), stored);
        assert_eq!(std::fs::read(&to).unwrap(), content);

        std::fs::remove_file(&to).unwrap();
        std::fs::write(root.join("x/ü 1.bin"), vec![7; 3_000_000]).unwrap();
        let error = blobs.fetch(&stored, &to).await.unwrap_err();
        assert!(matches!(error, BlobError::Damaged { .. }), "{error}");
        assert!(
            !to.exists() && !part_of(&to).exists(),
            "nothing half is left"
        );
    }

    #[tokio::test]
    async fn files_outside_the_store_are_never_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        let root = dir.path().join("store");
        let base = format!("file://{}", root.display());
        let blobs = Blobs::open(&base).unwrap();
        let to = dir.path().join("to");
        for uri in [
            "file:///etc/passwd".to_owned(),
            format!("{base}/../secret"),
            format!("{base}/%2e%2e/secret"),
            format!("{base}//etc/passwd"),
            format!("{base}/"),
            "../secret".to_owned(),
            "/etc/passwd".to_owned(),
            "s3://bucket/x".to_owned(),
            String::new(),
        ] {
            let error = blobs.fetch(&blob(&uri), &to).await.unwrap_err();
            assert!(
                matches!(error, BlobError::Elsewhere { .. }),
                "{uri}: {error}"
            );
            assert!(!error.is_transient());
        }
        let error = blobs.fetch(&blob("nothing"), &to).await.unwrap_err();
        assert!(matches!(error, BlobError::Missing(_)) && error.is_transient());
    }

    #[test]
    fn a_store_that_cannot_be_used_says_what_to_do() {
        for (uri, says) in [
            ("s3://bucket/x", "file:///absolute/path"),
            ("/tmp/x", "file:///absolute/path"),
            ("file://relative", "file:///absolute/path"),
            ("file:///proc/none/x", "create it"),
        ] {
            let error = Blobs::open(uri).unwrap_err().to_string();
            assert!(error.contains(says), "{uri}: {error}");
        }
    }
}
