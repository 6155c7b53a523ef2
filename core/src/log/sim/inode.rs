//! One file of the simulated disk: its bytes, and how to take back what was not synced.

use super::rng::Rng;

/// The unit that a disk writes whole or not at all, when it reorders parts of one write.
const SECTOR: u64 = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// As the process sees it.
    bytes: Vec<u8>,
    /// What was written since the last time everything was durable, oldest first.
    writes: Vec<Unsynced>,
}

#[derive(Clone, Debug)]
struct Unsynced {
    offset: usize,
    new: Vec<u8>,
    /// What it overwrote; shorter than `new` when it made the file longer.
    old: Vec<u8>,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Decided by a power cut.
    Open,
    /// A sync failed: visible, and never durable.
    Lost,
    /// A sync after that succeeded.
    Durable,
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file fits into memory")
}

impl Inode {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn write(&mut self, offset: u64, new: &[u8]) {
        let offset = at(offset);
        let old_end = self.bytes.len().min(offset + new.len());
        self.writes.push(Unsynced {
            offset,
            new: new.to_vec(),
            old: self.bytes[offset..old_end].to_vec(),
            fate: Fate::Open,
        });
        put(&mut self.bytes, offset, new);
    }

    pub(super) fn sync(&mut self) {
        if self.writes.iter().all(|write| write.fate != Fate::Lost) {
            self.writes.clear();
        }
        self.decide(Fate::Durable);
    }

    pub(super) fn lose(&mut self) {
        self.decide(Fate::Lost);
    }

    fn decide(&mut self, fate: Fate) {
        for write in &mut self.writes {
            if write.fate == Fate::Open {
                write.fate = fate;
            }
        }
    }

    /// Cuts the file, durably, and with it what was written since.
    pub(super) fn truncate(&mut self, len: u64) {
        self.bytes.truncate(at(len));
        self.writes.clear();
    }

    pub(super) fn flip(&mut self, bit: u64) {
        self.bytes[at(bit / 8)] ^= 1 << (bit % 8);
    }

    /// The file after a power cut.
    pub(super) fn crash(&self, rng: &mut Rng) -> Self {
        let mut bytes = self.bytes.clone();
        for write in self.writes.iter().rev() {
            bytes[write.offset..write.offset + write.old.len()].copy_from_slice(&write.old);
            if write.old.len() < write.new.len() {
                bytes.truncate(write.offset + write.old.len());
            }
        }
        // What the system does with the open writes of this file.
        let mode = rng.below(5);
        let open = self.writes.iter().filter(|w| w.fate == Fate::Open).count();
        let whole = rng.below(open as u64 + 1);
        let mut number = 0;
        for write in &self.writes {
            match write.fate {
                Fate::Lost => {}
                Fate::Durable => put(&mut bytes, write.offset, &write.new),
                Fate::Open => {
                    let part = match mode {
                        0 => Part::Nothing,
                        1 => Part::All,
                        // In order, the last one torn.
                        2 if number < whole => Part::All,
                        2 if number == whole => Part::Prefix,
                        2 => Part::Nothing,
                        // In any order, each whole or not.
                        3 => [Part::Nothing, Part::All][at(rng.below(2))],
                        // In any order, sector by sector.
                        _ => Part::Sectors,
                    };
                    part.put(&mut bytes, write, rng);
                    number += 1;
                }
            }
        }
        Self {
            bytes,
            writes: Vec::new(),
        }
    }
}

/// How much of a write arrived.
#[derive(Clone, Copy)]
enum Part {
    Nothing,
    All,
    Prefix,
    Sectors,
}

impl Part {
    fn put(self, bytes: &mut Vec<u8>, write: &Unsynced, rng: &mut Rng) {
        let len = write.new.len();
        match self {
            Self::Nothing => {}
            Self::All => put(bytes, write.offset, &write.new),
            Self::Prefix => {
                let kept = at(rng.below(len as u64 + 1));
                put(bytes, write.offset, &write.new[..kept]);
            }
            Self::Sectors => {
                // The length may be durable before the data: what is missing then reads as zeros.
                if rng.one_in(2) && bytes.len() < write.offset + len {
                    bytes.resize(write.offset + len, 0);
                }
                let mut from = 0;
                while from < len {
                    let end = (write.offset + from) as u64 / SECTOR * SECTOR + SECTOR;
                    let to = (at(end) - write.offset).min(len);
                    if rng.one_in(2) {
                        put(bytes, write.offset + from, &write.new[from..to]);
                    }
                    from = to;
                }
            }
        }
    }
}

/// Puts `new` at `offset`; a gap before it reads as zeros.
fn put(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let end = offset + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(new);
}
