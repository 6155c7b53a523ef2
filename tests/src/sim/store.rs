//! A node's storage in the simulation: the production log and snapshot files on a simulated disk.

use super::node::{DiskWork, Life};
use quorate_core::log::{Identity, Log, Options, SimDisk, SnapshotReader, SnapshotWriter};
use quorate_core::machine::Machine;
use quorate_core::replica::{Boot, Input, Member, SnapshotMeta};
use quorate_core::types::{ClusterId, NodeId};

/// Segments small enough to roll many times in one run.
const SEGMENT_BYTES: u64 = 16 * 1024;

/// The open log of one life of a node.
pub(crate) struct Store {
    disk: SimDisk,
    log: Log<SimDisk>,
    writing: Vec<DiskWork>,
}

impl Store {
    /// Makes a data directory of a formed cluster.
    pub(crate) fn format(disk: &SimDisk, me: Member, cluster: ClusterId, members: &[Member]) {
        let mut identity = Identity::format(disk, me.node, me.disk)
            .expect("a fresh simulated disk can be formatted");
        identity
            .set_cluster(disk, cluster, members.to_vec())
            .expect("a formatted simulated disk takes its cluster");
    }

    /// Opens what a crash left behind.
    ///
    /// # Errors
    /// What the log says when it refuses.
    pub(crate) fn open(disk: &SimDisk, node: NodeId) -> Result<(Self, Boot), String> {
        let open = || {
            let identity = Identity::load(disk, node)?.expect("it was formatted at the beginning");
            let (log, recovered) = Log::open(
                disk.clone(),
                &identity,
                Options {
                    segment_bytes: SEGMENT_BYTES,
                },
            )?;
            let slices = match &recovered.snapshot {
                Some(meta) => slices(disk, meta)?,
                None => Vec::new(),
            };
            let boot = Boot {
                voters: identity.members.clone(),
                learners: Vec::new(),
                hard_state: recovered.hard_state,
                entries: recovered.entries,
                snapshot: recovered.snapshot,
                slices,
                doubt: recovered.doubt,
            };
            Ok::<_, quorate_core::log::LogError>((
                Self {
                    disk: disk.clone(),
                    log,
                    writing: Vec::new(),
                },
                boot,
            ))
        };
        open().map_err(|error| error.to_string())
    }

    /// The slices of a stored snapshot.
    ///
    /// # Errors
    /// It is not there or not whole.
    pub(crate) fn read_snapshot(&self, meta: &SnapshotMeta) -> Result<Vec<Vec<u8>>, String> {
        slices(&self.disk, meta).map_err(|error| error.to_string())
    }

    /// Stores a snapshot under its final name, synced.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn store_snapshot(
        &self,
        meta: &SnapshotMeta,
        slices: &[Vec<u8>],
    ) -> Result<(), String> {
        let store = || {
            let mut writer = SnapshotWriter::begin(self.disk.clone(), meta.clone())?;
            for slice in slices {
                writer.slice(slice)?;
            }
            writer.finish().map(|_| ())
        };
        store().map_err(|error: quorate_core::log::LogError| error.to_string())
    }
}

fn slices(
    disk: &SimDisk,
    meta: &SnapshotMeta,
) -> Result<Vec<Vec<u8>>, quorate_core::log::LogError> {
    let mut reader = SnapshotReader::open(disk, meta)?;
    let mut slices = Vec::new();
    while let Some(slice) = reader.next_slice()? {
        slices.push(slice);
    }
    Ok(slices)
}

impl<M: Machine> Life<M> {
    /// The disk takes what is queued; it is done when [`Life::end_writes`] is called.
    pub(crate) fn begin_writes(&mut self) {
        self.store.writing.extend(self.disk_queue.drain(..));
    }

    /// What the disk took is done: synced, hence reported.
    ///
    /// # Errors
    /// What the log says.
    pub(crate) fn end_writes(&mut self) -> Result<Vec<Input<M>>, String> {
        let mut inputs = Vec::new();
        let mut last = None;
        let mut must_sync = false;
        for work in std::mem::take(&mut self.store.writing) {
            match work {
                DiskWork::Write(ticket, write) => {
                    must_sync |= write.must_sync;
                    self.store
                        .log
                        .append(&write)
                        .map_err(|error| error.to_string())?;
                    last = Some(ticket);
                }
                DiskWork::SnapshotEnd(meta) => {
                    if let Some((begun, slices)) =
                        self.snapshot.take_if(|(begun, _)| *begun == meta)
                    {
                        self.store.store_snapshot(&begun, &slices)?;
                        inputs.push(Input::SnapshotStored(begun));
                    }
                }
            }
        }
        if must_sync {
            self.store.log.sync().map_err(|error| error.to_string())?;
        }
        if let Some(ticket) = last {
            inputs.push(Input::Persisted { ticket });
        }
        Ok(inputs)
    }
}
