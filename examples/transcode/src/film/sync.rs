//! Finds flashes and beeps, and says how far apart they are.

use super::test_film;
use crate::ffmpeg::{Failure, Tools, probe, tool};
use std::path::Path;

/// Flash and beep must lie within this of each other: about what viewers begin to notice.
pub const TOLERANCE_S: f64 = 0.040;

/// Width and height of the miniature a frame is reduced to.
pub const MINIATURE: (usize, usize) = (16, 9);
/// Bytes of a miniature, one of grey a pixel.
pub const MINIATURE_BYTES: usize = MINIATURE.0 * MINIATURE.1;

/// Mean grey of a frame from which on it counts as a flash.
const FLASH_GREY: u32 = 215;
/// Samples a second that beeps are looked for in.
const SAMPLE_RATE: u32 = 16_000;
/// Samples looked at together: a millisecond.
const WINDOW: usize = 16;
/// Loudness, of 32768, from which on a window is part of a beep: 0.5 is full scale in the test film.
const BEEP_LEVEL: u16 = 6_000;
/// Windows of silence that separate two beeps.
const SILENT_WINDOWS: usize = 200;

/// A flash and the beep nearest to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beat {
    /// When the flash begins, in seconds.
    pub flash_s: f64,
    /// When the beep begins.
    pub beep_s: f64,
}

impl Beat {
    /// How much later than the flash the beep begins, in milliseconds.
    pub fn offset_ms(&self) -> f64 {
        (self.beep_s - self.flash_s) * 1e3
    }
}

/// Whether a file says that it is a test film.
pub fn is_test_film(tools: &Tools, file: &Path) -> Result<bool, Failure> {
    let mut command = tools.ffprobe();
    command
        .args(["-show_entries", "format_tags=title"])
        .arg(file);
    let mut found = false;
    tool::lines(command, |line| found |= line.contains(test_film::TITLE))?;
    Ok(found)
}

/// Reduces every frame to a miniature, in the order of display.
pub fn miniatures(tools: &Tools, file: &Path) -> Result<Vec<[u8; MINIATURE_BYTES]>, Failure> {
    let mut command = tools.ffmpeg();
    command
        .args(["-fflags", "+genpts", "-i"])
        .arg(file)
        .args(["-map", "0:V:0", "-fps_mode", "passthrough", "-vf"])
        .arg(format!(
            "scale={}:{}:flags=area,format=gray",
            MINIATURE.0, MINIATURE.1
        ))
        .args(["-f", "rawvideo", "-"]);
    let mut all = Vec::new();
    tool::blocks(command, MINIATURE_BYTES, |block| {
        let mut miniature = [0; MINIATURE_BYTES];
        miniature.copy_from_slice(block);
        all.push(miniature);
    })?;
    Ok(all)
}

/// The frames with which a flash begins.
pub fn flashes(frames: &[[u8; MINIATURE_BYTES]]) -> Vec<usize> {
    let bright = |frame: &[u8; MINIATURE_BYTES]| {
        let sum: u32 = frame.iter().map(|grey| u32::from(*grey)).sum();
        sum / MINIATURE_BYTES as u32 >= FLASH_GREY
    };
    let mut before = false;
    let mut starts = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        let now = bright(frame);
        if now && !before {
            starts.push(at);
        }
        before = now;
    }
    starts
}

/// When each beep begins, in seconds of the file's own time.
pub fn beeps(tools: &Tools, file: &Path) -> Result<Vec<f64>, Failure> {
    let mut command = tools.ffmpeg();
    command
        .args(["-copyts", "-i"])
        .arg(file)
        .args(["-map", "0:a:0", "-af", "aresample=async=1:first_pts=0"])
        .args(["-ac", "1", "-ar", &SAMPLE_RATE.to_string()])
        .args(["-f", "s16le", "-"]);
    let mut finder = BeepFinder::default();
    tool::blocks(command, WINDOW * 2, |block| finder.window(block))?;
    Ok(finder.starts)
}

#[derive(Default)]
struct BeepFinder {
    windows: usize,
    loud_before: Option<usize>,
    starts: Vec<f64>,
}

impl BeepFinder {
    fn window(&mut self, block: &[u8]) {
        let loudest = block
            .as_chunks::<2>()
            .0
            .iter()
            .map(|sample| i16::from_le_bytes(*sample).unsigned_abs())
            .max()
            .unwrap_or(0);
        if loudest >= BEEP_LEVEL {
            if self
                .loud_before
                .is_none_or(|at| self.windows - at > SILENT_WINDOWS)
            {
                self.starts
                    .push((self.windows * WINDOW) as f64 / f64::from(SAMPLE_RATE));
            }
            self.loud_before = Some(self.windows);
        }
        self.windows += 1;
    }
}

/// Pairs each flash with the beep nearest to it. `flash_s` and `beep_s` are ascending.
pub fn pair(flash_s: &[f64], beep_s: &[f64]) -> Vec<Beat> {
    flash_s
        .iter()
        .filter_map(|flash| {
            let beep = beep_s
                .iter()
                .min_by(|a, b| (*a - flash).abs().total_cmp(&(*b - flash).abs()))?;
            Some(Beat {
                flash_s: *flash,
                beep_s: *beep,
            })
        })
        .collect()
}

/// The flashes and beeps of a file whose miniatures are known.
pub fn beats(
    tools: &Tools,
    file: &Path,
    miniatures: &[[u8; MINIATURE_BYTES]],
) -> Result<Vec<Beat>, Failure> {
    let times = probe::frame_times_s(tools, file)?;
    let flash_s: Vec<f64> = flashes(miniatures)
        .into_iter()
        .filter_map(|at| times.get(at).copied())
        .collect();
    Ok(pair(&flash_s, &beeps(tools, file)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flash_begins_where_a_bright_frame_follows_a_dark_one() {
        let dark = [90; MINIATURE_BYTES];
        let bright = [235; MINIATURE_BYTES];
        assert_eq!(flashes(&[dark, bright, bright, dark, bright]), [1, 4]);
        assert_eq!(flashes(&[bright, dark]), [0]);
        assert!(flashes(&[dark; 3]).is_empty());
    }

    #[test]
    fn beeps_are_told_apart_by_silence_and_not_by_their_own_wave() {
        let mut finder = BeepFinder::default();
        let loud: Vec<u8> = [20_000_i16; WINDOW]
            .iter()
            .flat_map(|s| s.to_le_bytes())
            .collect();
        let quiet = vec![0; WINDOW * 2];
        for window in 0..3_000 {
            let on = (500..600).contains(&window) && window % 7 != 0;
            let on = on || (1_500..1_600).contains(&window);
            finder.window(if on { &loud } else { &quiet });
        }
        assert_eq!(finder.starts, [0.5, 1.5]);
    }

    #[test]
    fn a_late_beep_shows_as_a_positive_offset() {
        let beats = pair(&[0.5, 1.5], &[0.51, 1.45]);
        assert!((beats[0].offset_ms() - 10.0).abs() < 1e-6);
        assert!((beats[1].offset_ms() + 50.0).abs() < 1e-6);
    }
}
