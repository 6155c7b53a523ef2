//! Cuts the source into one file a chunk, and one for the sound, without decoding anything.
//!
//! The source is read once. The cuts are given to ffmpeg's segment muxer as packet numbers, so no
//! rounding of times can move one. Where chunks overlap (open groups of pictures, see [`super::plan`])
//! two segment muxers run side by side, one for the even and one for the odd chunks, and the stretches
//! between are thrown away.

use super::plan::Plan;
use crate::ffmpeg::tool;
use crate::ffmpeg::{Failure, Tools};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Containers that chunks are put into, best first: NUT keeps time bases exactly, Matroska rounds to
/// milliseconds but knows some codecs that NUT does not.
const CONTAINERS: [(&str, &str); 2] = [("nut", "nut"), ("matroska", "mkv")];

/// Added to the times of the sound, because NUT takes none below zero and encoders put their priming
/// samples there. Ten seconds are whole in the time base of every audio stream.
pub const AUDIO_SHIFT_S: i64 = 10;

/// The files of a split film.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// One a chunk, in order.
    pub chunks: Vec<PathBuf>,
    /// The sound, if there is any.
    pub audio: Option<PathBuf>,
}

/// Splits `source` into files under `dir`, which is created. Files of an earlier try are replaced.
pub fn split(tools: &Tools, source: &Path, plan: &Plan, dir: &Path) -> Result<Pieces, Failure> {
    fs::create_dir_all(dir).map_err(|e| cannot("create", dir, &e))?;
    let mut last = None;
    for (muxer, extension) in CONTAINERS {
        match split_into(tools, source, plan, dir, muxer, extension) {
            Ok(pieces) => return Ok(pieces),
            Err(failure @ Failure::Machine(_)) => return Err(failure),
            // Perhaps the container does not know the codec.
            Err(failure @ Failure::Unreadable(_)) => last = Some(failure),
        }
    }
    Err(last.unwrap_or_else(|| Failure::machine("no container to split into")))
}

fn split_into(
    tools: &Tools,
    source: &Path,
    plan: &Plan,
    dir: &Path,
    muxer: &str,
    extension: &str,
) -> Result<Pieces, Failure> {
    let lanes = lanes(plan);
    let mut command = tools.ffmpeg();
    command
        .args(["-fflags", "+genpts", "-copyts", "-i"])
        .arg(source);
    for (number, lane) in lanes.iter().enumerate() {
        let cuts: Vec<String> = lane.cuts().map(|at| at.to_string()).collect();
        command
            .args(["-map", "0:V:0", "-c", "copy", "-copytb", "1", "-copyinkf:v"])
            .args(["-f", "segment", "-segment_format", muxer]);
        if cuts.is_empty() {
            // Without a list the muxer would cut every two seconds.
            command.args(["-segment_time", "1000000000"]);
        } else {
            command.args(["-segment_frames", &cuts.join(",")]);
        }
        command.arg(segment(dir, number, extension, None));
    }
    let audio = plan
        .streams
        .audio
        .is_some()
        .then(|| dir.join(format!("audio.{extension}")));
    if let Some(audio) = &audio {
        command
            .args(["-map", "0:a:0", "-c", "copy", "-output_ts_offset"])
            .arg(AUDIO_SHIFT_S.to_string())
            .args(["-f", muxer])
            .arg(audio);
    }
    tool::run(command)?;
    let mut chunks: Vec<PathBuf> = Vec::with_capacity(plan.chunks.len());
    for index in 0..plan.chunks.len() {
        chunks.push(dir.join(format!("chunk-{index:05}.{extension}")));
    }
    for (number, lane) in lanes.iter().enumerate() {
        lane.sort_out(plan, &chunks, |at| {
            segment(dir, number, extension, Some(at))
        })?;
    }
    Ok(Pieces { chunks, audio })
}

/// One pass of a segment muxer: the chunks it makes, which do not overlap each other.
struct Lane {
    chunks: Vec<usize>,
    /// Packet numbers at which a segment begins, 0 included.
    starts: BTreeSet<u32>,
}

impl Lane {
    fn cuts(&self) -> impl Iterator<Item = u32> + '_ {
        self.starts.iter().copied().filter(|at| *at > 0)
    }

    /// Renames the segments that are chunks and removes the others.
    fn sort_out(
        &self,
        plan: &Plan,
        names: &[PathBuf],
        segment: impl Fn(usize) -> PathBuf,
    ) -> Result<(), Failure> {
        let mut wanted = self.chunks.iter().copied().peekable();
        for (at, start) in self.starts.iter().enumerate() {
            let file = segment(at);
            if !file.is_file() {
                return Err(Failure::unreadable(format!(
                    "ffmpeg did not cut before packet {start}: its parser sees other key frames than ffprobe"
                )));
            }
            match wanted.next_if(|chunk| plan.chunks[*chunk].first_packet == *start) {
                Some(chunk) => fs::rename(&file, &names[chunk]),
                None => fs::remove_file(&file),
            }
            .map_err(|e| cannot("rename", &file, &e))?;
        }
        let beyond = segment(self.starts.len());
        match wanted.next().is_none() && !beyond.exists() {
            true => Ok(()),
            false => Err(Failure::unreadable(
                "ffmpeg made other segments than planned",
            )),
        }
    }
}

fn lanes(plan: &Plan) -> Vec<Lane> {
    let chunks = &plan.chunks;
    let overlap = chunks
        .windows(2)
        .any(|pair| pair[0].end_packet != Some(pair[1].first_packet));
    let stride = if overlap { 2 } else { 1 };
    (0..stride.min(chunks.len()))
        .map(|first| {
            let members: Vec<usize> = (first..chunks.len()).step_by(stride).collect();
            let bounds = members
                .iter()
                .flat_map(|at| [Some(chunks[*at].first_packet), chunks[*at].end_packet]);
            Lane {
                starts: bounds.flatten().chain([0]).collect(),
                chunks: members,
            }
        })
        .collect()
}

fn segment(dir: &Path, lane: usize, extension: &str, number: Option<usize>) -> PathBuf {
    dir.join(match number {
        Some(number) => format!("lane{lane}-{number:05}.{extension}"),
        None => format!("lane{lane}-%05d.{extension}"),
    })
}

fn cannot(what: &str, file: &Path, error: &std::io::Error) -> Failure {
    Failure::machine(format!("cannot {what} {}: {error}", file.display()))
}
