//! What the tests share: a formatted disk, and short ways to say writes.

use bytes::Bytes;
use quorate_core::log::{
    Disk, Identity, Log, LogError, Options, Recovered, SimDisk, SnapshotWriter,
};
use quorate_core::replica::{HardState, LogEntry, Member, SnapshotMeta, Write};
use quorate_core::types::{ClusterId, DiskId, LogIndex, NodeId, Term};

pub(crate) const NODE: NodeId = NodeId(1);
pub(crate) const DISK: DiskId = DiskId(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
pub(crate) const CLUSTER: ClusterId = ClusterId(0x00ff);

/// Segments so small that a handful of writes fills one.
pub(crate) const SMALL: Options = Options { segment_bytes: 400 };

pub(crate) fn formatted() -> SimDisk {
    let disk = SimDisk::new();
    Identity::format(&disk, NODE, DISK).unwrap();
    disk
}

pub(crate) fn try_open(disk: &SimDisk) -> Result<(Log<SimDisk>, Recovered), LogError> {
    let identity = Identity::load(disk, NODE)?.expect("the disk is formatted");
    Log::open(disk.clone(), &identity, SMALL)
}

pub(crate) fn open(disk: &SimDisk) -> (Log<SimDisk>, Recovered) {
    try_open(disk).unwrap()
}

pub(crate) fn entry(index: u64, term: u64, data: &[u8]) -> LogEntry {
    LogEntry {
        index: LogIndex(index),
        term: Term(term),
        kind: 0,
        data: Bytes::copy_from_slice(data),
    }
}

pub(crate) fn hard(term: u64, vote: u64, commit: u64) -> HardState {
    HardState {
        term: Term(term),
        vote: NodeId(vote),
        commit: LogIndex(commit),
    }
}

/// Entries `from..=to` of `term`, with a hard state.
pub(crate) fn write(from: u64, to: u64, term: u64, commit: u64) -> Write {
    Write {
        hard_state: Some(hard(term, 1, commit)),
        entries: (from..=to)
            .map(|index| {
                entry(
                    index,
                    term,
                    format!("entry {index} of term {term}").as_bytes(),
                )
            })
            .collect(),
        must_sync: true,
        ..Write::default()
    }
}

pub(crate) fn meta(index: u64, term: u64) -> SnapshotMeta {
    SnapshotMeta {
        index: LogIndex(index),
        term: Term(term),
        cluster: CLUSTER,
        voters: vec![Member {
            node: NODE,
            disk: DISK,
        }],
        learners: Vec::new(),
    }
}

/// Stores a snapshot file of three slices.
pub(crate) fn store_snapshot(disk: &SimDisk, meta: &SnapshotMeta) {
    let mut writer = SnapshotWriter::begin(disk.clone(), meta.clone()).unwrap();
    for slice in [&b"first"[..], b"second slice", b"3"] {
        writer.slice(slice).unwrap();
    }
    writer.finish().unwrap();
}

/// The write that makes a stored snapshot the base.
pub(crate) fn rebase(meta: &SnapshotMeta, compact_to: u64, restart: bool) -> Write {
    Write {
        snapshot: Some(meta.clone()),
        compact_to: Some(LogIndex(compact_to)),
        restart,
        must_sync: true,
        ..Write::default()
    }
}

pub(crate) fn indexes(recovered: &Recovered) -> Vec<u64> {
    recovered
        .entries
        .iter()
        .map(|entry| entry.index.0)
        .collect()
}

pub(crate) fn names(disk: &SimDisk, prefix: &str) -> Vec<String> {
    let mut names = disk.list().unwrap();
    names.retain(|name| name.starts_with(prefix));
    names
}
