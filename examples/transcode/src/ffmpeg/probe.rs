//! Asks ffprobe what is in a file.
//!
//! Two questions are asked of a film. Its *frames* as a decoder gives them, in the order of display,
//! are the truth that chunks and the finished film are counted against. Its *packets*, in the order of
//! the file, tell where it can be cut. The two differ: a packet may hold half a frame, or a frame that
//! an edit list hides.

use super::tool::{self, Failure, Tools};
use crate::film::ratio::Ratio;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The first video stream that is not a cover picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Video {
    /// Codec as ffmpeg names it.
    pub codec: String,
    /// Stored width in pixels.
    pub width: u32,
    /// Stored height in pixels.
    pub height: u32,
    /// Unit of its timestamps in seconds.
    pub time_base: Ratio,
    /// Frames a second, on average or as the container states.
    pub frame_rate: Ratio,
    /// Clockwise turn a player has to make, in degrees: 0, 90, 180, 270.
    pub turn: u32,
    /// `-color_…` arguments that keep the colours what they are.
    pub colors: Vec<(String, String)>,
}

/// The first audio stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audio {
    /// Codec as ffmpeg names it.
    pub codec: String,
    /// Samples a second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u32,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Streams {
    /// The picture.
    pub video: Video,
    /// The sound, if there is any.
    pub audio: Option<Audio>,
}

/// A compressed packet of the video stream, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it is shown, in the stream's time base; absent in damaged files.
    pub pts: Option<i64>,
    /// Decoding may start here.
    pub key: bool,
}

/// Reads what streams there are.
pub fn streams(tools: &Tools, file: &Path) -> Result<Streams, Failure> {
    let video = first_stream(tools, file, "V:0")?
        .ok_or_else(|| Failure::unreadable(format!("{} holds no video stream", file.display())))?;
    let audio = first_stream(tools, file, "a:0")?;
    Ok(Streams {
        video: parse_video(&video).map_err(|field| {
            Failure::unreadable(format!(
                "the video stream of {} states no usable {field}",
                file.display()
            ))
        })?,
        audio: audio.as_ref().and_then(parse_audio),
    })
}

/// Decodes the video stream and answers the timestamp of each frame, in the order of display.
pub fn frames(tools: &Tools, file: &Path) -> Result<Vec<i64>, Failure> {
    let mut command = tools.ffprobe();
    command
        .args([
            "-threads",
            "0",
            "-fflags",
            "+genpts",
            "-select_streams",
            "V:0",
        ])
        .args(["-show_entries", "frame=best_effort_timestamp"])
        .arg(file);
    let mut frames = Vec::new();
    let mut without_time = 0_u64;
    tool::lines(command, |line| {
        if let Some(value) = field(line, "best_effort_timestamp") {
            match value.parse() {
                Ok(pts) => frames.push(pts),
                Err(_) => without_time += 1,
            }
        }
    })?;
    if without_time > 0 {
        return Err(Failure::unreadable(format!(
            "{without_time} frames of {} carry no time; put it into a container first: \
             ffmpeg -fflags +genpts -i IN -c copy OUT.mkv",
            file.display()
        )));
    }
    Ok(frames)
}

/// Decodes the video stream and answers when each frame is shown, in seconds of the file's own time.
pub fn frame_times_s(tools: &Tools, file: &Path) -> Result<Vec<f64>, Failure> {
    let base = streams(tools, file)?.video.time_base;
    let frames = frames(tools, file)?;
    Ok(frames.into_iter().map(|pts| base.seconds(pts)).collect())
}

/// The length of a file as its container states it, in seconds; 0 if it does not.
pub fn duration_s(tools: &Tools, file: &Path) -> Result<f64, Failure> {
    let mut command = tools.ffprobe();
    command.args(["-show_entries", "format=duration"]).arg(file);
    let mut duration = None;
    tool::lines(command, |line| {
        duration = duration.or(field(line, "duration").and_then(|value| value.parse().ok()));
    })?;
    Ok(duration.unwrap_or(0.0))
}

/// The time of the first video packet in the file, in seconds.
pub fn first_packet_s(tools: &Tools, file: &Path) -> Result<f64, Failure> {
    let mut command = tools.ffprobe();
    command
        .args(["-select_streams", "V:0", "-read_intervals", "%+#1"])
        .args(["-show_entries", "packet=pts_time"])
        .arg(file);
    let mut first = None;
    tool::lines(command, |line| {
        if first.is_none() {
            first = field(line, "pts_time").and_then(|pts| pts.parse().ok());
        }
    })?;
    first.ok_or_else(|| Failure::unreadable(format!("{} holds no video packet", file.display())))
}

/// Reads the packets of the video stream.
pub fn packets(tools: &Tools, file: &Path) -> Result<Vec<Packet>, Failure> {
    let mut command = tools.ffprobe();
    command
        .args(["-fflags", "+genpts", "-select_streams", "V:0"])
        .args(["-show_entries", "packet=pts,flags"])
        .arg(file);
    let mut packets = Vec::new();
    tool::lines(command, |line| {
        if let Some(flags) = field(line, "flags") {
            packets.push(Packet {
                pts: field(line, "pts").and_then(|pts| pts.parse().ok()),
                key: flags.starts_with('K'),
            });
        }
    })?;
    Ok(packets)
}

/// The length of the first audio stream as it decodes, in seconds, and how late it starts after the
/// first frame of the video.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AudioSpan {
    /// Seconds from the file's zero to the first sample.
    pub start_s: f64,
    /// Seconds from the first sample to the end of the last.
    pub length_s: f64,
}

/// Reads where the sound begins and ends, without decoding it.
pub fn audio_span(tools: &Tools, file: &Path) -> Result<Option<AudioSpan>, Failure> {
    let mut command = tools.ffprobe();
    command
        .args(["-select_streams", "a:0"])
        .args(["-show_entries", "packet=pts_time,duration_time,flags"])
        .arg(file);
    let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
    tool::lines(command, |line| {
        let discarded = field(line, "flags").is_some_and(|flags| flags.contains('D'));
        let number = |name| field(line, name).and_then(|v| v.parse::<f64>().ok());
        if let (false, Some(pts)) = (discarded, number("pts_time")) {
            first = first.min(pts);
            last = last.max(pts + number("duration_time").unwrap_or(0.0));
        }
    })?;
    Ok((last >= first).then_some(AudioSpan {
        start_s: first,
        length_s: last - first,
    }))
}

/// A fingerprint of the decoder configuration (parameter sets) of a file's first video stream.
pub fn configuration(tools: &Tools, file: &Path) -> Result<String, Failure> {
    let mut command = tools.ffprobe();
    command
        .args(["-select_streams", "V:0", "-show_data_hash", "sha256"])
        .args(["-show_entries", "stream=extradata_hash"])
        .arg(file);
    let mut hash = String::new();
    tool::lines(command, |line| {
        if let Some(value) = field(line, "extradata_hash") {
            value.clone_into(&mut hash);
        }
    })?;
    Ok(hash)
}

type Fields = BTreeMap<String, String>;

fn first_stream(tools: &Tools, file: &Path, which: &str) -> Result<Option<Fields>, Failure> {
    let mut command = tools.ffprobe();
    command
        .args(["-select_streams", which, "-show_streams"])
        .arg(file);
    let mut fields = None;
    tool::lines(command, |line| {
        if fields.is_none() && line.contains("codec_name=") {
            fields = Some(parse_fields(line));
        }
    })?;
    Ok(fields)
}

fn parse_fields(line: &str) -> Fields {
    line.split('|')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The value of `name` in a line of `key=value|key=value`.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split('|')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn parse_video(fields: &Fields) -> Result<Video, &'static str> {
    let number = |name| fields.get(name).and_then(|v| v.parse().ok());
    let ratio = |name| fields.get(name).and_then(|v| v.parse::<Ratio>().ok());
    // Where exactly the display matrix appears differs between releases; the name of the field does not.
    let anticlockwise: f64 = fields
        .iter()
        .find(|(key, _)| key.ends_with("rotation"))
        .and_then(|(_, degrees)| degrees.parse().ok())
        .unwrap_or(0.0);
    let turn = (-anticlockwise / 90.0).round().rem_euclid(4.0) as u32 * 90;
    let colors = [
        ("color_range", "-color_range"),
        ("color_space", "-colorspace"),
        ("color_transfer", "-color_trc"),
        ("color_primaries", "-color_primaries"),
    ]
    .iter()
    .filter_map(|(name, option)| {
        let value = fields.get(*name)?;
        let known = value != "unknown" && value != "reserved" && value != "N/A";
        known.then(|| ((*option).to_owned(), value.clone()))
    })
    .collect();
    Ok(Video {
        codec: fields.get("codec_name").cloned().unwrap_or_default(),
        width: number("width").filter(|w| *w > 0).ok_or("width")?,
        height: number("height").filter(|h| *h > 0).ok_or("height")?,
        time_base: ratio("time_base").ok_or("time base")?,
        frame_rate: ratio("avg_frame_rate")
            .or_else(|| ratio("r_frame_rate"))
            .ok_or("frame rate")?,
        turn,
        colors,
    })
}

fn parse_audio(fields: &Fields) -> Option<Audio> {
    Some(Audio {
        codec: fields.get("codec_name")?.clone(),
        sample_rate: fields.get("sample_rate")?.parse().ok()?,
        channels: fields.get("channels")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_turn_of_a_phone_film_wherever_a_release_puts_it() {
        let base = "codec_name=h264|width=1920|height=1080|time_base=1/600|avg_frame_rate=30/1";
        for (extra, turn) in [
            ("", 0),
            ("|side_datum/display_matrix:rotation=-90", 90),
            ("|side_datum/display_matrix:rotation=90", 270),
            ("|side_datum/display_matrix:rotation=180", 180),
            ("|rotation=90", 270),
        ] {
            let video = parse_video(&parse_fields(&format!("{base}{extra}"))).unwrap();
            assert_eq!(video.turn, turn, "{extra}");
        }
    }

    #[test]
    fn refuses_a_stream_without_size_or_time() {
        let line = "codec_name=h264|width=0|height=1080|time_base=1/600|avg_frame_rate=30/1";
        assert_eq!(parse_video(&parse_fields(line)), Err("width"));
        let line = "codec_name=h264|width=10|height=10|time_base=1/600|avg_frame_rate=0/0";
        assert_eq!(parse_video(&parse_fields(line)), Err("frame rate"));
    }
}
