//! A node's storage in the simulation: the production log and snapshot files on a simulated disk.

use super::actors::is_final;
use super::ledger::FinalJob;
use super::node::{DiskWork, Life};
use quorate_core::log::{Identity, Log, Options, SimDisk, SnapshotReader, SnapshotWriter};
use quorate_core::machine::{Duties, Machine};
use quorate_core::replica::{Boot, Input, Member, SnapshotMeta};
use quorate_core::types::{ClusterId, LogTime, Mono, NodeId};
use quorate_work_queue::machine::{Answer, BatchId, BatchState, Query, QueueDuties, QueueMachine};
use std::collections::BTreeMap;

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

impl Life {
    /// The disk takes what is queued; it is done when [`Life::end_writes`] is called.
    pub(crate) fn begin_writes(&mut self) {
        self.store.writing.extend(self.disk_queue.drain(..));
    }

    /// What the disk took is done: synced, hence reported.
    ///
    /// # Errors
    /// What the log says.
    pub(crate) fn end_writes(&mut self) -> Result<Vec<Input<QueueMachine>>, String> {
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

/// What the cluster holds at the end.
pub(crate) struct FinalState {
    /// All jobs.
    pub(crate) jobs: Vec<FinalJob>,
    /// Batches, and whether they are complete.
    pub(crate) joined: BTreeMap<BatchId, bool>,
}

impl FinalState {
    /// Reads it out of the leader's machine, page by page as a client would.
    pub(crate) fn of(machine: &QueueMachine) -> Self {
        let duties = QueueDuties::new(machine, Mono(0));
        let ask = |query| machine.query(&duties, LogTime(0), query);
        let mut jobs = Vec::new();
        let mut after = None;
        while let Ok(Answer::Jobs(page, next)) = ask(Query::Jobs {
            queue: super::actors::queue(),
            state: None,
            label: None,
            after,
            limit: 1_000,
        }) {
            jobs.extend(page.into_iter().map(|job| FinalJob {
                id: job.id,
                state: job.state,
                result: job.result.map(|result| result.to_vec()),
            }));
            after = next;
            if after.is_none() {
                break;
            }
        }
        let mut joined = BTreeMap::new();
        let mut after = None;
        while let Ok(Answer::Batches(page, next)) = ask(Query::Batches {
            after,
            limit: 1_000,
        }) {
            joined.extend(
                page.into_iter()
                    .map(|batch| (batch.id, batch.state == BatchState::Completed)),
            );
            after = next;
            if after.is_none() {
                break;
            }
        }
        Self { jobs, joined }
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_over(&self) -> bool {
        self.jobs.iter().all(|job| is_final(job.state))
            && self.joined.values().all(|joined| *joined)
    }
}
