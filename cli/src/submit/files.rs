//! Handing files over to workers, by way of the blob store that both can reach.

use super::source::{File, Item};
use quorate_work_queue::agent::Blobs;
use quorate_work_queue::machine::Blob;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Where copies go within the store.
const FOLDER: &str = "submitted";

/// Makes every file of these items a blob: one that lies in the store stays where it is, any other is
/// copied there.
pub(crate) async fn hand_over(store: Option<&Blobs>, items: &mut [Item]) -> Result<(), String> {
    for file in items.iter_mut().filter_map(|item| item.file.as_mut()) {
        let Some(store) = store else {
            return Err(
                "files reach workers by a blob store: set --blobs (QUORATE_BLOBS) to file:///DIR, a \
                 directory that workers share; files that lie in it are not copied"
                    .to_owned(),
            );
        };
        file.blob = Some(blob(store, file).await?);
    }
    Ok(())
}

async fn blob(store: &Blobs, file: &File) -> Result<Blob, String> {
    let path = file
        .path
        .canonicalize()
        .map_err(|error| format!("{}: {error}", file.path.display()))?;
    if let Ok(name) = path.strip_prefix(store.root()) {
        return Ok(Blob {
            uri: Arc::from(store.uri(&name.to_string_lossy())),
            // Unknown: reading every film through before the first job starts is too dear.
            sha256: Arc::from(""),
            size: file.size,
        });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let copy = format!("{FOLDER}/{}/{name}", version(file));
    store
        .store(&path, &copy)
        .await
        .map_err(|error| error.to_string())
}

/// Tells this state of this file from others, so that submitting it again overwrites its own copy and
/// no other.
fn version(file: &File) -> String {
    const BYTES: usize = 8;
    let modified = std::fs::metadata(&file.path)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(file.path.as_os_str().as_encoded_bytes());
    hash.update(file.size.to_le_bytes());
    hash.update(modified.as_nanos().to_le_bytes());
    hash.finalize()
        .iter()
        .take(BYTES)
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn item(path: &Path) -> Item {
        Item {
            index: 0,
            text: path.display().to_string(),
            json: None,
            file: Some(File {
                path: path.to_owned(),
                size: 4,
                blob: None,
            }),
        }
    }

    #[tokio::test]
    async fn a_file_in_the_store_stays_and_any_other_is_copied_with_its_checksum() {
        let (shared, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Blobs::open(&format!("file://{}", shared.path().display())).unwrap();
        let (inside, outside) = (shared.path().join("a b%.mp4"), own.path().join("c.mp4"));
        for path in [&inside, &outside] {
            std::fs::write(path, "film").unwrap();
        }
        let mut items = [item(&inside), item(&outside), item(&outside)];
        hand_over(Some(&store), &mut items).await.unwrap();
        let blobs: Vec<Blob> = items
            .into_iter()
            .map(|item| item.file.unwrap().blob.unwrap())
            .collect();

        assert_eq!(blobs[0].size, 4);
        assert!(blobs[0].sha256.is_empty() && !blobs[1].sha256.is_empty());
        assert_eq!(
            blobs[1], blobs[2],
            "the same state of the same file has one copy"
        );
        for blob in &blobs[..2] {
            // As a worker does it.
            let to = own.path().join("fetched");
            store.fetch(blob, &to).await.unwrap();
            assert_eq!(std::fs::read(&to).unwrap(), b"film", "{}", blob.uri);
        }
        assert!(
            hand_over(None, &mut [item(&inside)])
                .await
                .unwrap_err()
                .contains("--blobs")
        );
    }
}
