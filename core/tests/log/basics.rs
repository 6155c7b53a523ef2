//! What a log does when nothing goes wrong, and what it refuses.

use crate::common::*;
use quorate_core::log::{
    Disk, Identity, Log, LogError, Options, RealDisk, SnapshotReader, SnapshotWriter, Tail,
};
use quorate_core::replica::{Member, Write};
use quorate_core::types::{ClusterId, DiskId, NodeId};

#[test]
fn what_was_synced_is_recovered_on_a_real_directory_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let disk = RealDisk::open(&path).unwrap();
    assert_eq!(Identity::load(&disk, NODE).unwrap(), None);
    let mut identity = Identity::format(&disk, NODE, DISK).unwrap();
    let members = vec![Member {
        node: NODE,
        disk: DISK,
    }];
    identity.set_cluster(&disk, CLUSTER, members).unwrap();
    assert_eq!(Identity::load(&disk, NODE).unwrap(), Some(identity.clone()));

    let (mut log, fresh) = Log::open(disk.clone(), &identity, SMALL).unwrap();
    assert_eq!((fresh.entries.len(), fresh.tail), (0, Tail::Open));
    for index in 1..=30 {
        log.write_and_sync(&[write(index, index, 2, index - 1)])
            .unwrap();
    }
    let stats = log.stats();
    assert_eq!(stats.syncs, 30);
    assert!(stats.segments > 3, "{stats:?}");
    drop(log);

    let (log, found) = Log::open(disk.clone(), &identity, SMALL).unwrap();
    assert_eq!(found.hard_state, hard(2, 1, 29));
    assert_eq!(indexes(&found), (1..=30).collect::<Vec<_>>());
    assert_eq!(found.entries[6], write(7, 7, 2, 0).entries[0]);
    assert_eq!(found.tail, Tail::Open);
    log.close().unwrap();
    let (_, found) = Log::open(disk, &identity, SMALL).unwrap();
    assert_eq!(found.tail, Tail::Closed);
}

#[test]
fn a_later_entry_of_the_same_index_cuts_the_log() {
    let disk = formatted();
    let (mut log, _) = open(&disk);
    log.write_and_sync(&[write(1, 20, 1, 3), write(5, 6, 2, 3)])
        .unwrap();
    drop(log);
    let (mut log, found) = open(&disk);
    assert_eq!(indexes(&found), [1, 2, 3, 4, 5, 6]);
    assert_eq!(found.entries[4].term.0, 2);
    log.write_and_sync(&[write(7, 7, 2, 7)]).unwrap();
    drop(log);
    assert_eq!(indexes(&open(&disk).1), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_snapshot_becomes_the_base_and_frees_segments_and_older_snapshots() {
    let disk = formatted();
    let (mut log, _) = open(&disk);
    for (last, snapshot) in [(20, 15), (40, 38)] {
        for index in last - 19..=last {
            log.write_and_sync(&[write(index, index, 3, index)])
                .unwrap();
        }
        let meta = meta(snapshot, 3);
        store_snapshot(&disk, &meta);
        let files = || names(&disk, "segment-").len() + names(&disk, "snapshot-").len();
        let mut before = files();
        log.write_and_sync(&[rebase(&meta, snapshot - 5, false)])
            .unwrap();
        // A new segment may have begun; then no write waits for more than one file to go.
        before += 1;
        while files() < before {
            assert!(before - files() <= 2, "{before} files and then {}", files());
            before = files();
            log.sync().unwrap();
        }
    }
    let segments = names(&disk, "segment-");
    assert!(segments.len() < 6, "{segments:?}");
    assert!(segments[0].ends_with(char::is_numeric) && !segments[0].ends_with("01"));
    assert_eq!(names(&disk, "snapshot-").len(), 1);
    drop(log);

    let (_, found) = open(&disk);
    assert_eq!(found.snapshot, Some(meta(38, 3)));
    assert_eq!(indexes(&found), [39, 40]);
    let slices: Vec<_> = SnapshotReader::open(&disk, &meta(38, 3))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(slices, [&b"first"[..], b"second slice", b"3"]);
}

#[test]
fn a_large_snapshot_is_synced_while_it_is_written() {
    let disk = formatted();
    let before = disk.stats().syncs;
    let mut writer = SnapshotWriter::begin(disk.clone(), meta(7, 5)).unwrap();
    for _ in 0..9 {
        writer.slice(&[7; 1 << 20]).unwrap();
    }
    assert_eq!(disk.stats().syncs - before, 2, "every four MiB");
    writer.finish().unwrap();
}

#[test]
fn a_snapshot_of_the_leader_replaces_the_log() {
    let disk = formatted();
    let (mut log, _) = open(&disk);
    log.write_and_sync(&[write(1, 9, 1, 4)]).unwrap();
    let meta = meta(7, 5);
    store_snapshot(&disk, &meta);
    let restart = Write {
        hard_state: Some(hard(5, 1, 7)),
        ..rebase(&meta, 7, true)
    };
    log.write_and_sync(&[restart, write(8, 8, 5, 7)]).unwrap();
    for index in 9..40 {
        log.write_and_sync(&[write(index, index, 5, 7)]).unwrap();
    }
    drop(log);
    let (_, found) = open(&disk);
    assert_eq!(found.snapshot, Some(meta));
    assert_eq!(indexes(&found), (8..40).collect::<Vec<_>>());
    assert!(found.entries.iter().all(|entry| entry.term.0 == 5));
}

#[test]
fn many_writes_take_one_sync_and_nothing_to_write_takes_none() {
    let disk = formatted();
    let (mut log, _) = open(&disk);
    let before = disk.stats();
    log.write_and_sync(&(1..=5).map(|i| write(i, i, 1, 0)).collect::<Vec<_>>())
        .unwrap();
    log.sync().unwrap();
    assert_eq!(disk.stats().syncs - before.syncs, 1);
    assert_eq!(log.stats().syncs, 1);
}

#[test]
fn a_write_that_breaks_an_invariant_of_raft_is_refused_and_changes_nothing() {
    let disk = formatted();
    let (mut log, _) = open(&disk);
    log.write_and_sync(&[write(1, 5, 3, 4)]).unwrap();
    store_snapshot(&disk, &meta(4, 3));
    store_snapshot(&disk, &meta(4, 2));
    let only_hard = |term, vote, commit| Write {
        hard_state: Some(hard(term, vote, commit)),
        ..Write::default()
    };
    let bad = [
        ("a hole", write(7, 7, 3, 4)),
        ("cuts committed entries", write(4, 4, 3, 4)),
        ("the term goes back", write(6, 6, 2, 4)),
        ("a second vote", only_hard(3, 2, 4)),
        ("commit beyond the end", only_hard(3, 1, 6)),
        (
            "an entry of a future term",
            Write {
                entries: write(6, 6, 4, 4).entries,
                ..Write::default()
            },
        ),
        (
            "not contiguous",
            Write {
                entries: vec![entry(6, 3, b""), entry(8, 3, b"")],
                ..Write::default()
            },
        ),
        (
            "terms go back",
            Write {
                hard_state: Some(hard(4, 1, 4)),
                entries: vec![entry(6, 4, b""), entry(7, 3, b"")],
                ..Write::default()
            },
        ),
        (
            "a snapshot that is not stored",
            rebase(&meta(3, 3), 3, false),
        ),
        (
            "a snapshot of another history",
            rebase(&meta(4, 2), 4, false),
        ),
        (
            "compaction above the snapshot",
            Write {
                compact_to: Some(quorate_core::types::LogIndex(1)),
                ..Write::default()
            },
        ),
        (
            "a restart without a snapshot",
            Write {
                restart: true,
                ..Write::default()
            },
        ),
    ];
    for (what, write) in bad {
        let refused = log.append(&write).unwrap_err();
        assert!(
            matches!(refused, LogError::Invalid { .. }),
            "{what}: {refused}"
        );
    }
    log.write_and_sync(&[write(6, 6, 3, 6), only_hard(4, 0, 0), only_hard(4, 3, 6)])
        .unwrap();
    drop(log);
    let (_, found) = open(&disk);
    assert_eq!(found.hard_state, hard(4, 3, 6), "the commit index stays");
    assert_eq!(indexes(&found), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn the_largest_write_is_read_back_and_a_larger_one_is_refused() {
    let disk = formatted();
    let identity = Identity::load(&disk, NODE).unwrap().unwrap();
    let (mut log, _) = Log::open(disk.clone(), &identity, Options::default()).unwrap();
    let most = quorate_core::log::WRITE_BYTES_MAX - 64;
    let big = |len| Write {
        hard_state: Some(hard(1, 1, 0)),
        entries: vec![entry(1, 1, &vec![7; len])],
        ..Write::default()
    };
    let refused = log.append(&big(most + 64)).unwrap_err();
    assert!(matches!(refused, LogError::Invalid { .. }), "{refused}");
    log.write_and_sync(&[big(most), write(2, 2, 1, 0)]).unwrap();
    assert_eq!(log.stats().syncs, 2, "a full frame is followed by another");
    drop(log);
    let (_, found) = Log::open(disk, &identity, Options::default()).unwrap();
    assert_eq!(found.entries[0].data.len(), most);
    assert_eq!(indexes(&found), [1, 2]);
}

#[test]
fn a_directory_that_is_foreign_or_of_another_node_or_cluster_is_refused() {
    let disk = formatted();
    let mut identity = Identity::load(&disk, NODE).unwrap().unwrap();
    let refused = Identity::load(&disk, NodeId(2)).unwrap_err();
    assert!(matches!(refused, LogError::OtherNode { .. }), "{refused}");
    let refused = Identity::format(&disk, NODE, DiskId(9)).unwrap_err();
    assert!(matches!(refused, LogError::Foreign { .. }), "{refused}");
    identity.set_cluster(&disk, CLUSTER, Vec::new()).unwrap();
    identity.set_cluster(&disk, CLUSTER, Vec::new()).unwrap();
    let refused = identity.set_cluster(&disk, ClusterId(1), Vec::new());
    assert!(matches!(refused, Err(LogError::Invalid { .. })));

    let other = quorate_core::log::SimDisk::new();
    other.create("holiday.jpg").unwrap();
    for refused in [
        Identity::load(&other, NODE).unwrap_err(),
        Identity::format(&other, NODE, DISK).unwrap_err(),
    ] {
        assert!(refused.to_string().contains("holiday.jpg"), "{refused}");
    }
}
