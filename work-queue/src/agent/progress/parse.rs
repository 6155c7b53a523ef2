//! Lines of progress, in three forms, told apart by themselves. Pure.
//!
//! - a JSON object: `{"done": 3, "total": 10, "unit": "files", "message": "…"}`, all but `done`
//!   optional;
//! - plain: `done/total unit message…` or `done unit message…`, for shell scripts;
//! - ffmpeg's `-progress`: `key=value` lines in blocks that end with `progress=continue` or
//!   `progress=end`. The total is not in it: it comes from the job's payload (see
//!   `Config::progress_total`) or from a line `total=FRAMES` or `total_us=MICROSECONDS`.
//!
//! What is not understood is passed over: progress is for people and for the stall timer, and must
//! never fail a job.

use crate::machine::{Progress, limits};
use crate::worker::cut;
use serde::Deserialize;
use std::sync::Arc;

/// Longest line that is looked at.
pub(crate) const LINE_BYTES_MAX: usize = 4 * 1024;

/// Reads lines, gives progress.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    ffmpeg: Ffmpeg,
}

#[derive(Debug, Default)]
struct Ffmpeg {
    total_frames: Option<f64>,
    total_us: Option<f64>,
    frame: Option<f64>,
    out_time_us: Option<f64>,
    fps: Option<String>,
    speed: Option<String>,
}

#[derive(Deserialize)]
struct Json {
    done: f64,
    #[serde(default)]
    total: f64,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    message: String,
}

impl Parser {
    /// Expects so many frames in all, for ffmpeg's form.
    pub(crate) fn with_total(frames: Option<f64>) -> Self {
        let mut parser = Self::default();
        parser.ffmpeg.total_frames = frames.filter(|total| is_amount(*total));
        parser
    }

    /// The next line, without its end. Gives the progress if the line completes some.
    pub(crate) fn line(&mut self, line: &str) -> Option<Progress> {
        let line = line.trim();
        if line.is_empty() || line.len() > LINE_BYTES_MAX {
            return None;
        }
        if line.starts_with('{') {
            let json: Json = serde_json::from_str(line).ok()?;
            return progress(json.done, json.total, &json.unit, &json.message);
        }
        match line.split_once('=') {
            Some((key, value)) if is_key(key) => self.ffmpeg.pair(key, value.trim()),
            _ => plain(line),
        }
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_amount(number: f64) -> bool {
    number.is_finite() && number >= 0.0
}

fn progress(done: f64, total: f64, unit: &str, message: &str) -> Option<Progress> {
    (is_amount(done) && is_amount(total)).then(|| Progress {
        done,
        total,
        unit: Arc::from(cut(unit, limits::TEXT_BYTES_MAX)),
        message: Arc::from(cut(message, limits::TEXT_BYTES_MAX)),
    })
}

fn plain(line: &str) -> Option<Progress> {
    let (amount, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (done, total) = amount.split_once('/').unwrap_or((amount, "0"));
    let rest = rest.trim();
    let (unit, message) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    progress(
        done.parse().ok()?,
        total.parse().ok()?,
        unit,
        message.trim(),
    )
}

impl Ffmpeg {
    fn pair(&mut self, key: &str, value: &str) -> Option<Progress> {
        let number = || {
            value
                .parse::<f64>()
                .ok()
                .filter(|number| is_amount(*number))
        };
        match key {
            "total" | "total_frames" => self.total_frames = number(),
            "total_us" => self.total_us = number(),
            "frame" => self.frame = number(),
            // "N/A" until the first packet is out, and below zero for streams that begin early.
            "out_time_us" => self.out_time_us = number(),
            "fps" => self.fps = Some(value.to_owned()),
            "speed" => self.speed = Some(value.to_owned()),
            "progress" => return self.report(),
            _ => {}
        }
        None
    }

    fn report(&self) -> Option<Progress> {
        let message = match (&self.fps, &self.speed) {
            (Some(fps), Some(speed)) => format!("{fps} fps, {speed}"),
            (None, Some(speed)) => speed.clone(),
            _ => String::new(),
        };
        // Frames where there are any; time for audio.
        let by_time = self.total_us.is_some() && self.total_frames.is_none();
        match (self.frame, self.out_time_us) {
            (Some(frame), _) if !by_time => {
                progress(frame, self.total_frames.unwrap_or(0.0), "frames", &message)
            }
            (_, Some(us)) => progress(
                us / 1e6,
                self.total_us.unwrap_or(0.0) / 1e6,
                "seconds",
                &message,
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parser: &mut Parser, text: &str) -> Vec<(f64, f64, String, String)> {
        text.lines()
            .filter_map(|line| parser.line(line))
            .map(|p| (p.done, p.total, p.unit.to_string(), p.message.to_string()))
            .collect()
    }

    fn is(done: f64, total: f64, unit: &str, message: &str) -> (f64, f64, String, String) {
        (done, total, unit.to_owned(), message.to_owned())
    }

    #[test]
    fn plain_and_json_lines_are_understood_and_nonsense_is_passed_over() {
        let text = "3/10 files copying a b\n  7\n1.5/3 GiB\n{\"done\":4,\"total\":8,\"unit\":\"x\"}\n\
                    hello\n/\n{\"total\":8}\n{\"done\":-1}\n-1/3\nNaN\ninf/2\n{bad\n";
        assert_eq!(
            all(&mut Parser::default(), text),
            [
                is(3.0, 10.0, "files", "copying a b"),
                is(7.0, 0.0, "", ""),
                is(1.5, 3.0, "GiB", ""),
                is(4.0, 8.0, "x", ""),
            ]
        );
    }

    #[test]
    fn ffmpeg_blocks_give_frames_of_a_total_and_time_for_audio() {
        let block = "frame=0\nfps=0.00\nout_time_us=N/A\nout_time=N/A\nspeed=N/A\nprogress=continue\n\
                     frame=120\nfps=59.94\nstream_0_0_q=28.0\nbitrate= 312.4kbits/s\n\
                     out_time_us=4000000\nspeed=2.00x\nprogress=continue\nframe=240\nprogress=end\n";
        assert_eq!(
            all(&mut Parser::with_total(Some(240.0)), block),
            [
                is(0.0, 240.0, "frames", "0.00 fps, N/A"),
                is(120.0, 240.0, "frames", "59.94 fps, 2.00x"),
                is(240.0, 240.0, "frames", "59.94 fps, 2.00x"),
            ]
        );
        let audio = "total_us=8000000\nout_time_us=2000000\nspeed=40x\nprogress=continue\n";
        assert_eq!(
            all(&mut Parser::default(), audio),
            [is(2.0, 8.0, "seconds", "40x")]
        );
        assert_eq!(
            all(
                &mut Parser::default(),
                "total=10\nframe=5\nprogress=continue"
            ),
            [is(5.0, 10.0, "frames", "")]
        );
    }
}
