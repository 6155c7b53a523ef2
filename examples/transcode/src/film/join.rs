//! Puts the encoded chunks behind one another and the sound beside them, without encoding again.

use super::encode::report_progress;
use super::plan::Plan;
use crate::ffmpeg::probe;
use crate::ffmpeg::tool;
use crate::ffmpeg::{Failure, Tools};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Joins `chunks`, in order, and `audio` into `output`. `scratch` is a directory for the list of parts.
/// How far it is goes into the file `progress`.
pub fn join(
    tools: &Tools,
    plan: &Plan,
    chunks: &[PathBuf],
    audio: Option<&Path>,
    scratch: &Path,
    output: &Path,
    progress: Option<&Path>,
) -> Result<(), Failure> {
    if chunks.len() != plan.chunks.len() {
        return Err(Failure::unreadable(format!(
            "{} encoded chunks for a film of {}",
            chunks.len(),
            plan.chunks.len()
        )));
    }
    same_configuration(tools, chunks, progress)?;
    let list = scratch.join("parts.ffconcat");
    fs::write(&list, concat_list(plan, chunks)?)
        .map_err(|e| Failure::machine(format!("cannot write {}: {e}", list.display())))?;
    let mut command = tools.ffmpeg();
    report_progress(&mut command, progress);
    command
        .args(["-f", "concat", "-safe", "0", "-i"])
        .arg(&list);
    if let Some(audio) = audio {
        command.arg("-i").arg(audio);
    }
    command.args(["-map", "0:V:0"]);
    if audio.is_some() {
        command.args(["-map", "1:a:0"]);
    }
    command
        .args(["-c", "copy", "-movflags", "+faststart", "-f", "mp4"])
        .arg(output);
    tool::run(command)?;
    let frames = probe::packets(tools, output)?.len();
    match frames == plan.frames as usize {
        true => Ok(()),
        false => Err(Failure::unreadable(format!(
            "the joined film holds {frames} frames instead of {}",
            plan.frames
        ))),
    }
}

/// All chunks must have been encoded alike: the film carries the decoder configuration only once.
fn same_configuration(
    tools: &Tools,
    chunks: &[PathBuf],
    progress: Option<&Path>,
) -> Result<(), Failure> {
    let mut first: Option<String> = None;
    for (checked, chunk) in chunks.iter().enumerate() {
        if let Some(file) = progress {
            say_progress(file, checked, chunks.len())
                .map_err(|e| Failure::machine(format!("cannot write {}: {e}", file.display())))?;
        }
        let configuration = probe::configuration(tools, chunk)?;
        match &first {
            None => first = Some(configuration),
            Some(expected) if *expected == configuration => {}
            Some(_) => {
                return Err(Failure::unreadable(format!(
                    "{} was encoded with another configuration than the first chunk; \
                     give all workers the same ffmpeg and x264",
                    chunk.display()
                )));
            }
        }
    }
    Ok(())
}

/// One more line, as the worker agent reads them.
fn say_progress(file: &Path, done: usize, total: usize) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)?;
    writeln!(file, "{done}/{total} parts looked at")
}

/// The list for ffmpeg's concat demuxer. Each part's length is the plan's, not the container's guess,
/// and is taken between rounded times, so that rounding never adds up.
fn concat_list(plan: &Plan, chunks: &[PathBuf]) -> Result<String, Failure> {
    let mut list = String::from("ffconcat version 1.0\n");
    for (part, chunk) in chunks.iter().zip(&plan.chunks) {
        let path = std::path::absolute(part)
            .map_err(|e| Failure::machine(format!("{}: {e}", part.display())))?;
        let Some(path) = path.to_str() else {
            return Err(Failure::machine(format!(
                "ffmpeg's lists need paths in UTF-8, which {} is not",
                path.display()
            )));
        };
        let quoted = path.replace('\'', r"'\''");
        let length_s = chunk.length_us as f64 / 1e6;
        // Writing to a string cannot fail.
        let _written = write!(list, "file '{quoted}'\nduration {length_s:.6}\n");
    }
    Ok(list)
}
