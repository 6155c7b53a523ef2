//! A frame: the unit that is written, synced and recovered as a whole.
//!
//! ```text
//!  0  magic "QFR", format 1        24  synced: number of the last frame that was known to be
//!  4  body length                      synced when this one was written
//!  8  segment                      32  CRC-32 of the body
//! 16  number of this frame         36  CRC-32 of the disk id and bytes 0 to 35
//! ```
//!
//! Little endian throughout. The checksum of the header covers the random id of the disk, so that
//! neither a frame of another directory nor a client's payload that imitates one is ever taken for a
//! frame of this log.

use crate::types::DiskId;

/// Length of a frame's header.
pub(super) const HEADER_BYTES: usize = 40;

/// What disks write whole, if they write it at all: 512 bytes on all of them, and more on most.
const SECTOR_BYTES: usize = 512;

const MAGIC: [u8; 4] = *b"QFR\x01";

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Length of the body.
    pub(super) body_len: u32,
    /// The segment it was written to.
    pub(super) segment: u64,
    /// Number of the frame: 1, 2, 3, … through all segments.
    pub(super) seq: u64,
    /// The last frame that was known to be synced when this one was written.
    pub(super) synced: u64,
    /// Checksum of the body.
    pub(super) body_crc: u32,
}

/// CRC-32 (IEEE) of `bytes` under this disk's id.
pub(super) fn keyed_crc(disk: DiskId, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&disk.0.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// The little-endian number at `at`; `bytes` is long enough.
pub(super) fn le_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were taken"))
}

/// The little-endian number at `at`; `bytes` is long enough.
pub(super) fn le_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(
        bytes[at..at + 8]
            .try_into()
            .expect("eight bytes were taken"),
    )
}

impl Header {
    fn encode(&self, disk: DiskId) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&self.body_len.to_le_bytes());
        out[8..16].copy_from_slice(&self.segment.to_le_bytes());
        out[16..24].copy_from_slice(&self.seq.to_le_bytes());
        out[24..32].copy_from_slice(&self.synced.to_le_bytes());
        out[32..36].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = keyed_crc(disk, &out[..36]);
        out[36..40].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8], disk: DiskId) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        if bytes[..4] != MAGIC || le_u32(bytes, 36) != keyed_crc(disk, &bytes[..36]) {
            return None;
        }
        Some(Self {
            body_len: le_u32(bytes, 4),
            segment: le_u64(bytes, 8),
            seq: le_u64(bytes, 16),
            synced: le_u64(bytes, 24),
            body_crc: le_u32(bytes, 32),
        })
    }
}

/// An empty frame: room for the header, to which a body is appended.
pub(super) fn begin() -> Vec<u8> {
    vec![0; HEADER_BYTES]
}

/// Fills in the header of a frame that [`begin`] began.
pub(super) fn seal(frame: &mut [u8], disk: DiskId, segment: u64, seq: u64, synced: u64) {
    let (header, body) = frame.split_at_mut(HEADER_BYTES);
    let sealed = Header {
        body_len: u32::try_from(body.len()).expect("a frame is cut far below 4 GiB"),
        segment,
        seq,
        synced,
        body_crc: crc32fast::hash(body),
    };
    header.copy_from_slice(&sealed.encode(disk));
}

/// Reads the frame at the start of `bytes`: its header and body, or what is wrong with it.
pub(super) fn read(bytes: &[u8], disk: DiskId) -> Result<(Header, &[u8]), &'static str> {
    if bytes.len() < HEADER_BYTES {
        return Err("the file ends within a frame's header");
    }
    let header =
        Header::decode(bytes, disk).ok_or("a frame's header does not match its checksum")?;
    let body = usize::try_from(header.body_len)
        .ok()
        .and_then(|len| bytes.get(HEADER_BYTES..HEADER_BYTES.checked_add(len)?))
        .ok_or("the file ends within a frame's body")?;
    if crc32fast::hash(body) != header.body_crc {
        return Err("a frame's body does not match its checksum");
    }
    Ok((header, body))
}

/// Whether the broken frame at the start of `bytes`, which stands at `offset` in its file and is the last
/// thing in it, lacks a part that was written: the file ends within it, or a sector of it reads as zeros.
pub(super) fn lacks_something(bytes: &[u8], offset: usize, disk: DiskId) -> bool {
    let Some(header) = bytes.get(..HEADER_BYTES) else {
        return true;
    };
    // Without a header that can be trusted, the frame is whatever is left of the file.
    let len = Header::decode(header, disk).map_or(bytes.len(), |header| {
        HEADER_BYTES.saturating_add(usize::try_from(header.body_len).unwrap_or(usize::MAX))
    });
    let Some(frame) = bytes.get(..len) else {
        return true;
    };
    let (first, rest) = frame.split_at((SECTOR_BYTES - offset % SECTOR_BYTES).min(len));
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == 0);
    is_zero(first) || rest.chunks(SECTOR_BYTES).any(is_zero)
}

/// The first place in `bytes` with the header of a frame of this segment numbered `seq_min` or above.
pub(super) fn find(bytes: &[u8], disk: DiskId, segment: u64, seq_min: u64) -> Option<usize> {
    (0..bytes.len().saturating_sub(HEADER_BYTES - 1)).find(|&at| {
        bytes[at..].starts_with(&MAGIC)
            && Header::decode(&bytes[at..], disk)
                .is_some_and(|header| header.segment == segment && header.seq >= seq_min)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: DiskId = DiskId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

    fn sample() -> Vec<u8> {
        let mut frame = begin();
        frame.extend_from_slice(b"body");
        seal(&mut frame, DISK, 2, 9, 8);
        frame
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_frame_is_seen() {
        let good = sample();
        let (header, body) = read(&good, DISK).unwrap();
        assert_eq!(
            (header.segment, header.seq, header.synced, body),
            (2, 9, 8, &b"body"[..])
        );
        for len in 0..good.len() {
            assert!(read(&good[..len], DISK).is_err(), "cut to {len}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad, DISK).is_err(), "bit {bit}");
        }
        assert!(read(&good, DiskId(1)).is_err(), "a frame of another disk");
    }

    #[test]
    fn an_interrupted_frame_lacks_something_and_a_damaged_one_does_not() {
        let mut whole = begin();
        whole.extend((0..3_000u32).map(|n| n as u8 | 1));
        seal(&mut whole, DISK, 2, 9, 8);
        let at = 700;
        for cut in 0..whole.len() {
            assert!(lacks_something(&whole[..cut], at, DISK), "cut to {cut}");
        }
        for missing in (at..at + whole.len()).step_by(100) {
            let mut torn = whole.clone();
            let sector = missing / SECTOR_BYTES * SECTOR_BYTES;
            let end = (sector + SECTOR_BYTES - at).min(whole.len());
            torn[sector.saturating_sub(at)..end].fill(0);
            assert!(lacks_something(&torn, at, DISK), "sector at {sector}");
        }
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!lacks_something(&damaged, at, DISK), "bit {bit}");
        }
    }

    #[test]
    fn a_later_frame_is_found_behind_damage_and_only_a_later_one_of_this_segment() {
        let mut bytes = b"QFR damage QFR\x01".to_vec();
        let at = bytes.len();
        bytes.extend_from_slice(&sample());
        assert_eq!(find(&bytes, DISK, 2, 9), Some(at));
        assert_eq!(find(&bytes, DISK, 2, 10), None);
        assert_eq!(find(&bytes, DISK, 3, 9), None);
        assert_eq!(find(&bytes, DiskId(1), 2, 9), None);
        assert_eq!(find(&bytes[..at + HEADER_BYTES - 1], DISK, 2, 9), None);
        assert_eq!(find(&[], DISK, 2, 9), None);
    }
}
