//! The same film by one ffmpeg, without a queue: what the work on many machines is compared with.

use crate::ffmpeg::tool;
use crate::ffmpeg::{Failure, Tools};
use crate::film::encode::Picture;
use crate::film::plan::Plan;
use crate::film::settings::Settings;
use std::path::Path;
use std::time::Instant;

/// Films up to this length are encoded whole; of longer ones an excerpt of this length is.
const WHOLE_S: f64 = 90.0;

/// How long one ffmpeg takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline {
    /// With the encoder's default threads.
    pub default_threads_s: f64,
    /// With one thread.
    pub one_thread_s: f64,
    /// Set if it was measured on so many seconds of the film and scaled to the whole.
    pub excerpt_s: Option<f64>,
}

/// Measures both runs, one after the other. Their output is thrown away.
pub fn measure(
    tools: &Tools,
    plan: &Plan,
    settings: &Settings,
    source: &Path,
) -> Result<Baseline, Failure> {
    let film_s = plan.length_us as f64 / 1e6;
    let excerpt_s = (film_s > WHOLE_S).then_some(WHOLE_S);
    let scale = excerpt_s.map_or(1.0, |excerpt| film_s / excerpt);
    let run = |threads| -> Result<f64, Failure> {
        Ok(scale * encode_whole(tools, plan, settings, source, excerpt_s, threads)?)
    };
    Ok(Baseline {
        default_threads_s: run(0)?,
        one_thread_s: run(1)?,
        excerpt_s,
    })
}

/// `threads` 0 leaves the choice to ffmpeg.
fn encode_whole(
    tools: &Tools,
    plan: &Plan,
    settings: &Settings,
    source: &Path,
    excerpt_s: Option<f64>,
    threads: u32,
) -> Result<f64, Failure> {
    let scratch = tempfile::tempdir()
        .map_err(|e| Failure::machine(format!("cannot make a temporary directory: {e}")))?;
    let mut command = tools.ffmpeg();
    if threads > 0 {
        let threads = threads.to_string();
        command.args(["-filter_threads", &threads, "-threads", &threads]);
    }
    command
        .args(["-fflags", "+genpts", "-noautorotate", "-i"])
        .arg(source)
        .args(["-map", "0:V:0"]);
    if plan.streams.audio.is_some() {
        command.args(["-map", "0:a:0", "-c:a", "aac", "-b:a"]);
        command.arg(format!("{}k", settings.audio_kbps));
    }
    Picture::new(plan, settings).encode(&mut command, None, threads);
    if let Some(seconds) = excerpt_s {
        command.args(["-t", &seconds.to_string()]);
    }
    command
        .args(["-f", "mp4"])
        .arg(scratch.path().join("film.mp4"));
    let began = Instant::now();
    tool::run(command)?;
    Ok(began.elapsed().as_secs_f64())
}
