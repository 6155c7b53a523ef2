//! A disk in memory, for the simulator and for nodes without a data directory.
//!
//! It keeps apart what a process sees and what is durable. [`SimDisk::crash`] gives the disk as it is
//! found after a power cut: each write that was not synced is lost, kept, torn or zeroed, each change
//! of a name that was not synced is lost or kept, all drawn from a seed. [`Faults`] are what a test
//! sets: a full disk, syncs that fail, flipped bits. It has no clock; a slow disk is one whose
//! caller reports completion late.

mod file;
mod inode;
mod rng;

pub use file::{SimFile, SimReader};

use super::Disk;
use inode::Inode;
use rng::Rng;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What shall go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Bytes that fit; an append beyond writes what fits and fails as a full disk does.
    pub capacity: Option<u64>,
    /// So many of the next syncs of files or of the directory fail. What was to be synced stays
    /// visible and will never be durable, as Linux has it, even if a later sync succeeds.
    pub failing_syncs: u32,
    /// So many of the next appends fail after a half of their bytes.
    pub failing_writes: u32,
    /// After so many more operations that change something, power is off: everything fails and
    /// nothing changes any more. Then take [`SimDisk::crash`] or [`SimDisk::kill`].
    pub power_off_after: Option<u64>,
}

/// Counters of a [`SimDisk`] and its clones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimStats {
    /// Successful syncs of files.
    pub syncs: u64,
    /// Successful syncs of the directory.
    pub dir_syncs: u64,
    /// Bytes appended or overwritten.
    pub bytes: u64,
}

/// A directory in memory. Clones are the same directory.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Names as the process sees them.
    names: BTreeMap<String, u64>,
    /// Names as they are on disk, before `unsynced`.
    durable: BTreeMap<String, u64>,
    /// Changes of names since the directory was synced.
    unsynced: Vec<DirChange>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    faults: Faults,
    stats: SimStats,
}

#[derive(Clone, Debug)]
enum DirChange {
    Create(String, u64),
    Rename(String, String, u64),
    Remove(String, u64),
}

impl DirChange {
    /// Carries the change out as far as it still makes sense without those before it.
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Create(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            Self::Remove(name, inode) => {
                if names.get(name) == Some(inode) {
                    names.remove(name);
                }
            }
        }
    }
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name:?}"))
}

impl State {
    fn inode_of(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| not_found(name))
    }

    fn inode(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes
            .get_mut(&inode)
            .ok_or_else(|| not_found("removed by a crash"))
    }

    /// Room for so many of `len` bytes more.
    fn room(&self, len: usize) -> usize {
        let Some(capacity) = self.faults.capacity else {
            return len;
        };
        let used: u64 = self.inodes.values().map(Inode::len).sum();
        usize::try_from(capacity.saturating_sub(used)).map_or(len, |room| room.min(len))
    }

    /// Counts an operation that changes something.
    fn step(&mut self) -> io::Result<()> {
        match &mut self.faults.power_off_after {
            Some(0) => Err(io::Error::other("simulated power cut")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn fails_sync(&mut self) -> io::Result<()> {
        self.step()?;
        if self.faults.failing_syncs == 0 {
            return Ok(());
        }
        self.faults.failing_syncs -= 1;
        Err(io::Error::other("simulated failure of a sync"))
    }

    /// Forgets files that have no name, not even a durable one that a crash would bring back.
    fn collect(&mut self) {
        let State {
            names,
            durable,
            unsynced,
            inodes,
            ..
        } = self;
        inodes.retain(|inode, _| {
            names.values().any(|named| named == inode)
                || durable.values().any(|named| named == inode)
                || unsynced.iter().any(|change| match change {
                    DirChange::Create(_, named)
                    | DirChange::Rename(_, _, named)
                    | DirChange::Remove(_, named) => named == inode,
                })
        });
    }
}

impl SimDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole: no method of it stops half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as it is found after a power cut now, everything on it durable, without faults. This
    /// disk is left as it is and no longer connected with it. Equal seeds give equal disks.
    pub fn crash(&self, seed: u64) -> Self {
        let state = self.state();
        let mut rng = Rng::new(seed);
        let mut names = state.durable.clone();
        // Journals keep the order of changes; other file systems need not.
        let ordered = rng.one_in(2);
        let kept = rng.below(state.unsynced.len() as u64 + 1);
        for (at, change) in state.unsynced.iter().enumerate() {
            let keeps = if ordered {
                (at as u64) < kept
            } else {
                rng.one_in(2)
            };
            if keeps {
                change.apply(&mut names);
            }
        }
        let inodes = state
            .inodes
            .iter()
            .map(|(id, inode)| (*id, inode.crash(&mut rng)))
            .collect();
        let mut found = State {
            durable: names.clone(),
            names,
            inodes,
            next_inode: state.next_inode,
            ..State::default()
        };
        found.collect();
        Self {
            state: Arc::new(Mutex::new(found)),
        }
    }

    /// The disk as another process finds it after this one was killed: everything written is there,
    /// nothing more is durable than was.
    pub fn kill(&self) -> Self {
        let state = self.state();
        Self {
            state: Arc::new(Mutex::new(State {
                names: state.names.clone(),
                durable: state.durable.clone(),
                unsynced: state.unsynced.clone(),
                inodes: state.inodes.clone(),
                next_inode: state.next_inode,
                ..State::default()
            })),
        }
    }

    /// Sets what shall go wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Flips a bit of a file, durably: rot. Panics when there is no such file or bit.
    pub fn flip(&self, name: &str, bit: u64) {
        let mut state = self.state();
        let inode = state.names[name];
        state
            .inodes
            .get_mut(&inode)
            .expect("a named file exists")
            .flip(bit);
    }

    /// Cuts a file, durably: what a broken file system does. Panics when there is no such file.
    pub fn cut(&self, name: &str, len: u64) {
        let mut state = self.state();
        let inode = state.names[name];
        state
            .inodes
            .get_mut(&inode)
            .expect("a named file exists")
            .truncate(len);
    }

    /// Counters.
    pub fn stats(&self) -> SimStats {
        self.state().stats
    }

    /// Bytes of all files as the process sees them.
    pub fn used(&self) -> u64 {
        self.state().inodes.values().map(Inode::len).sum()
    }

    fn open_inode(&self, inode: u64) -> SimFile {
        SimFile {
            disk: self.clone(),
            inode,
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Reader = SimReader;

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{name:?} exists"),
            ));
        }
        state.step()?;
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.names.insert(name.to_owned(), inode);
        state
            .unsynced
            .push(DirChange::Create(name.to_owned(), inode));
        drop(state);
        Ok(self.open_inode(inode))
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let inode = self.state().inode_of(name)?;
        Ok(self.open_inode(inode))
    }

    fn reader(&self, name: &str) -> io::Result<SimReader> {
        let mut state = self.state();
        let inode = state.inode_of(name)?;
        let bytes = state.inode(inode)?.bytes().to_vec();
        Ok(SimReader { bytes })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let inode = state.inode_of(from)?;
        let change = DirChange::Rename(from.to_owned(), to.to_owned(), inode);
        change.apply(&mut state.names);
        state.unsynced.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let inode = state.inode_of(name)?;
        let change = DirChange::Remove(name.to_owned(), inode);
        change.apply(&mut state.names);
        state.unsynced.push(change);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.fails_sync()?;
        state.stats.dir_syncs += 1;
        state.durable = state.names.clone();
        state.unsynced.clear();
        state.collect();
        Ok(())
    }
}
