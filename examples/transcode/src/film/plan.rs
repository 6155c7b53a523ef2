//! Decides where a film is cut. Pure: what ffprobe saw comes in, the plan comes out.
//!
//! A chunk is a range of frames in the order of display, which begins with a key frame. To decode
//! exactly these frames one needs the packets from that key frame on. With *closed* groups of pictures
//! they end before the next chunk's key frame. With *open* ones (usual in MPEG-2 and HEVC) the last
//! frames of a chunk stand in the file behind the next key frame and refer to it, so the chunk's file
//! must reach into the next group. Such files overlap; the encoder counts frames and stops in time.

use super::ratio::Ratio;
use crate::ffmpeg::probe::{Packet, Streams};
use serde::{Deserialize, Serialize};

/// Fewest chunks that the default chunk length aims at: enough to keep many workers busy.
const CHUNKS_AIM: f64 = 30.0;
/// Bounds of the default chunk length in seconds: shorter ones cost quality, longer ones repeat more
/// work when a worker is lost.
const CHUNK_SECONDS: std::ops::RangeInclusive<f64> = 1.0..=10.0;
/// Most chunks of one film; beyond that chunks get longer. Their list must fit one argument of ffmpeg.
const CHUNKS_MAX: f64 = 10_000.0;

/// One job's share of the film.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Frames that come out of it.
    pub frames: u32,
    /// Its first frame, counted from the film's first.
    pub first_frame: u32,
    /// When its first frame is shown, from the film's first frame, in microseconds.
    pub start_us: i64,
    /// From its first frame to the next chunk's, in microseconds.
    pub length_us: i64,
    /// Its first frame's time minus its first packet's, in microseconds: 0 unless the film begins in
    /// the middle of a group of pictures.
    pub lead_us: i64,
    /// Half the gap to the frame before, or of a frame at the film's start: where it is safe to cut.
    pub guard_us: i64,
    /// First packet of its file, counted from the file's first.
    pub first_packet: u32,
    /// One past the last packet of its file; nothing means to the end.
    pub end_packet: Option<u32>,
}

/// How a film is cut and what has to come out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What the film holds.
    pub streams: Streams,
    /// Frames of the whole film.
    pub frames: u32,
    /// Time of the first frame in the source's own time, in microseconds.
    pub origin_us: i64,
    /// From the first frame to the end of the last, in microseconds.
    pub length_us: i64,
    /// Unit of the timestamps of what is encoded.
    pub time_base: Ratio,
    /// Set if the frames come at a constant rate: then they are numbered rather than timed, which
    /// mends the rounding of containers that count in milliseconds.
    pub constant_rate: Option<Ratio>,
    /// The cuts.
    pub chunks: Vec<Chunk>,
}

/// Why a film cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing to encode.
    #[error("the film holds no frame that can be decoded")]
    Empty,
    /// Time does not pass.
    #[error(
        "frame {0} is not shown after the one before it; repair the film first: ffmpeg -i IN -c copy -fflags +genpts OUT.mkv"
    )]
    Time(usize),
    /// More than fits.
    #[error("the film has more than 2^32 frames or packets; cut it into parts first")]
    TooLong,
}

/// Cuts a film. `frames` are the timestamps of its frames in the order of display, `packets` those of
/// the file in its order, both in the time base of the video stream.
pub fn plan(
    streams: &Streams,
    frames: &[i64],
    packets: &[Packet],
    chunk_seconds: Option<u32>,
) -> Result<Plan, PlanError> {
    let (Some(&origin), Some(&last)) = (frames.first(), frames.last()) else {
        return Err(PlanError::Empty);
    };
    if let Some(at) = frames.windows(2).position(|pair| pair[0] >= pair[1]) {
        return Err(PlanError::Time(at + 1));
    }
    let count = u32::try_from(frames.len()).map_err(|_| PlanError::TooLong)?;
    u32::try_from(packets.len()).map_err(|_| PlanError::TooLong)?;
    let video = &streams.video;
    let constant_rate = constant_rate(frames, video.time_base, video.frame_rate);
    let clock = Clock {
        frames,
        origin,
        source: video.time_base,
        constant: constant_rate,
    };
    let frame_us = match frames.len() {
        1 => (1e6 / video.frame_rate.value()) as i64,
        n => clock.micros(n - 1) / (n as i64 - 1),
    };
    let length_us = match constant_rate {
        Some(rate) => rate.inverse().micros(i64::from(count)),
        None => video.time_base.micros(last - origin) + frame_us,
    };
    let wanted_us = wanted_chunk_us(length_us, chunk_seconds);
    let cuts = choose_cuts(frames, packets, &clock, wanted_us);
    Ok(Plan {
        streams: streams.clone(),
        frames: count,
        origin_us: video.time_base.micros(origin),
        length_us,
        time_base: constant_rate.map_or(video.time_base, Ratio::inverse),
        constant_rate,
        chunks: chunks(&cuts, packets, &clock, length_us, frame_us),
    })
}

/// Times of frames from the film's first, exact for a constant rate.
struct Clock<'a> {
    frames: &'a [i64],
    origin: i64,
    source: Ratio,
    constant: Option<Ratio>,
}

impl Clock<'_> {
    fn micros(&self, frame: usize) -> i64 {
        match self.constant {
            Some(rate) => rate.inverse().micros(frame as i64),
            None => self.source.micros(self.frames[frame] - self.origin),
        }
    }
}

/// The stated rate, if no frame is further from it than the rounding of the time base explains.
fn constant_rate(frames: &[i64], time_base: Ratio, rate: Ratio) -> Option<Ratio> {
    let origin = *frames.first()?;
    let frame_s = 1.0 / rate.value();
    let tolerance = (time_base.value() * 1.01).min(frame_s / 4.0);
    let constant = frames
        .iter()
        .enumerate()
        .all(|(n, pts)| (time_base.seconds(pts - origin) - n as f64 * frame_s).abs() <= tolerance);
    constant.then_some(rate)
}

fn wanted_chunk_us(length_us: i64, chunk_seconds: Option<u32>) -> i64 {
    let length_s = length_us as f64 / 1e6;
    let wanted = match chunk_seconds {
        Some(seconds) => f64::from(seconds),
        None => (length_s / CHUNKS_AIM).clamp(*CHUNK_SECONDS.start(), *CHUNK_SECONDS.end()),
    };
    // A little less, so that key frames just before the full length count.
    (wanted.max(length_s / CHUNKS_MAX) * 0.98e6) as i64
}

/// A place where the film is cut: the frame that begins a chunk and the packet that holds it.
#[derive(Clone, Copy)]
struct Cut {
    frame: usize,
    packet: usize,
}

fn choose_cuts(frames: &[i64], packets: &[Packet], clock: &Clock<'_>, wanted_us: i64) -> Vec<Cut> {
    // The latest time shown by any packet before this one: a frame that is shown later but stored
    // earlier would be on the wrong side of a cut here.
    let mut latest = i64::MIN;
    let mut cuts = vec![Cut {
        frame: 0,
        packet: 0,
    }];
    let mut previous_us = 0;
    for (packet, Packet { pts, key }) in packets.iter().enumerate() {
        let Some(pts) = *pts else { continue };
        if *key
            && packet > 0
            && pts > latest
            && let Ok(frame) = frames.binary_search(&pts)
        {
            let at_us = clock.micros(frame);
            if frame > 0 && at_us - previous_us >= wanted_us {
                cuts.push(Cut { frame, packet });
                previous_us = at_us;
            }
        }
        latest = latest.max(pts);
    }
    cuts
}

fn chunks(
    cuts: &[Cut],
    packets: &[Packet],
    clock: &Clock<'_>,
    length_us: i64,
    frame_us: i64,
) -> Vec<Chunk> {
    let ends = cuts.iter().skip(1).map(Some).chain([None]);
    cuts.iter()
        .zip(ends)
        .map(|(cut, next)| {
            let end_frame = next.map_or(clock.frames.len(), |next| next.frame);
            let start_us = clock.micros(cut.frame);
            let end_us = next.map_or(length_us, |next| clock.micros(next.frame));
            let first_pts = clock.frames[cut.frame];
            let packet_pts = packets.get(cut.packet).and_then(|p| p.pts);
            let gap_us = match cut.frame {
                0 => frame_us,
                frame => clock.source.micros(first_pts - clock.frames[frame - 1]),
            };
            Chunk {
                frames: (end_frame - cut.frame) as u32,
                first_frame: cut.frame as u32,
                start_us,
                length_us: end_us - start_us,
                lead_us: clock
                    .source
                    .micros(first_pts - packet_pts.unwrap_or(first_pts)),
                guard_us: gap_us / 2,
                first_packet: cut.packet as u32,
                end_packet: next.and_then(|next| end_packet(packets, next.packet)),
            }
        })
        .collect()
}

/// One past the last packet that the chunk before the key packet `next` needs.
fn end_packet(packets: &[Packet], next: usize) -> Option<u32> {
    let shown = packets[next].pts;
    let following_key = packets
        .iter()
        .enumerate()
        .skip(next + 1)
        .find_map(|(at, packet)| packet.key.then_some(at));
    let group = &packets[next..following_key.unwrap_or(packets.len())];
    let open = group.iter().any(|packet| packet.pts < shown);
    match open {
        false => Some(next as u32),
        true => following_key.map(|at| at as u32),
    }
}

#[cfg(test)]
mod tests;
