//! Compares the finished film with its source. Each check says what it saw, whether it passed or not.

use super::plan::Plan;
use super::sync::{self, Beat};
use crate::ffmpeg::probe;
use crate::ffmpeg::tool;
use crate::ffmpeg::{Failure, Tools};
use std::path::Path;

/// Frames may be shown so much earlier or later than in the source: containers that count in
/// milliseconds round, and a constant rate mends their rounding.
const FRAME_TIME_TOLERANCE_S: f64 = 0.0015;
/// The sound may end so much earlier or later: encoders work in blocks of 1024 samples, with one block
/// of priming before and some of padding behind.
const AUDIO_END_TOLERANCE_S: f64 = 0.1;
/// Largest difference in grey, of 255, between a pixel of a frame's miniature and its source's. Each
/// stands for a 144th of the picture, over which the noise of encoding averages out.
const MINIATURE_DIFFERENCE_MAX: u8 = 24;

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// Whether it holds. Nothing if it does not apply to this film.
    pub passed: Option<bool>,
    /// What was seen.
    pub seen: String,
}

impl Check {
    fn new(name: &'static str, passed: bool, seen: String) -> Self {
        Self {
            name,
            passed: Some(passed),
            seen,
        }
    }

    fn not_applicable(name: &'static str, why: &str) -> Self {
        Self {
            name,
            passed: None,
            seen: why.to_owned(),
        }
    }
}

/// Whether no check failed.
pub fn all_passed(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.passed != Some(false))
}

/// Checks `film`, which was made from `source` by `plan`. Fails only if a tool cannot be run; a film
/// that is wrong gives failed checks.
pub fn verify(
    tools: &Tools,
    plan: &Plan,
    source: &Path,
    film: &Path,
) -> Result<Vec<Check>, Failure> {
    let mut checks = vec![decodes(tools, film)?];
    let outcome = compare(tools, plan, source, film, &mut checks);
    match outcome {
        // A film that cannot even be read has failed, whatever was still to be compared.
        Err(Failure::Unreadable(reason)) => checks.push(Check::new("readable", false, reason)),
        other => other?,
    }
    Ok(checks)
}

fn compare(
    tools: &Tools,
    plan: &Plan,
    source: &Path,
    film: &Path,
    checks: &mut Vec<Check>,
) -> Result<(), Failure> {
    let times = probe::frame_times_s(tools, film)?;
    let expected = probe::frame_times_s(tools, source)?;
    checks.push(Check::new(
        "frames",
        times.len() == expected.len() && times.len() == plan.frames as usize,
        format!("{} of {}", times.len(), expected.len()),
    ));
    checks.push(frame_times(&times, &expected));
    checks.push(duration(plan, &times));
    checks.push(audio_end(tools, plan, source, film)?);
    let seen = sync::miniatures(tools, film)?;
    checks.push(pictures(&seen, &sync::miniatures(tools, source)?));
    checks.push(match sync::is_test_film(tools, source)? {
        true => flash_and_beep(plan, &sync::beats(tools, film, &seen)?),
        false => Check::not_applicable(
            "flash and beep",
            "only the test film has them; start and end of the sound were compared instead",
        ),
    });
    Ok(())
}

fn decodes(tools: &Tools, film: &Path) -> Result<Check, Failure> {
    let mut command = tools.ffmpeg();
    command.args(["-xerror", "-i"]).arg(film).args([
        "-map",
        "0",
        "-fps_mode",
        "passthrough",
        "-f",
        "null",
        "-",
    ]);
    match tool::run_without_complaint(command) {
        Ok(()) => Ok(Check::new("decodes", true, "without an error".to_owned())),
        Err(Failure::Unreadable(reason)) => Ok(Check::new("decodes", false, reason)),
        Err(failure) => Err(failure),
    }
}

fn frame_times(times: &[f64], expected: &[f64]) -> Check {
    let first = |list: &[f64]| list.first().copied().unwrap_or(0.0);
    let (start, origin) = (first(times), first(expected));
    let worst = times
        .iter()
        .zip(expected)
        .map(|(is, should)| ((is - start) - (should - origin)).abs())
        .fold(0.0, f64::max);
    Check::new(
        "frame times",
        worst <= FRAME_TIME_TOLERANCE_S && start.abs() <= FRAME_TIME_TOLERANCE_S,
        format!("at most {:.2} ms from the source's", worst * 1e3),
    )
}

fn duration(plan: &Plan, times: &[f64]) -> Check {
    let planned = plan.length_us as f64 / 1e6;
    let frame = planned / f64::from(plan.frames);
    let length = match times {
        [first, .., last] => last - first + frame,
        _ => frame,
    };
    Check::new(
        "duration",
        (length - planned).abs() <= frame,
        format!("{length:.3} s of {planned:.3} s"),
    )
}

fn audio_end(tools: &Tools, plan: &Plan, source: &Path, film: &Path) -> Result<Check, Failure> {
    let name = "sound";
    let is = probe::audio_span(tools, film)?;
    let should = match plan.streams.audio {
        Some(_) => probe::audio_span(tools, source)?,
        None => None,
    };
    Ok(match (is, should) {
        (None, None) => Check::not_applicable(name, "the source has none"),
        (Some(_), None) => Check::new(name, false, "there is some, but not in the source".into()),
        (None, Some(_)) => Check::new(name, false, "lost".to_owned()),
        (Some(is), Some(should)) => {
            let origin = plan.origin_us as f64 / 1e6;
            let end = is.start_s + is.length_s;
            let expected = should.start_s + should.length_s - origin;
            let passed = (end - expected).abs() <= AUDIO_END_TOLERANCE_S
                && is.start_s.abs() <= AUDIO_END_TOLERANCE_S;
            Check::new(
                name,
                passed,
                format!(
                    "from {:.3} s to {end:.3} s, in the source to {expected:.3} s",
                    is.start_s
                ),
            )
        }
    })
}

fn pictures(seen: &[[u8; sync::MINIATURE_BYTES]], source: &[[u8; sync::MINIATURE_BYTES]]) -> Check {
    let worst = seen
        .iter()
        .zip(source)
        .map(|(a, b)| {
            a.iter()
                .zip(b)
                .map(|(a, b)| a.abs_diff(*b))
                .max()
                .unwrap_or(u8::MAX)
        })
        .enumerate()
        .max_by_key(|(_, difference)| *difference);
    let (frame, difference) = worst.unwrap_or((0, u8::MAX));
    Check::new(
        "pictures",
        seen.len() == source.len() && difference <= MINIATURE_DIFFERENCE_MAX,
        format!("frame {frame} differs most, by {difference} of 255"),
    )
}

fn flash_and_beep(plan: &Plan, beats: &[Beat]) -> Check {
    let name = "flash and beep";
    let expected = (plan.length_us as f64 / 1e6).floor() as usize;
    let (Some(first), Some(middle), Some(last)) =
        (beats.first(), beats.get(beats.len() / 2), beats.last())
    else {
        return Check::new(name, false, "no flash was found".to_owned());
    };
    let apart = |beat: &Beat| format!("{:+.0} ms at {:.1} s", beat.offset_ms(), beat.flash_s);
    let together = beats
        .iter()
        .all(|beat| beat.offset_ms().abs() <= sync::TOLERANCE_S * 1e3);
    Check::new(
        name,
        together && beats.len() == expected,
        format!(
            "{}, {}, {}; {} of {expected} flashes",
            apart(first),
            apart(middle),
            apart(last),
            beats.len()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_at_another_time_or_a_late_start_fails() {
        assert_eq!(frame_times(&[0.0, 0.04], &[1.0, 1.04]).passed, Some(true));
        assert_eq!(frame_times(&[0.0, 0.05], &[1.0, 1.04]).passed, Some(false));
        assert_eq!(frame_times(&[0.5, 0.54], &[1.0, 1.04]).passed, Some(false));
    }

    #[test]
    fn a_swapped_picture_fails() {
        let (a, b) = ([10; sync::MINIATURE_BYTES], [90; sync::MINIATURE_BYTES]);
        assert_eq!(pictures(&[a, b], &[a, b]).passed, Some(true));
        assert_eq!(pictures(&[b, a], &[a, b]).passed, Some(false));
        assert_eq!(pictures(&[a], &[a, b]).passed, Some(false));
        assert_eq!(pictures(&[], &[]).passed, Some(false));
    }
}
