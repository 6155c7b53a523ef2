//! Films of many kinds are split, encoded in pieces, joined and verified, with the real ffmpeg and
//! without a queue. Skipped, and said so, where ffmpeg is not installed.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use transcode::ffmpeg::{Failure, Tools, probe};
use transcode::film::plan::{self, Plan};
use transcode::film::settings::Settings;
use transcode::film::verify::{self, Check};
use transcode::film::{encode, join, split, test_film};

fn tools() -> Option<Tools> {
    let tools = Tools::find();
    if let Err(reason) = &tools {
        eprintln!("skipped: {reason}");
    }
    tools.ok()
}

fn settings() -> Settings {
    Settings {
        preset: "ultrafast".to_owned(),
        chunk_seconds: Some(1),
        ..Settings::default()
    }
}

/// Makes a film with ffmpeg's own arguments; false if this ffmpeg lacks the encoder.
fn make(args: &str, output: &Path) -> bool {
    Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(args.split(' '))
        .arg(output)
        .status()
        .unwrap()
        .success()
}

struct Work {
    tools: Tools,
    plan: Plan,
    source: PathBuf,
    dir: tempfile::TempDir,
    pieces: split::Pieces,
}

fn split_film(tools: &Tools, source: &Path) -> Result<Work, Failure> {
    let dir = tempfile::tempdir().unwrap();
    let streams = probe::streams(tools, source)?;
    let frames = probe::frames(tools, source)?;
    let packets = probe::packets(tools, source)?;
    let plan = plan::plan(&streams, &frames, &packets, settings().chunk_seconds).unwrap();
    let pieces = split::split(tools, source, &plan, &dir.path().join("pieces"))?;
    Ok(Work {
        tools: tools.clone(),
        plan,
        source: source.to_owned(),
        dir,
        pieces,
    })
}

impl Work {
    fn encode(&self, index: usize) -> Result<PathBuf, Failure> {
        let output = self.dir.path().join(format!("part-{index}.mp4"));
        encode::chunk(
            &self.tools,
            &encode::Picture::new(&self.plan, &settings()),
            &self.plan.chunks[index],
            &self.pieces.chunks[index],
            &output,
            None,
        )?;
        Ok(output)
    }

    fn finish(&self) -> Result<Vec<Check>, Failure> {
        let parts = (0..self.plan.chunks.len())
            .map(|index| self.encode(index))
            .collect::<Result<Vec<_>, _>>()?;
        let audio = self.pieces.audio.as_ref().map(|input| {
            let output = self.dir.path().join("audio.m4a");
            let origin = self.plan.origin_us;
            encode::audio(&self.tools, origin, &settings(), input, &output, None).map(|()| output)
        });
        let audio = audio.transpose()?;
        let film = self.dir.path().join("film.mp4");
        let scratch = self.dir.path();
        join::join(
            &self.tools,
            &self.plan,
            &parts,
            audio.as_deref(),
            scratch,
            &film,
            None,
        )?;
        verify::verify(&self.tools, &self.plan, &self.source, &film)
    }
}

/// Transcodes the film that `args` make and answers its plan and the checks.
fn transcode(args: &str, name: &str) -> Option<(Plan, Vec<Check>)> {
    let tools = tools()?;
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join(name);
    if !make(args, &source) {
        eprintln!("skipped: this ffmpeg cannot make {name}");
        return None;
    }
    let work = split_film(&tools, &source).unwrap();
    let checks = work.finish().unwrap();
    assert!(verify::all_passed(&checks), "{name}: {checks:#?}");
    Some((work.plan, checks))
}

const PICTURE: &str = "-f lavfi -i testsrc2=s=320x180:r=25:d=5";
const SOUND: &str = "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=5";

#[test]
fn the_test_film_keeps_flash_and_beep_together() {
    let Some(tools) = tools() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("it's a test.mp4");
    test_film::make(&tools, 5, &source).unwrap();
    let work = split_film(&tools, &source).unwrap();
    assert_eq!(work.plan.chunks.len(), 5);
    let checks = work.finish().unwrap();
    assert!(verify::all_passed(&checks), "{checks:#?}");
    let beat = checks
        .iter()
        .find(|check| check.name == "flash and beep")
        .unwrap();
    assert_eq!(beat.passed, Some(true), "{checks:#?}");
}

#[test]
fn h264_with_b_frames_sound_and_edit_list() {
    let args = format!("{PICTURE} {SOUND} -c:v libx264 -preset ultrafast -g 25 -bf 3 -c:a aac");
    let Some((plan, _)) = transcode(&args, "film.mp4") else {
        return;
    };
    assert_eq!(plan.chunks.len(), 5);
}

#[test]
fn h264_with_open_groups() {
    let args = format!(
        "{PICTURE} -c:v libx264 -preset ultrafast -bf 3 -x264-params open-gop=1:keyint=25:b-adapt=0"
    );
    transcode(&args, "film.mp4");
}

#[test]
fn hevc_with_open_groups() {
    let args = format!(
        "{PICTURE} -c:v libx265 -preset fast -x265-params keyint=25:min-keyint=25:open-gop=1:bframes=4:b-adapt=0:log-level=error"
    );
    transcode(&args, "film.mkv");
}

#[test]
fn mpeg_2_with_open_groups_and_sound_that_starts_with_an_offset() {
    let args =
        format!("{PICTURE} -itsoffset 0.4 {SOUND} -c:v mpeg2video -g 12 -bf 2 -b:v 1M -c:a mp2");
    let Some((plan, checks)) = transcode(&args, "film.ts") else {
        return;
    };
    let overlap = plan
        .chunks
        .windows(2)
        .any(|p| p[0].end_packet != Some(p[1].first_packet));
    assert!(overlap, "this film is meant to have open groups: {plan:?}");
    assert!(
        plan.origin_us > 0,
        "a transport stream does not start at 0: {checks:?}"
    );
}

#[test]
fn mpeg_4_in_avi_with_a_coarse_time_base() {
    let args = format!("{PICTURE} {SOUND} -c:v mpeg4 -g 25 -bf 2 -c:a mp2");
    transcode(&args, "film.avi");
}

#[test]
fn a_film_rate_that_matroska_rounds_to_milliseconds() {
    let args = "-f lavfi -i testsrc2=s=320x180:r=24000/1001:d=5 -c:v libx264 -preset ultrafast -g 24 -bf 2";
    let Some((plan, _)) = transcode(args, "film.mkv") else {
        return;
    };
    assert_eq!(plan.constant_rate, "24000/1001".parse().ok());
}

#[test]
fn a_variable_frame_rate() {
    let args = "-f lavfi -i testsrc2=s=320x180:r=60:d=5,select='gt(random(1)\\,0.6)' -fps_mode vfr -c:v libx264 -preset ultrafast -g 24 -bf 2";
    let Some((plan, _)) = transcode(args, "film.mp4") else {
        return;
    };
    assert_eq!(plan.constant_rate, None);
    assert!(plan.chunks.len() > 2);
}

#[test]
fn vp9_in_webm_with_opus() {
    let args = format!(
        "{PICTURE} {SOUND} -c:v libvpx-vp9 -g 25 -deadline realtime -cpu-used 8 -c:a libopus"
    );
    transcode(&args, "film.webm");
}

#[test]
fn a_film_of_odd_size_that_stands_on_its_side() {
    let Some(tools) = tools() else { return };
    let dir = tempfile::tempdir().unwrap();
    let upright = dir.path().join("upright.mov");
    let args = "-f lavfi -i testsrc2=s=321x181:r=25:d=3 -c:v mjpeg -pix_fmt yuvj444p";
    assert!(make(args, &upright));
    let source = dir.path().join("film.mov");
    let turn = format!("-i {} -c copy -metadata:s:v rotate=90", upright.display());
    assert!(make(&turn, &source));
    let work = split_film(&tools, &source).unwrap();
    let checks = work.finish().unwrap();
    assert!(verify::all_passed(&checks), "{checks:#?}");
}

#[test]
fn a_single_group_is_a_single_chunk() {
    let args = format!("{PICTURE} -c:v libx264 -preset ultrafast -g 9999 -sc_threshold 0");
    let Some((plan, _)) = transcode(&args, "film.mp4") else {
        return;
    };
    assert_eq!(plan.chunks.len(), 1);
}

/// A damaged chunk is the input's fault, so that the queue does not try it again and again.
#[test]
fn a_damaged_chunk_is_unreadable() {
    let Some(tools) = tools() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("film.mp4");
    test_film::make(&tools, 3, &source).unwrap();
    let work = split_film(&tools, &source).unwrap();
    let whole = std::fs::read(&work.pieces.chunks[1]).unwrap();
    for damage in [&b"this is no film"[..], &whole[..whole.len() / 2]] {
        std::fs::write(&work.pieces.chunks[1], damage).unwrap();
        let failure = work.encode(1).unwrap_err();
        assert!(matches!(failure, Failure::Unreadable(_)), "{failure:?}");
    }
}

/// The checks can fail: two chunks that change places, a chunk too few, sound too late.
#[test]
fn a_film_joined_wrongly_does_not_pass() {
    let Some(tools) = tools() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("film.mp4");
    test_film::make(&tools, 4, &source).unwrap();
    let work = split_film(&tools, &source).unwrap();
    let parts: Vec<PathBuf> = (0..4).map(|index| work.encode(index).unwrap()).collect();
    let audio = work.dir.path().join("audio.m4a");
    let input = work.pieces.audio.clone().unwrap();
    let late = -60_000;
    encode::audio(&tools, late, &settings(), &input, &audio, None).unwrap();
    let film = work.dir.path().join("film.mp4");
    let swapped = [0, 2, 1, 3].map(|at| parts[at].clone());
    join::join(
        &tools,
        &work.plan,
        &swapped,
        Some(&audio),
        work.dir.path(),
        &film,
        None,
    )
    .unwrap();
    let checks = verify::verify(&tools, &work.plan, &source, &film).unwrap();
    let failed: Vec<&str> = checks
        .iter()
        .filter(|check| check.passed == Some(false))
        .map(|check| check.name)
        .collect();
    assert_eq!(failed, ["pictures", "flash and beep"], "{checks:#?}");
    let few = &parts[..3];
    assert!(join::join(&tools, &work.plan, few, None, work.dir.path(), &film, None).is_err());
}
