//! Encodes one chunk, or the sound, and counts what came out.

use super::plan::{Chunk, Plan};
use super::ratio::Ratio;
use super::settings::Settings;
use super::split::AUDIO_SHIFT_S;
use crate::ffmpeg::probe::{self, Video};
use crate::ffmpeg::tool;
use crate::ffmpeg::{Failure, Tools};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;

/// Everything an encoder has to know about the film besides its own chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// The source's video stream.
    pub video: Video,
    /// Unit of the timestamps that come out.
    pub time_base: Ratio,
    /// Set if frames are numbered rather than timed.
    pub constant_rate: Option<Ratio>,
    /// How to encode.
    pub settings: Settings,
}

impl Picture {
    /// Of a planned film.
    pub fn new(plan: &Plan, settings: &Settings) -> Self {
        Self {
            video: plan.streams.video.clone(),
            time_base: plan.time_base,
            constant_rate: plan.constant_rate,
            settings: settings.clone(),
        }
    }

    /// Filters and encoder options, the same for every chunk and for the whole film in one run.
    /// `first` picks the frames.
    pub fn encode(&self, command: &mut Command, first: Option<&str>, threads: u32) {
        let (width, height) = match self.video.turn {
            90 | 270 => (self.video.height, self.video.width),
            _ => (self.video.width, self.video.height),
        };
        let base = self.time_base;
        let mut filters: Vec<String> = first.map(str::to_owned).into_iter().collect();
        filters.push(match self.constant_rate {
            Some(_) => format!("settb={base},setpts=N"),
            None => format!("setpts=PTS-STARTPTS,settb={base}"),
        });
        filters.extend(match self.video.turn {
            90 => Some("transpose=clock".to_owned()),
            180 => Some("hflip,vflip".to_owned()),
            270 => Some("transpose=cclock".to_owned()),
            _ => None,
        });
        // One size for all chunks even if the source changes it, and an even one, as 4:2:0 needs.
        filters.push(format!(
            "scale={}:{}",
            width.next_multiple_of(2),
            height.next_multiple_of(2)
        ));
        filters.push("format=yuv420p".to_owned());
        let rate = self.constant_rate.unwrap_or(self.video.frame_rate);
        command
            .args(["-vf", &filters.join(",")])
            .args(["-fps_mode", "passthrough"])
            .args(["-enc_time_base", &base.to_string()])
            .args(["-c:v", "libx264", "-preset", &self.settings.preset])
            .args(["-crf", &self.settings.crf.to_string()])
            .args(["-threads", &threads.to_string()])
            // Said once for all chunks, lest each guesses its own and writes other parameter sets.
            .args(["-x264-params", &format!("fps={rate}")]);
        for (option, value) in &self.video.colors {
            command.args([option, value]);
        }
    }
}

/// Encodes `input`, a file of the split, into `output` (MP4, its first frame at time 0).
pub fn chunk(
    tools: &Tools,
    picture: &Picture,
    chunk: &Chunk,
    input: &Path,
    output: &Path,
    progress: Option<&Path>,
) -> Result<(), Failure> {
    let first_packet_s = probe::first_packet_s(tools, input)?;
    let start_s = first_packet_s + (chunk.lead_us - chunk.guard_us) as f64 / 1e6;
    let mut command = tools.ffmpeg();
    report_progress(&mut command, progress);
    command
        .args(["-noautorotate", "-copyts", "-i"])
        .arg(input)
        .args(["-map", "0:V:0", "-an", "-frames:v"])
        .arg(chunk.frames.to_string());
    picture.encode(
        &mut command,
        Some(&format!("trim=start={start_s:.6}")),
        picture.settings.threads,
    );
    command.args(["-f", "mp4"]).arg(output);
    tool::run(command)?;
    let made = probe::packets(tools, output)?.len();
    match made == chunk.frames as usize {
        true => Ok(()),
        false => Err(Failure::unreadable(format!(
            "the chunk holds {made} readable frames of {}: its data are damaged",
            chunk.frames
        ))),
    }
}

/// Encodes the sound so that its time 0 is the film's first frame: what comes earlier is cut, what is
/// missing is silence.
pub fn audio(
    tools: &Tools,
    origin_us: i64,
    settings: &Settings,
    input: &Path,
    output: &Path,
    progress: Option<&Path>,
) -> Result<(), Failure> {
    let zero_s = origin_us as f64 / 1e6 + AUDIO_SHIFT_S as f64;
    let mut command = tools.ffmpeg();
    report_progress(&mut command, progress);
    command
        .args(["-copyts", "-i"])
        .arg(input)
        .args(["-map", "0:a:0", "-vn", "-af"])
        .arg(format!(
            "atrim=start={zero_s:.6},asetpts=PTS-{zero_s:.6}/TB,aresample=async=1:first_pts=0"
        ))
        .args(["-c:a", "aac", "-b:a"])
        .arg(format!("{}k", settings.audio_kbps))
        .args(["-f", "mp4"])
        .arg(output);
    tool::run(command)
}

/// Lets ffmpeg write how far it is into a file, twice a second.
pub(super) fn report_progress(command: &mut Command, progress: Option<&Path>) {
    if let Some(file) = progress {
        command
            .args(["-stats_period", "0.5", "-progress"])
            .arg(file);
    }
}
