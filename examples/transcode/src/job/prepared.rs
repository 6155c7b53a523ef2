//! A film made ready for the queue: planned, split, its pieces in the blob store.
//!
//! The store also keeps a record of it under the film's key, written last. Whoever starts the same film
//! again finds the record and neither decodes nor splits a second time.

use crate::ffmpeg::{Failure, Tools, probe};
use crate::film::plan::{self, Plan};
use crate::film::settings::Settings;
use crate::film::split;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use quorate_work_queue::agent::Blobs;
use quorate_work_queue::machine::Blob;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Changes when the same film with the same settings would be cut or encoded in another way.
const PLAN_VERSION: u32 = 1;
/// Bytes read at a time for the hash.
const HASH_BYTES: usize = 1 << 20;
/// Largest record: a plan of the most chunks and the addresses of their pieces.
const RECORD_BYTES_MAX: u64 = 64 << 20;

/// What a film is made of, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// Names the film: its content, what shall become of it, and where to.
    pub key: String,
    /// How it is cut.
    pub plan: Plan,
    /// How it is encoded.
    pub settings: Settings,
    /// One file a chunk.
    pub chunks: Vec<Blob>,
    /// The sound.
    pub audio: Option<Blob>,
    /// The plan as a file, for the join.
    pub plan_file: Blob,
}

/// Where the preparing of a film stands, for people.
pub enum Stage<'a> {
    /// The same film was prepared before.
    Found,
    /// Its frames and packets are being read.
    Probing,
    /// It is being split.
    Splitting(&'a Plan),
    /// Its pieces are being stored.
    Storing(&'a Plan),
}

/// The key of a film: a hash of its content, of the place of the result and of the settings.
pub fn key(
    source: &Path,
    output: &Path,
    settings: &Settings,
    salt: &str,
) -> anyhow::Result<String> {
    let mut content = Sha256::new();
    let mut file =
        File::open(source).with_context(|| format!("cannot open {}", source.display()))?;
    let mut buffer = vec![0; HASH_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => content.update(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", source.display()));
            }
        }
    }
    let settings = serde_json::to_vec(settings)?;
    let mut all = Sha256::new();
    for part in [
        &content.finalize()[..],
        output.as_os_str().as_encoded_bytes(),
        &settings,
        salt.as_bytes(),
        &PLAN_VERSION.to_be_bytes(),
    ] {
        all.update((part.len() as u64).to_be_bytes());
        all.update(part);
    }
    let mut hex = String::new();
    for byte in &all.finalize()[..16] {
        // Writing to a string cannot fail.
        let _written = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

/// Finds the film prepared, or prepares it. `scratch` is a directory with room for the split film.
pub async fn prepare(
    tools: &Tools,
    blobs: &Blobs,
    source: &Path,
    key: &str,
    settings: &Settings,
    scratch: &Path,
    mut stage: impl FnMut(Stage<'_>),
) -> anyhow::Result<Prepared> {
    if let Some(found) = find(blobs, key).await {
        stage(Stage::Found);
        return Ok(found);
    }
    stage(Stage::Probing);
    let plan = {
        let (tools, source, seconds) = (tools.clone(), source.to_owned(), settings.chunk_seconds);
        blocking(move || plan_film(&tools, &source, seconds)).await?
    };
    stage(Stage::Splitting(&plan));
    let pieces = {
        let (tools, source, plan) = (tools.clone(), source.to_owned(), plan.clone());
        let dir = scratch.join(key);
        blocking(move || split::split(&tools, &source, &plan, &dir)).await?
    };
    stage(Stage::Storing(&plan));
    let mut chunks = Vec::with_capacity(pieces.chunks.len());
    for piece in &pieces.chunks {
        chunks.push(store(blobs, key, piece).await?);
    }
    let audio = match &pieces.audio {
        Some(piece) => Some(store(blobs, key, piece).await?),
        None => None,
    };
    let plan_json = Bytes::from(serde_json::to_vec(&plan)?);
    let name = format!("films/{key}/{}", crate::item::PLAN_FILE);
    let prepared = Prepared {
        key: key.to_owned(),
        plan,
        settings: settings.clone(),
        chunks,
        audio,
        plan_file: blobs.put(&name, plan_json).await?,
    };
    put_record(blobs, &prepared).await?;
    // The pieces are in the store; what is left of the split is an empty directory.
    let _gone = tokio::fs::remove_dir_all(scratch.join(key)).await;
    Ok(prepared)
}

/// Puts rubbish in the place of a chunk, as if the film were damaged there, to show what becomes of it.
/// Answers its address.
pub async fn spoil(blobs: &Blobs, prepared: &mut Prepared, chunk: usize) -> anyhow::Result<String> {
    let count = prepared.chunks.len();
    let Some(blob) = prepared.chunks.get_mut(chunk) else {
        bail!("there is no chunk {chunk}: the film has {count}");
    };
    let name = blob.uri.strip_prefix(blobs.base()).unwrap_or(&blob.uri);
    *blob = blobs
        .put(name, Bytes::from_static(b"this is no film"))
        .await?;
    let uri = blob.uri.to_string();
    put_record(blobs, prepared).await?;
    Ok(uri)
}

async fn put_record(blobs: &Blobs, prepared: &Prepared) -> anyhow::Result<()> {
    let record = Bytes::from(serde_json::to_vec(prepared)?);
    blobs.put(&record_name(&prepared.key), record).await?;
    Ok(())
}

/// Reads what is in a film and decides where to cut it.
pub fn plan_film(
    tools: &Tools,
    source: &Path,
    chunk_seconds: Option<u32>,
) -> Result<Plan, Failure> {
    let streams = probe::streams(tools, source)?;
    let frames = probe::frames(tools, source)?;
    let packets = probe::packets(tools, source)?;
    plan::plan(&streams, &frames, &packets, chunk_seconds)
        .map_err(|error| Failure::unreadable(error.to_string()))
}

/// Runs what blocks where it may.
pub async fn blocking<T: Send + 'static, E: Into<anyhow::Error> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("a helper thread ended early")?
        .map_err(Into::into)
}

async fn find(blobs: &Blobs, key: &str) -> Option<Prepared> {
    let record = Blob {
        uri: blobs.uri(&record_name(key)).into(),
        sha256: "".into(),
        size: 0,
    };
    // A record that is missing or unreadable only means that the film is prepared anew.
    let bytes = blobs.get(&record, RECORD_BYTES_MAX).await.ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn record_name(key: &str) -> String {
    format!("films/{key}/prepared.json")
}

async fn store(blobs: &Blobs, key: &str, piece: &PathBuf) -> anyhow::Result<Blob> {
    let name = piece.file_name().unwrap_or_default().to_string_lossy();
    let blob = blobs.store(piece, &format!("films/{key}/{name}")).await?;
    // Frees the room at once: a film is as large again as its pieces.
    tokio::fs::remove_file(piece)
        .await
        .with_context(|| format!("cannot remove {}", piece.display()))?;
    Ok(blob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_names_content_place_and_settings() {
        let dir = tempfile::tempdir().unwrap();
        let film = dir.path().join("a");
        std::fs::write(&film, "film").unwrap();
        let settings = Settings::default();
        let base = key(&film, Path::new("/out"), &settings, "").unwrap();
        assert_eq!(base, key(&film, Path::new("/out"), &settings, "").unwrap());
        let other = Settings {
            crf: 23,
            ..Settings::default()
        };
        assert_ne!(
            base,
            key(&film, Path::new("/other"), &settings, "").unwrap()
        );
        assert_ne!(base, key(&film, Path::new("/out"), &other, "").unwrap());
        assert_ne!(
            base,
            key(&film, Path::new("/out"), &settings, "again").unwrap()
        );
        std::fs::write(&film, "other film").unwrap();
        assert_ne!(base, key(&film, Path::new("/out"), &settings, "").unwrap());
    }
}
