//! The formats, byte for byte: what this version writes is the fixture, and the fixture is read. A
//! change of a format is a new fixture beside this one, which must go on being read.

use crate::common::*;
use quorate_core::log::{Disk, DiskFile, Identity, Log, SimDisk, SnapshotReader, Tail};
use quorate_core::replica::{Member, Write};
use quorate_core::types::{DiskId, NodeId};
use std::fmt::Write as _;

/// Every file of a directory in format 1: "== name", then its bytes in hexadecimal, 32 to a line.
const FORMAT_1: &str = include_str!("fixtures/format-1.txt");

fn members() -> Vec<Member> {
    let other = Member {
        node: NodeId(2),
        disk: DiskId(u128::MAX),
    };
    vec![
        Member {
            node: NODE,
            disk: DISK,
        },
        other,
    ]
}

/// A directory that shows every field of every format: two segments, the second on a snapshot.
fn directory() -> SimDisk {
    let disk = formatted();
    let mut identity = Identity::load(&disk, NODE).unwrap().unwrap();
    identity.set_cluster(&disk, CLUSTER, members()).unwrap();
    let (mut log, _) = Log::open(disk.clone(), &identity, SMALL).unwrap();
    log.write_and_sync(&[write(1, 3, 7, 2), write(4, 4, 8, 3)])
        .unwrap();
    let meta = meta(3, 7);
    store_snapshot(&disk, &meta);
    let commit = Write {
        hard_state: Some(hard(8, 1, 4)),
        ..Write::default()
    };
    log.write_and_sync(&[rebase(&meta, 1, false), commit])
        .unwrap();
    log.write_and_sync(&[write(5, 7, 300, 5)]).unwrap();
    log.write_and_sync(&[write(8, 8, 300, 7)]).unwrap();
    log.close().unwrap();
    assert_eq!(names(&disk, "segment-").len(), 2);
    disk
}

fn dump(disk: &SimDisk) -> String {
    let mut out = String::new();
    for name in disk.list().unwrap() {
        writeln!(out, "== {name}").unwrap();
        for line in disk.read(&name).unwrap().chunks(32) {
            for byte in line {
                write!(out, "{byte:02x}").unwrap();
            }
            out.push('\n');
        }
    }
    out
}

fn load(dump: &str) -> SimDisk {
    let disk = SimDisk::new();
    let mut file = None;
    for line in dump.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            file = Some(disk.create(name).unwrap());
            continue;
        }
        let bytes: Vec<u8> = (0..line.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap())
            .collect();
        file.as_mut().unwrap().append(&bytes).unwrap();
    }
    disk
}

#[test]
fn what_is_written_is_the_fixture() {
    let written = dump(&directory());
    assert!(
        written == FORMAT_1,
        "the format on disk has changed; this is written now:\n{written}"
    );
}

#[test]
fn the_fixture_is_read() {
    let disk = load(FORMAT_1);
    let identity = Identity::load(&disk, NODE).unwrap().unwrap();
    let expected = Identity {
        node: NODE,
        disk: DISK,
        cluster: Some(CLUSTER),
        members: members(),
    };
    assert_eq!(identity, expected);
    let (_, found) = Log::open(disk.clone(), &identity, SMALL).unwrap();
    assert_eq!(found.hard_state, hard(300, 1, 7));
    assert_eq!(found.snapshot, Some(meta(3, 7)));
    let mut entries = write(4, 4, 8, 0).entries;
    entries.extend(write(5, 8, 300, 0).entries);
    assert_eq!(found.entries, entries);
    assert_eq!(found.tail, Tail::Closed);
    let slices: Vec<_> = SnapshotReader::open(&disk, &meta(3, 7))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(slices, [&b"first"[..], b"second slice", b"3"]);
}

/// Raises the byte at `at` and mends the CRC-32 that stands at `crc` and covers `key` and all before
/// it, as a newer version would write it.
fn newer(disk: &SimDisk, name: &str, at: usize, crc: usize, covered: impl Fn(&[u8]) -> Vec<u8>) {
    let mut bytes = disk.read(name).unwrap();
    bytes[at] += 1;
    let sum = crc32fast::hash(&covered(&bytes));
    bytes[crc..crc + 4].copy_from_slice(&sum.to_le_bytes());
    disk.open(name).unwrap().write_at(0, &bytes).unwrap();
}

#[test]
fn a_newer_format_is_named_as_such_and_not_as_corrupt() {
    let disk = load(FORMAT_1);
    newer(&disk, "identity", 7, 12, |bytes| {
        [&bytes[..12], &bytes[16..]].concat()
    });
    newer(&disk, "segment-00000000000000000001", 7, 40, |bytes| {
        [&DISK.0.to_le_bytes(), &bytes[..40]].concat()
    });
    let error = Identity::load(&disk, NODE).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("identity has format 2, this version knows 1")
    );
    let identity = Identity::load(&load(FORMAT_1), NODE).unwrap().unwrap();
    let error = Log::open(disk, &identity, SMALL).map(drop).unwrap_err();
    assert!(
        error.to_string().contains("run the version that wrote it"),
        "{error}"
    );

    let disk = load(FORMAT_1);
    let name = names(&disk, "snapshot-").remove(0);
    newer(&disk, &name, 7, 12, |bytes| {
        let len = usize::try_from(u32::from_le_bytes(bytes[8..12].try_into().unwrap())).unwrap();
        [&bytes[..12], &bytes[16..16 + len]].concat()
    });
    let error = SnapshotReader::open(&disk, &meta(3, 7))
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("has format 2"), "{error}");
}
