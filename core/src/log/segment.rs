//! A segment: one file of the log.
//!
//! It begins with a header and a frame that says where the log stands ([`Base`]), both synced before
//! the file gets its name, so that every older segment can go once its entries are no longer needed,
//! and so that a damaged beginning is never a torn write.
//!
//! ```text
//!  0  magic "QRTSEGM", format 1     32  number of the last frame of the segment before
//!  8  disk id                       40  CRC-32 of the disk id and bytes 0 to 39
//! 24  segment
//! ```

use super::error::LogError;
use super::frame::{self, keyed_crc, le_u32, le_u64};
use super::record::{self, Base};
use super::{Disk, DiskFile, files, names};
use crate::types::DiskId;

/// Length of a segment's header.
pub(super) const HEADER_BYTES: usize = 44;

const MAGIC: [u8; 7] = *b"QRTSEGM";
const FORMAT: u8 = 1;

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Its number: 1, 2, 3, …
    pub(super) id: u64,
    /// Number of the last frame before it.
    pub(super) after: u64,
}

impl Header {
    fn encode(self, disk: DiskId) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..7].copy_from_slice(&MAGIC);
        out[7] = FORMAT;
        out[8..24].copy_from_slice(&disk.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.id.to_le_bytes());
        out[32..40].copy_from_slice(&self.after.to_le_bytes());
        let crc = keyed_crc(disk, &out[..40]);
        out[40..44].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header of the segment in `file`.
    pub(super) fn decode(bytes: &[u8], disk: DiskId, file: &str) -> Result<Self, LogError> {
        let corrupt = |what: &str| LogError::corrupt(file, 0, what);
        let Some(bytes) = bytes.get(..HEADER_BYTES) else {
            return Err(corrupt("the file ends within the segment's header"));
        };
        let written_by = DiskId(u128::from_le_bytes(
            bytes[8..24].try_into().expect("sixteen bytes were taken"),
        ));
        if bytes[..7] != MAGIC || le_u32(bytes, 40) != keyed_crc(written_by, &bytes[..40]) {
            return Err(corrupt("the segment's header does not match its checksum"));
        }
        if bytes[7] > FORMAT {
            return Err(LogError::Newer {
                file: file.to_owned(),
                found: bytes[7],
                known: FORMAT,
            });
        }
        if written_by != disk {
            return Err(corrupt(
                "the segment was written in another data directory and copied here",
            ));
        }
        Ok(Self {
            id: le_u64(bytes, 24),
            after: le_u64(bytes, 32),
        })
    }
}

/// Creates the segment `id`, which begins with frame `after + 1` holding `base`. It is durable when
/// this returns. When the disk is full, nothing of it is left.
pub(super) fn create<D: Disk>(
    disk: &D,
    key: DiskId,
    header: Header,
    base: &Base,
) -> Result<D::File, LogError> {
    let name = names::segment(header.id);
    let failed = |error| LogError::io(format!("creating {name}"), error);
    let mut bytes = frame::begin();
    record::encode_base(base, &mut bytes);
    frame::seal(&mut bytes, key, header.id, header.after + 1, header.after);
    bytes.splice(..0, header.encode(key));

    let temporary = names::temporary(&name);
    let mut file = files::create(disk, &temporary).map_err(failed)?;
    if let Err(error) = file.append(&bytes) {
        // A full disk: give back what was taken. What cannot be removed goes at the next try.
        let _ = disk.remove(&temporary);
        return Err(failed(error));
    }
    files::publish(disk, &mut file, &temporary, &name)?;
    Ok(file)
}

/// Creates the first segment of an empty log.
pub(super) fn create_first<D: Disk>(disk: &D, key: DiskId) -> Result<(), LogError> {
    let header = Header { id: 1, after: 0 };
    create(disk, key, header, &Base::default()).map(drop)
}
