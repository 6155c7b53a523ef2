//! Snapshot files: the state of the machine as of one entry, in slices.
//!
//! ```text
//! header   magic "QRTSNAP", format 1, length of the meta (4), CRC-32 of all that (4), meta
//! slice    length (4, above 0), CRC-32 of slice number, length and bytes (4), bytes
//! footer   0 (4), CRC-32 of the rest (4), count of slices (8), bytes in all slices (8),
//!          CRC-32 of the header and of all slice checksums in order (4)
//! ```
//!
//! Little endian throughout. Written under a temporary name; a file under its own name is whole, or it
//! is corrupt.

use super::error::LogError;
use super::frame::{le_u32, le_u64};
use super::names::{self, Kind};
use super::{Disk, DiskFile, DiskReader, files};
use crate::codec::{self, CodecError};
use crate::replica::SnapshotMeta;
use crate::types::LogIndex;
use std::io;

const MAGIC: [u8; 7] = *b"QRTSNAP";
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 16;
const SLICE_HEADER_BYTES: usize = 8;
const FOOTER_BYTES: usize = SLICE_HEADER_BYTES + 20;

/// Largest slice, in bytes: what a reader is willing to hold at once. Machines cut slices far smaller.
pub const SLICE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes after which a file in the making is synced. Synced only at its end, a file of a gigabyte would keep the
/// disk busy for as long as that takes, and the log's writes waiting.
const SYNC_AFTER_BYTES: u64 = 4 * 1024 * 1024;

/// Largest meta: room for thousands of members.
const META_BYTES_MAX: usize = 1024 * 1024;

fn slice_crc(number: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn header_crc(fixed: &[u8], meta: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(fixed);
    hasher.update(meta);
    hasher.finalize()
}

fn file_name(meta: &SnapshotMeta) -> String {
    names::snapshot(meta.index.0, meta.term.0)
}

/// What the footer repeats: counted while writing and again while reading.
#[derive(Clone, Debug, Default)]
struct Total {
    count: u64,
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl Total {
    fn new(header_crc: u32) -> Self {
        let mut total = Self::default();
        total.crc.update(&header_crc.to_le_bytes());
        total
    }

    fn add(&mut self, len: usize, crc: u32) {
        self.count += 1;
        self.bytes += len as u64;
        self.crc.update(&crc.to_le_bytes());
    }

    fn footer(&self) -> [u8; FOOTER_BYTES] {
        let mut out = [0; FOOTER_BYTES];
        out[8..16].copy_from_slice(&self.count.to_le_bytes());
        out[16..24].copy_from_slice(&self.bytes.to_le_bytes());
        out[24..28].copy_from_slice(&self.crc.clone().finalize().to_le_bytes());
        let crc = crc32fast::hash(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

/// A snapshot file in the making, under a name of its own: several may be written at once, even of one
/// snapshot. Dropped before [`SnapshotWriter::finish`], it gives back its room.
#[derive(Debug)]
pub struct SnapshotWriter<D: Disk> {
    disk: D,
    file: D::File,
    temporary: String,
    finished: bool,
    meta: SnapshotMeta,
    total: Total,
    /// Bytes written since the last sync.
    unsynced: u64,
    buffer: Vec<u8>,
}

impl<D: Disk> SnapshotWriter<D> {
    /// Begins the file of the snapshot `meta`.
    pub fn begin(disk: D, meta: SnapshotMeta) -> Result<Self, LogError> {
        let encoded = codec::encode(&meta);
        let mut header = Vec::with_capacity(HEADER_BYTES + encoded.len());
        header.extend_from_slice(&MAGIC);
        header.push(FORMAT);
        let len = u32::try_from(encoded.len()).expect("a configuration is far below 4 GiB");
        header.extend_from_slice(&len.to_le_bytes());
        let crc = header_crc(&header, &encoded);
        header.extend_from_slice(&crc.to_le_bytes());
        header.extend_from_slice(&encoded);
        let (file, temporary) = files::create_numbered(&disk, &file_name(&meta))
            .map_err(|error| LogError::io("cannot begin a snapshot", error))?;
        let mut writer = Self {
            disk,
            file,
            temporary,
            finished: false,
            meta,
            total: Total::new(crc),
            unsynced: 0,
            buffer: Vec::new(),
        };
        writer.append(&header)?;
        Ok(writer)
    }

    /// What the snapshot covers.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Appends a slice of 1 to [`SLICE_BYTES_MAX`] bytes. After any error the file is of no use.
    pub fn slice(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        if bytes.is_empty() || bytes.len() > SLICE_BYTES_MAX {
            return Err(LogError::Invalid {
                what: format!(
                    "a slice of {} bytes; 1 to {SLICE_BYTES_MAX} are allowed",
                    bytes.len()
                ),
            });
        }
        let crc = slice_crc(self.total.count, bytes);
        let len = u32::try_from(bytes.len()).expect("checked above");
        self.buffer.clear();
        self.buffer.extend_from_slice(&len.to_le_bytes());
        self.buffer.extend_from_slice(&crc.to_le_bytes());
        self.buffer.extend_from_slice(bytes);
        let piece = std::mem::take(&mut self.buffer);
        self.append(&piece)?;
        self.buffer = piece;
        self.total.add(bytes.len(), crc);
        Ok(())
    }

    /// Completes the file: synced, under its own name, the directory synced.
    pub fn finish(mut self) -> Result<SnapshotMeta, LogError> {
        let footer = self.total.footer();
        self.append(&footer)?;
        let name = file_name(&self.meta);
        files::publish(&self.disk, &mut self.file, &self.temporary, &name)?;
        self.finished = true;
        Ok(self.meta.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let failed = |error| LogError::io("cannot write a snapshot", error);
        self.file.append(bytes).map_err(failed)?;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_AFTER_BYTES {
            self.file.sync().map_err(failed)?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

impl<D: Disk> Drop for SnapshotWriter<D> {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now goes at the next start.
            let _ = self.disk.remove(&self.temporary);
        }
    }
}

/// A snapshot file, read slice by slice. It stays readable when a newer snapshot replaces it.
#[derive(Debug)]
pub struct SnapshotReader<D: Disk> {
    reader: D::Reader,
    name: String,
    meta: SnapshotMeta,
    header_crc: u32,
    /// Where the slices begin.
    start: u64,
    /// Where the piece begins that is being read: the header, a slice or the footer.
    piece: u64,
    at: u64,
    total: Total,
    done: bool,
}

impl<D: Disk> SnapshotReader<D> {
    /// Opens the snapshot `meta` and checks the whole file, then stands before its first slice.
    /// [`LogError::NoSnapshot`] when it is not there, usually because a newer one has replaced it.
    pub fn open(disk: &D, meta: &SnapshotMeta) -> Result<Self, LogError> {
        let name = file_name(meta);
        let reader = disk.reader(&name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => LogError::NoSnapshot { index: meta.index },
            _ => LogError::io(format!("cannot open {name}"), error),
        })?;
        let mut snapshot = Self {
            reader,
            name,
            meta: meta.clone(),
            header_crc: 0,
            start: 0,
            piece: 0,
            at: 0,
            total: Total::default(),
            done: false,
        };
        snapshot.read_header()?;
        while snapshot.next_slice()?.is_some() {}
        snapshot.rewind();
        Ok(snapshot)
    }

    /// What the snapshot covers.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Goes back to the first slice.
    pub fn rewind(&mut self) {
        self.at = self.start;
        self.total = Total::new(self.header_crc);
        self.done = false;
    }

    /// The next slice, checked; `None` after the last, when the footer agrees.
    pub fn next_slice(&mut self) -> Result<Option<Vec<u8>>, LogError> {
        if self.done {
            return Ok(None);
        }
        self.piece = self.at;
        let head = self.take(SLICE_HEADER_BYTES)?;
        let len = le_u32(&head, 0) as usize;
        if len == 0 {
            return self.read_footer().map(|()| None);
        }
        if len > SLICE_BYTES_MAX {
            return Err(self.corrupt("a slice is longer than any can be"));
        }
        let bytes = self.take(len)?;
        let crc = slice_crc(self.total.count, &bytes);
        if crc != le_u32(&head, 4) {
            return Err(self.corrupt("a slice does not match its checksum"));
        }
        self.total.add(len, crc);
        Ok(Some(bytes))
    }

    fn read_header(&mut self) -> Result<(), LogError> {
        let fixed = self.take(HEADER_BYTES)?;
        if fixed[..7] != MAGIC {
            return Err(self.corrupt("it does not begin as a snapshot does"));
        }
        let len = le_u32(&fixed, 8) as usize;
        if len > META_BYTES_MAX {
            return Err(self.corrupt("its meta is longer than any can be"));
        }
        let meta = self.take(len)?;
        self.header_crc = le_u32(&fixed, 12);
        if self.header_crc != header_crc(&fixed[..12], &meta) {
            return Err(self.corrupt("its header does not match its checksum"));
        }
        if fixed[7] > FORMAT {
            return Err(self.newer(fixed[7], FORMAT));
        }
        let meta: SnapshotMeta = codec::decode(&meta).map_err(|error| match error {
            CodecError::UnknownFormat(found) => self.newer(found, codec::FORMAT),
            error => self.corrupt(&error.to_string()),
        })?;
        if meta != self.meta {
            return Err(self.corrupt(&format!(
                "it covers index {} of term {} with another configuration than the log says",
                meta.index, meta.term
            )));
        }
        self.start = self.at;
        self.rewind();
        Ok(())
    }

    /// Reads the rest of the footer, whose first eight bytes were taken for a slice's.
    fn read_footer(&mut self) -> Result<(), LogError> {
        self.at = self.piece;
        let footer = self.take(FOOTER_BYTES)?;
        if footer[..] != self.total.footer() {
            return Err(self.corrupt(&format!(
                "its footer speaks of {} slices and other checksums; {} were read",
                le_u64(&footer, 8),
                self.total.count
            )));
        }
        if self.at != self.reader.size() {
            return Err(self.corrupt("bytes follow its footer"));
        }
        self.done = true;
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<Vec<u8>, LogError> {
        if self.reader.size().saturating_sub(self.at) < len as u64 {
            return Err(self.corrupt("the file ends too early"));
        }
        let mut bytes = vec![0; len];
        self.reader
            .read_exact_at(self.at, &mut bytes)
            .map_err(|error| LogError::io(format!("cannot read {}", self.name), error))?;
        self.at += len as u64;
        Ok(bytes)
    }

    fn corrupt(&self, what: &str) -> LogError {
        LogError::corrupt(&self.name, self.piece, what)
    }

    fn newer(&self, found: u8, known: u8) -> LogError {
        LogError::Newer {
            file: self.name.clone(),
            found,
            known,
        }
    }
}

impl<D: Disk> Iterator for SnapshotReader<D> {
    type Item = Result<Vec<u8>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_slice().transpose()
    }
}

/// Checks the whole file of the snapshot that a log builds on.
pub(super) fn verify<D: Disk>(disk: &D, meta: &SnapshotMeta) -> Result<(), LogError> {
    match SnapshotReader::open(disk, meta) {
        Ok(_) => Ok(()),
        Err(LogError::NoSnapshot { .. }) => Err(LogError::corrupt(
            &file_name(meta),
            0,
            "the file is missing",
        )),
        Err(error) => Err(error),
    }
}

/// Whether a snapshot has a file under its own name.
pub(super) fn exists<D: Disk>(disk: &D, meta: &SnapshotMeta) -> Result<bool, LogError> {
    Ok(files::list(disk)?.contains(&file_name(meta)))
}

/// Removes the snapshots of lower indexes than `base`.
pub(super) fn remove_before<D: Disk>(disk: &D, base: LogIndex) -> Result<(), LogError> {
    remove_if(disk, |index, _| index < base.0)
}

/// Removes all snapshots but the base.
pub(super) fn remove_all_but<D: Disk>(
    disk: &D,
    base: Option<&SnapshotMeta>,
) -> Result<(), LogError> {
    remove_if(disk, |index, term| {
        base.is_none_or(|base| (base.index.0, base.term.0) != (index, term))
    })
}

fn remove_if<D: Disk>(disk: &D, goes: impl Fn(u64, u64) -> bool) -> Result<(), LogError> {
    let mut removed = false;
    for name in files::list(disk)? {
        if let Kind::Snapshot { index, term } = names::kind(&name)
            && goes(index, term)
        {
            files::remove(disk, &name)?;
            removed = true;
        }
    }
    if removed {
        files::sync_dir(disk)
    } else {
        Ok(())
    }
}
