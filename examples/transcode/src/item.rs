//! One work item: what a worker runs for a job. It knows the worker agent's file contract and nothing
//! of queues: files and environment variables in, files and an exit code out.
//!
//! | Exit code | |
//! |---|---|
//! | 0 | done; the file is in `WORK_OUTPUT_DIR` and numbers about it in `result.json` |
//! | 65 | the input cannot be transcoded by anyone: a dead letter |
//! | 75 | this machine could not do it: try again, perhaps elsewhere |

use crate::ffmpeg::{Failure, Tools};
use crate::film::encode::{self, Picture};
use crate::film::join;
use crate::film::plan::{Chunk, Plan};
use crate::film::settings::Settings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Exit code for input that no attempt can transcode (EX_DATAERR of sysexits.h).
pub const EXIT_UNREADABLE: u8 = 65;
/// Exit code for another attempt (EX_TEMPFAIL of sysexits.h).
pub const EXIT_TRY_AGAIN: u8 = 75;

/// The plan's file among the inputs of a join.
pub const PLAN_FILE: &str = "plan.json";
/// What a join makes.
pub const FILM_FILE: &str = "film.mp4";

/// The payload of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Item {
    /// Encode one chunk.
    Chunk {
        /// Frames to come out; stands here for the worker agent, which shows the share that is done.
        frames: u32,
        /// The file among the inputs.
        input: String,
        /// Which frames of it.
        chunk: Chunk,
        /// How.
        picture: Box<Picture>,
    },
    /// Encode the sound.
    Audio {
        /// Frames' worth of it, for the share that is done.
        frames: u32,
        /// The file among the inputs.
        input: String,
        /// Time of the film's first frame in the source's time.
        origin_us: i64,
        /// How.
        settings: Settings,
    },
    /// Join what the batch made. The plan is among the inputs, the parts are in the manifest.
    Join,
}

/// Numbers about what an item made: its result in the queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Frames, 0 for sound.
    pub frames: u32,
    /// Bytes.
    pub bytes: u64,
    /// Wall-clock seconds it took.
    pub seconds: f64,
}

/// Where the worker agent put things.
#[derive(Clone, Debug)]
pub struct Contract {
    /// The payload.
    pub item: PathBuf,
    /// The inputs.
    pub inputs: PathBuf,
    /// For what is made.
    pub outputs: PathBuf,
    /// For ffmpeg's progress.
    pub progress: Option<PathBuf>,
    /// What the batch made, for a join.
    pub manifest: Option<PathBuf>,
}

impl Contract {
    /// From the environment.
    pub fn from_env() -> Result<Self, Failure> {
        let optional = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let required = |name: &str| {
            optional(name).ok_or_else(|| {
                Failure::machine(format!(
                    "{name} is not set: `transcode item` is run by a worker agent, \
                     as in `quorate work QUEUE -- transcode item`"
                ))
            })
        };
        Ok(Self {
            item: required("WORK_ITEM_FILE")?,
            inputs: required("WORK_INPUT_DIR")?,
            outputs: required("WORK_OUTPUT_DIR")?,
            progress: optional("WORK_PROGRESS_FILE"),
            manifest: optional("WORK_MANIFEST_FILE"),
        })
    }
}

/// Does the item that the contract names.
pub fn run(tools: &Tools, contract: &Contract) -> Result<Made, Failure> {
    let began = Instant::now();
    let progress = contract.progress.as_deref();
    let (file, frames) = match read_json(&contract.item)? {
        Item::Chunk {
            frames,
            input,
            chunk,
            picture,
        } => {
            let input = contract.inputs.join(input);
            let output = contract.outputs.join("part.mp4");
            encode::chunk(tools, &picture, &chunk, &input, &output, progress)?;
            (output, frames)
        }
        Item::Audio {
            input,
            origin_us,
            settings,
            ..
        } => {
            let input = contract.inputs.join(input);
            let output = contract.outputs.join("audio.m4a");
            encode::audio(tools, origin_us, &settings, &input, &output, progress)?;
            (output, 0)
        }
        Item::Join => {
            let plan: Plan = read_json(&contract.inputs.join(PLAN_FILE))?;
            let output = contract.outputs.join(FILM_FILE);
            join_parts(tools, &plan, contract, &output)?;
            (output, plan.frames)
        }
    };
    let made = Made {
        frames,
        bytes: fs::metadata(&file).map_err(|e| unusable(&file, &e))?.len(),
        seconds: began.elapsed().as_secs_f64(),
    };
    let result = contract.outputs.join("result.json");
    let json = serde_json::to_vec(&made).map_err(|e| Failure::machine(e.to_string()))?;
    fs::write(&result, json).map_err(|e| unusable(&result, &e))?;
    Ok(made)
}

/// One line of the manifest: what a child of the batch left behind.
#[derive(Debug, Deserialize)]
struct ManifestLine {
    index: usize,
    state: String,
    outputs: Vec<ManifestFile>,
}

#[derive(Debug, Deserialize)]
struct ManifestFile {
    uri: String,
    path: Option<PathBuf>,
}

fn join_parts(
    tools: &Tools,
    plan: &Plan,
    contract: &Contract,
    output: &Path,
) -> Result<(), Failure> {
    let manifest = contract
        .manifest
        .as_deref()
        .ok_or_else(|| Failure::unreadable("a join without WORK_MANIFEST_FILE: not a batch's"))?;
    let text = fs::read_to_string(manifest).map_err(|e| unusable(manifest, &e))?;
    let mut parts = read_manifest(&text)?;
    let mut take = |index| {
        parts
            .remove(&index)
            .ok_or_else(|| Failure::unreadable(format!("the manifest lacks part {index}")))
    };
    let chunks = (0..plan.chunks.len())
        .map(&mut take)
        .collect::<Result<Vec<_>, _>>()?;
    let audio = match plan.streams.audio {
        Some(_) => Some(take(plan.chunks.len())?),
        None => None,
    };
    let scratch = tempfile::tempdir()
        .map_err(|e| Failure::machine(format!("cannot make a temporary directory: {e}")))?;
    join::join(
        tools,
        plan,
        &chunks,
        audio.as_deref(),
        scratch.path(),
        output,
        contract.progress.as_deref(),
    )
}

/// The file of each child, by index.
fn read_manifest(text: &str) -> Result<BTreeMap<usize, PathBuf>, Failure> {
    let mut parts = BTreeMap::new();
    for line in text.lines() {
        let line: ManifestLine = serde_json::from_str(line)
            .map_err(|e| Failure::unreadable(format!("the manifest is not understood: {e}")))?;
        let index = line.index;
        if line.state != "completed" {
            return Err(Failure::unreadable(format!(
                "part {index} is {}, so the film cannot be joined",
                line.state
            )));
        }
        let [file] = &line.outputs[..] else {
            return Err(Failure::unreadable(format!(
                "part {index} left {} files instead of one",
                line.outputs.len()
            )));
        };
        let path = file
            .path
            .clone()
            .ok_or_else(|| Failure::machine(format!("the agent did not fetch {}", file.uri)))?;
        if parts.insert(index, path).is_some() {
            return Err(Failure::unreadable(format!("part {index} is there twice")));
        }
    }
    Ok(parts)
}

fn read_json<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T, Failure> {
    let bytes = fs::read(file).map_err(|e| unusable(file, &e))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::unreadable(format!(
            "{} is not a job of `transcode`: {error}",
            file.display()
        ))
    })
}

fn unusable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::machine(format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_with_a_part_missing_twice_or_unfinished_is_refused() {
        let line = |index: usize, state: &str, path: &str| {
            format!(
                r#"{{"index":{index},"job_id":"j","state":"{state}","attempts":1,"outputs":[{{"uri":"u","sha256":"","size":1,"path":"{path}"}}]}}"#
            )
        };
        let good = format!(
            "{}\n{}\n",
            line(0, "completed", "/a"),
            line(1, "completed", "/b")
        );
        assert_eq!(read_manifest(&good).unwrap()[&1], PathBuf::from("/b"));
        for bad in [
            line(0, "dead", "/a"),
            format!(
                "{}\n{}",
                line(0, "completed", "/a"),
                line(0, "completed", "/b")
            ),
            line(0, "completed", "/a")
                .replace(r#"[{"uri":"u","sha256":"","size":1,"path":"/a"}]"#, "[]"),
            "{".to_owned(),
        ] {
            assert!(
                matches!(read_manifest(&bad), Err(Failure::Unreadable(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn items_keep_their_form_in_the_queue() {
        let text = r#"{"kind":"audio","frames":3,"input":"a.nut","origin_us":1,"settings":{"preset":"medium","crf":22,"audio_kbps":160,"threads":1,"chunk_seconds":null}}"#;
        let item: Item = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&item).unwrap(), text);
        assert_eq!(
            serde_json::to_string(&Item::Join).unwrap(),
            r#"{"kind":"join"}"#
        );
    }
}
