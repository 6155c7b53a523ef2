//! The files of an attempt: inputs in, outputs out, the manifest of a join, checkpoints.

use super::blobs::{BlobError, Blobs, disk_hint};
use super::workdir::AttemptDir;
use crate::machine::{Answer, BatchId, Blob, ChildView, Lease, Query, State, limits};
use crate::service::{Caller, QueueService};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quorate_core::error::Error;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most files of one output directory: what a settlement may name.
const OUTPUTS_MAX: usize = limits::INPUTS_MAX;
/// Deepest output, and most directories looked into.
const DIRECTORIES_MAX: usize = 1_000;
/// The output that becomes the result instead of a blob.
const RESULT: &str = "result.json";
/// Children asked for at a time.
const PAGE: u32 = 500;
/// Time for one page of the manifest.
const PAGE_TIMEOUT: Duration = Duration::from_secs(15);

/// Why the files of an attempt could not be had or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("{}: {error}{}", path.display(), disk_hint(error))]
    Io { path: PathBuf, error: io::Error },
    #[error("the manifest of {batch} could not be read: {error}")]
    Manifest { batch: BatchId, error: Error },
    #[error(
        "WORK_OUTPUT_DIR has more than {OUTPUTS_MAX} files; pack them into one, or enqueue smaller jobs"
    )]
    TooMany,
    #[error("result.json is not JSON: {0}")]
    NotJson(serde_json::Error),
    #[error(
        "the output {0:?} is neither a file nor a directory, or its name is not text; write plain files"
    )]
    Strange(PathBuf),
}

impl FileError {
    /// Whether another attempt may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Blob(error) => error.is_transient(),
            Self::Io { .. } | Self::Manifest { .. } | Self::NotJson(_) => true,
            Self::TooMany | Self::Strange(_) => false,
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }
}

/// Where the blobs of one attempt go: apart from those of every other attempt, so that a zombie never
/// overwrites what the winner wrote.
pub(crate) fn prefix(lease: &Lease) -> String {
    format!("jobs/{}/{}", lease.job, lease.id.token())
}

/// The file name of an input: the last segment of its address, its index in front when another input
/// has the same.
pub(crate) fn input_name(uri: &str, index: usize, taken: &mut BTreeSet<String>) -> String {
    let segment = uri.rsplit('/').next().unwrap_or_default();
    let plain: String = segment
        .chars()
        .filter(|c| !c.is_control() && *c != '/')
        .take(100)
        .collect();
    let mut name = match plain.as_str() {
        "" | "." | ".." => index.to_string(),
        _ => plain,
    };
    while !taken.insert(name.clone()) {
        name = format!("{index}-{name}");
    }
    name
}

/// Fetches the inputs into their directory.
pub(crate) async fn fetch_inputs(
    blobs: Option<&Blobs>,
    inputs: &[Blob],
    dir: &Path,
) -> Result<(), FileError> {
    let mut taken = BTreeSet::new();
    for (index, blob) in inputs.iter().enumerate() {
        let blobs = blobs.ok_or(BlobError::NoStore)?;
        let name = input_name(&blob.uri, index, &mut taken);
        blobs.fetch(blob, &dir.join(name)).await?;
    }
    Ok(())
}

/// One line of a manifest.
#[derive(Serialize)]
struct ManifestLine<'a> {
    index: u32,
    job_id: String,
    state: &'static str,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_base64: Option<String>,
    outputs: Vec<ManifestBlob>,
}

#[derive(Serialize)]
struct ManifestBlob {
    uri: String,
    sha256: String,
    size: u64,
    /// The file in WORK_INPUT_DIR it was fetched to.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// Writes the manifest of a join, one JSON line a child, by index, and fetches the children's outputs
/// as `INDEX-NAME` if `blobs` is given.
pub(crate) async fn write_manifest(
    service: &dyn QueueService,
    batch: BatchId,
    dir: &AttemptDir,
    blobs: Option<&Blobs>,
) -> Result<(), FileError> {
    let path = dir.manifest();
    let mut file = io::BufWriter::new(std::fs::File::create(&path).map_err(FileError::io(&path))?);
    let mut from = 0;
    loop {
        let (children, next) = page(service, batch, from)
            .await
            .map_err(|error| FileError::Manifest { batch, error })?;
        for child in &children {
            let outputs = manifest_blobs(child, &dir.input(), blobs).await?;
            write_line(&mut file, child, outputs).map_err(FileError::io(&path))?;
        }
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    file.flush().map_err(FileError::io(&path))
}

async fn page(
    service: &dyn QueueService,
    batch: BatchId,
    from: u32,
) -> Result<(Vec<ChildView>, Option<u32>), Error> {
    quorate_core::retry::idempotent(PAGE_TIMEOUT * 2, || async {
        let caller = Caller {
            timeout: PAGE_TIMEOUT,
            ..Caller::default()
        };
        let query = Query::BatchResults {
            batch,
            from,
            limit: PAGE,
        };
        match service.query(&caller, query).await? {
            Answer::BatchResults(children, next) => Ok((children, next)),
            _ => Err(crate::queue::misfit()),
        }
    })
    .await
}

async fn manifest_blobs(
    child: &ChildView,
    input: &Path,
    blobs: Option<&Blobs>,
) -> Result<Vec<ManifestBlob>, FileError> {
    let mut taken = BTreeSet::new();
    let mut outputs = Vec::with_capacity(child.outputs.len());
    for (index, blob) in child.outputs.iter().enumerate() {
        let name = input_name(&blob.uri, index, &mut taken);
        let mut path = None;
        if let Some(blobs) = blobs {
            let to = input.join(format!("{:06}-{name}", child.index));
            blobs.fetch(blob, &to).await?;
            path = Some(to.to_string_lossy().into_owned());
        }
        outputs.push(ManifestBlob {
            uri: blob.uri.to_string(),
            sha256: blob.sha256.to_string(),
            size: blob.size,
            path,
        });
    }
    Ok(outputs)
}

fn write_line(
    out: &mut impl Write,
    child: &ChildView,
    outputs: Vec<ManifestBlob>,
) -> io::Result<()> {
    let json = child
        .result
        .as_deref()
        .filter(|_| child.result_is_json)
        .and_then(|result| serde_json::from_slice::<&RawValue>(result).ok())
        // A line is one line: JSON with line ends in it goes as base64.
        .filter(|result| !result.get().contains('\n'));
    let line = ManifestLine {
        index: child.index,
        job_id: child.job.to_string(),
        state: state_name(child.state),
        attempts: child.attempts,
        result: json,
        result_base64: child
            .result
            .as_ref()
            .filter(|_| json.is_none())
            .map(|result| STANDARD.encode(result)),
        outputs,
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Delayed => "delayed",
        State::Leased => "leased",
        State::Completed => "completed",
        State::Dead => "dead",
        State::Cancelled => "cancelled",
    }
}

/// What came out of an attempt.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// `result.json`, or nothing.
    pub(crate) result: Bytes,
    /// The other files.
    pub(crate) outputs: Vec<Blob>,
}

/// Stores the files of the output directory, in the order of their names.
pub(crate) async fn store_outputs(
    blobs: Option<&Blobs>,
    dir: &Path,
    prefix: &str,
) -> Result<Outcome, FileError> {
    let mut outcome = Outcome::default();
    for (name, path, size) in list(dir, OUTPUTS_MAX + 1)? {
        let small = size <= u64::try_from(limits::RESULT_BYTES_MAX).unwrap_or(u64::MAX);
        if name == RESULT && small {
            let result = std::fs::read(&path).map_err(FileError::io(&path))?;
            serde_json::from_slice::<serde::de::IgnoredAny>(&result).map_err(FileError::NotJson)?;
            outcome.result = minified(&result);
            continue;
        }
        if outcome.outputs.len() == OUTPUTS_MAX {
            return Err(FileError::TooMany);
        }
        let blobs = blobs.ok_or(BlobError::NoStore)?;
        let blob = blobs.store(&path, &format!("{prefix}/{name}")).await?;
        outcome.outputs.push(blob);
    }
    Ok(outcome)
}

/// A JSON text without the spaces and line ends between its tokens, so that it fits on one line of a
/// manifest and REST can show it within its answers byte for byte.
fn minified(json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_string = *byte == b'"';
        }
        out.push(*byte);
    }
    Bytes::from(out)
}

/// All files below `dir` with their names relative to it, sorted; more than `max` is an error.
pub(crate) fn list(dir: &Path, max: usize) -> Result<Vec<(String, PathBuf, u64)>, FileError> {
    let mut files = Vec::new();
    let mut dirs = vec![(String::new(), dir.to_owned())];
    let mut looked = 0;
    while let Some((prefix, dir)) = dirs.pop() {
        looked += 1;
        if looked > DIRECTORIES_MAX {
            return Err(FileError::TooMany);
        }
        for entry in std::fs::read_dir(&dir).map_err(FileError::io(&dir))? {
            let entry = entry.map_err(FileError::io(&dir))?;
            let path = entry.path();
            let Ok(name) = entry.file_name().into_string() else {
                return Err(FileError::Strange(path));
            };
            // Links are not followed: a command hands out what it wrote, not what it points at.
            let meta = path.symlink_metadata().map_err(FileError::io(&path))?;
            let name = format!("{prefix}{name}");
            if meta.is_dir() {
                dirs.push((format!("{name}/"), path));
            } else if meta.is_file() {
                files.push((name, path, meta.len()));
            } else {
                return Err(FileError::Strange(path));
            }
            if files.len() > max {
                return Err(FileError::TooMany);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_named_by_their_last_segment_and_never_leave_their_directory() {
        let mut taken = BTreeSet::new();
        let mut name = |uri: &str, index| input_name(uri, index, &mut taken);
        assert_eq!(name("file:///b/film.mp4", 0), "film.mp4");
        assert_eq!(name("file:///c/film.mp4", 1), "1-film.mp4");
        assert_eq!(name("file:///c/", 2), "2");
        assert_eq!(name("file:///c/..", 3), "3");
        assert_eq!(name(".", 4), "4");
        assert_eq!(name("a\u{0}b", 5), "ab");
        assert_eq!(name("file:///d/7-ab", 6), "7-ab");
        assert_eq!(name("file:///e/ab", 7), "7-7-ab");
    }

    #[tokio::test]
    async fn outputs_go_under_the_prefix_of_their_attempt_and_result_json_becomes_the_result() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(&format!("file://{}/store", dir.path().display())).unwrap();
        let out = dir.path().join("out");
        std::fs::create_dir_all(out.join("sub")).unwrap();
        std::fs::write(out.join("b.bin"), "bb").unwrap();
        std::fs::write(out.join("sub/a.bin"), "a").unwrap();
        std::fs::write(out.join(RESULT), "{\"n\": 1}").unwrap();
        let outcome = store_outputs(Some(&blobs), &out, "jobs/j1/7")
            .await
            .unwrap();
        assert_eq!(&outcome.result[..], b"{\"n\":1}");
        let names: Vec<_> = outcome.outputs.iter().map(|b| b.uri.to_string()).collect();
        assert_eq!(
            names,
            [
                blobs.uri("jobs/j1/7/b.bin"),
                blobs.uri("jobs/j1/7/sub/a.bin")
            ]
        );
        let none = store_outputs(None, &out, "x").await.unwrap_err();
        assert!(none.to_string().contains("QUORATE_BLOBS"), "{none}");
        std::fs::write(out.join(RESULT), "{").unwrap();
        let bad = store_outputs(Some(&blobs), &out, "x").await.unwrap_err();
        assert!(matches!(bad, FileError::NotJson(_)));
    }

    #[test]
    fn spaces_go_between_tokens_and_stay_within_strings() {
        let json = b" { \"a b\" :\n\t[1, \"\\\" \\\\\" , 2] }\n";
        assert_eq!(&minified(json)[..], b"{\"a b\":[1,\"\\\" \\\\\",2]}");
    }

    #[test]
    fn links_and_too_many_outputs_are_refused_with_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("x")).unwrap();
        assert!(matches!(list(dir.path(), 9), Err(FileError::Strange(_))));
        std::fs::remove_file(dir.path().join("x")).unwrap();
        for i in 0..4 {
            std::fs::write(dir.path().join(i.to_string()), "").unwrap();
        }
        assert!(matches!(list(dir.path(), 3), Err(FileError::TooMany)));
        assert_eq!(list(dir.path(), 4).unwrap().len(), 4);
    }
}
