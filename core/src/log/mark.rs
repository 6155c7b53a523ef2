//! The mark: a tiny file, beside the log, that remembers the last frame known to be synced.
//!
//! A log alone cannot tell a tail that was lost from one that was never written. So after every sync
//! the number of the synced frame is written here, in one of two slots by turns, each in a sector of
//! its own, so that a torn write leaves the other. The mark itself is synced only now and then (at
//! open, at the start of a segment, at an orderly close), because a sync each time would halve the
//! speed of the log. It therefore never claims too much, and after a power cut it may claim too little;
//! after the death of the process alone it is exact, since the system's cache survives.
//!
//! ```text
//! slot (at 0 and 512):
//!  0  magic "QMK", format 1     24  number of the frame
//!  4  1 if closed, else 0       32  where it ends in its segment
//!  8  number of this mark       40  CRC-32 of the disk id and bytes 0 to 39
//! 16  segment
//! ```

use super::error::LogError;
use super::frame::{keyed_crc, le_u32, le_u64};
use super::names::MARK;
use super::{Disk, DiskFile};
use crate::types::DiskId;
use std::io;

const MAGIC: [u8; 4] = *b"QMK\x01";
const SLOT_BYTES: usize = 44;
/// Distance of the slots: a sector, the unit that disks write whole.
const SLOT_STRIDE: usize = 512;
const FILE_BYTES: usize = 2 * SLOT_STRIDE;

/// What is known to be synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The log was closed in order with this as its very last frame.
    pub(super) closed: bool,
    /// The segment of the frame.
    pub(super) segment: u64,
    /// The frame.
    pub(super) seq: u64,
    /// Where it ends in its segment.
    pub(super) end: u64,
}

impl Mark {
    fn encode(&self, number: u64, disk: DiskId) -> [u8; SLOT_BYTES] {
        let mut out = [0; SLOT_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = u8::from(self.closed);
        out[8..16].copy_from_slice(&number.to_le_bytes());
        out[16..24].copy_from_slice(&self.segment.to_le_bytes());
        out[24..32].copy_from_slice(&self.seq.to_le_bytes());
        out[32..40].copy_from_slice(&self.end.to_le_bytes());
        let crc = keyed_crc(disk, &out[..40]);
        out[40..44].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The number of the mark and the mark.
    fn decode(bytes: &[u8], disk: DiskId) -> Option<(u64, Self)> {
        let bytes = bytes.get(..SLOT_BYTES)?;
        if bytes[..4] != MAGIC || le_u32(bytes, 40) != keyed_crc(disk, &bytes[..40]) {
            return None;
        }
        let mark = Self {
            closed: bytes[4] == 1,
            segment: le_u64(bytes, 16),
            seq: le_u64(bytes, 24),
            end: le_u64(bytes, 32),
        };
        Some((le_u64(bytes, 8), mark))
    }
}

/// The file, open for writing.
#[derive(Debug)]
pub(super) struct MarkFile<F> {
    file: F,
    disk: DiskId,
    /// Number of the next mark; its parity is its slot.
    next: u64,
}

/// Writes a new file with both slots empty.
pub(super) fn create<D: Disk>(disk: &D) -> Result<(), LogError> {
    let failed = |error| LogError::io("cannot create the mark", error);
    let mut file = disk.create(MARK).map_err(failed)?;
    file.append(&[0; FILE_BYTES]).map_err(failed)?;
    file.sync().map_err(failed)
}

/// Opens the file and reads the newest mark. A slot that does not check is passed over: it is only
/// evidence, and a torn one is normal after a power cut.
pub(super) fn open<D: Disk>(
    disk: &D,
    id: DiskId,
) -> Result<(MarkFile<D::File>, Option<Mark>), LogError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => LogError::corrupt(MARK, 0, "the file is missing"),
        _ => LogError::io("cannot read the mark", error),
    };
    let bytes = disk.read(MARK).map_err(failed)?;
    if bytes.len() != FILE_BYTES {
        return Err(LogError::corrupt(
            MARK,
            bytes.len() as u64,
            format!("it has {} bytes instead of {FILE_BYTES}", bytes.len()),
        ));
    }
    let slots = [0, 1].map(|slot| Mark::decode(&bytes[slot * SLOT_STRIDE..], id));
    let newest = slots
        .into_iter()
        .flatten()
        .max_by_key(|(number, _)| *number);
    let next = newest.map_or(0, |(number, _)| number + 1);
    let file = disk.open(MARK).map_err(failed)?;
    let file = MarkFile {
        file,
        disk: id,
        next,
    };
    Ok((file, newest.map(|(_, mark)| mark)))
}

impl<F: DiskFile> MarkFile<F> {
    /// Writes a mark, not synced.
    pub(super) fn write(&mut self, mark: Mark) -> Result<(), LogError> {
        let offset = (self.next % 2) * SLOT_STRIDE as u64;
        self.file
            .write_at(offset, &mark.encode(self.next, self.disk))
            .map_err(|error| LogError::io("cannot write the mark", error))?;
        self.next += 1;
        Ok(())
    }

    /// Writes a mark durably to both slots, one after the other, so that nothing older is left to be
    /// read and a power cut in between leaves one of them whole.
    pub(super) fn settle(&mut self, mark: Mark) -> Result<(), LogError> {
        for _ in 0..2 {
            self.write(mark)?;
            self.sync()?;
        }
        Ok(())
    }

    /// Makes the marks so far durable.
    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        self.file
            .sync()
            .map_err(|error| LogError::io("cannot sync the mark", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::SimDisk;

    const KEY: DiskId = DiskId(3);

    fn mark(seq: u64) -> Mark {
        Mark {
            closed: false,
            segment: 1,
            seq,
            end: 100 * seq,
        }
    }

    #[test]
    fn the_newest_mark_is_read_and_when_it_is_damaged_the_one_before() {
        let disk = SimDisk::new();
        create(&disk).unwrap();
        assert_eq!(open(&disk, KEY).unwrap().1, None);
        for seq in 1..=5 {
            let (mut file, before) = open(&disk, KEY).unwrap();
            assert_eq!(before, (seq > 1).then(|| mark(seq - 1)));
            file.write(mark(seq)).unwrap();
            for byte in 0..SLOT_BYTES as u64 {
                let damaged = disk.kill();
                let slot = (seq - 1) % 2 * SLOT_STRIDE as u64;
                damaged.flip(MARK, (slot + byte) * 8);
                assert_eq!(open(&damaged, KEY).unwrap().1, before, "byte {byte}");
            }
        }
        assert_eq!(open(&disk, DiskId(4)).unwrap().1, None, "of another disk");
    }

    #[test]
    fn a_settled_mark_leaves_nothing_older_and_is_never_lost_on_the_way() {
        let disk = SimDisk::new();
        create(&disk).unwrap();
        disk.sync_dir().unwrap();
        let (mut file, _) = open(&disk, KEY).unwrap();
        file.settle(mark(1)).unwrap();
        for steps in 0..4 {
            let disk = disk.crash(0);
            let (mut file, _) = open(&disk, KEY).unwrap();
            disk.set_faults(crate::log::Faults {
                power_off_after: Some(steps),
                ..Default::default()
            });
            assert!(file.settle(mark(2)).is_err(), "four steps are needed");
            for seed in 0..50 {
                let found = open(&disk.crash(seed), KEY).unwrap().1;
                assert!(
                    found == Some(mark(1)) || found == Some(mark(2)),
                    "{found:?}"
                );
            }
        }
    }
}
