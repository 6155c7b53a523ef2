use super::*;
use crate::ffmpeg::probe::Video;
use proptest::prelude::*;

fn streams(time_base: &str, frame_rate: &str) -> Streams {
    Streams {
        video: Video {
            codec: "h264".into(),
            width: 320,
            height: 180,
            time_base: time_base.parse().unwrap(),
            frame_rate: frame_rate.parse().unwrap(),
            turn: 0,
            colors: Vec::new(),
        },
        audio: None,
    }
}

/// Groups of pictures as an encoder lays them down: `I P b b P b b …`, closed or open.
fn film(groups: usize, size: usize, open: bool, tick: i64) -> (Vec<i64>, Vec<Packet>) {
    let mut packets = Vec::new();
    for group in 0..groups {
        let first = (group * size) as i64;
        let mut frame = |at: i64, key| {
            packets.push(Packet {
                pts: Some(at * tick),
                key,
            });
        };
        frame(first, true);
        if open && group > 0 {
            // The two frames before the key frame are stored behind it.
            frame(first - 2, false);
            frame(first - 1, false);
        }
        let end = first + size as i64 - if open && group + 1 < groups { 2 } else { 0 };
        for at in first + 1..end {
            frame(at, false);
        }
    }
    let mut frames: Vec<i64> = packets.iter().filter_map(|p| p.pts).collect();
    frames.sort_unstable();
    (frames, packets)
}

#[test]
fn cuts_closed_groups_without_overlap() {
    let (frames, packets) = film(10, 25, false, 3600);
    let plan = plan(&streams("1/90000", "25/1"), &frames, &packets, None).unwrap();
    assert_eq!(plan.chunks.len(), 10);
    assert_eq!(plan.length_us, 10_000_000);
    for pair in plan.chunks.windows(2) {
        assert_eq!(pair[0].end_packet, Some(pair[1].first_packet));
    }
}

#[test]
fn lets_a_chunk_of_an_open_group_reach_to_the_end_of_the_next_group() {
    let (frames, packets) = film(4, 25, true, 3600);
    let plan = plan(&streams("1/90000", "25/1"), &frames, &packets, Some(1)).unwrap();
    let keys: Vec<u32> = (0..packets.len() as u32)
        .filter(|at| packets[*at as usize].key)
        .collect();
    assert_eq!(plan.chunks.len(), 4);
    assert_eq!(plan.chunks[0].end_packet, Some(keys[2]));
    assert_eq!(plan.chunks[1].end_packet, Some(keys[3]));
    assert_eq!(
        plan.chunks[2].end_packet, None,
        "the last group ends with the file"
    );
}

#[test]
fn numbers_the_frames_of_a_constant_rate_that_a_container_rounded_to_milliseconds() {
    let frames: Vec<i64> = (0..240)
        .map(|n| (f64::from(n) * 1001.0 / 24.0).round() as i64)
        .collect();
    let packets: Vec<Packet> = frames
        .iter()
        .enumerate()
        .map(|(n, pts)| Packet {
            pts: Some(*pts),
            key: n % 24 == 0,
        })
        .collect();
    let plan = plan(&streams("1/1000", "24000/1001"), &frames, &packets, None).unwrap();
    assert_eq!(plan.constant_rate, "24000/1001".parse().ok());
    assert_eq!(plan.chunks[1].start_us, 1_001_000);
    assert_eq!(plan.length_us, 10_010_000);
}

#[test]
fn keeps_the_times_of_a_variable_rate() {
    let frames = [0, 10, 50, 60, 300, 310];
    let packets = frames.map(|pts| Packet {
        pts: Some(pts),
        key: pts == 0 || pts == 300,
    });
    let plan = plan(&streams("1/100", "10/1"), &frames, &packets, Some(1)).unwrap();
    assert_eq!(plan.constant_rate, None);
    assert_eq!(plan.chunks[1].start_us, 3_000_000);
    assert_eq!(plan.chunks[0].length_us, 3_000_000);
    assert_eq!(plan.chunks[1].guard_us, 1_200_000);
}

#[test]
fn refuses_films_without_frames_and_with_standing_time() {
    let s = streams("1/25", "25/1");
    assert_eq!(plan(&s, &[], &[], None), Err(PlanError::Empty));
    assert_eq!(plan(&s, &[0, 1, 1], &[], None), Err(PlanError::Time(2)));
}

proptest! {
    /// Whatever the groups, the chunks cover every frame once, in order and without a gap in time.
    #[test]
    fn chunks_cover_the_film_exactly(
        groups in 1_usize..30,
        size in 3_usize..40,
        open: bool,
        tick in 1_i64..5000,
        seconds in proptest::option::of(1_u32..20),
    ) {
        let (frames, packets) = film(groups, size, open, tick);
        let base = format!("1/{}", tick * 25);
        let plan = plan(&streams(&base, "25/1"), &frames, &packets, seconds).unwrap();
        let mut frame = 0;
        let mut time = 0;
        for chunk in &plan.chunks {
            prop_assert_eq!(chunk.first_frame, frame);
            prop_assert_eq!(chunk.start_us, time);
            prop_assert!(chunk.frames > 0);
            frame += chunk.frames;
            time += chunk.length_us;
        }
        prop_assert_eq!(frame as usize, frames.len());
        prop_assert_eq!(time, plan.length_us);
        // Every frame of a chunk is in the chunk's file.
        for chunk in &plan.chunks {
            let end = chunk.end_packet.map_or(packets.len(), |at| at as usize);
            let file: Vec<i64> =
                packets[chunk.first_packet as usize..end].iter().filter_map(|p| p.pts).collect();
            let first = chunk.first_frame as usize;
            for pts in &frames[first..first + chunk.frames as usize] {
                prop_assert!(file.contains(pts));
            }
        }
    }
}
