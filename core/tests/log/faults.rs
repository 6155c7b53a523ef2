//! Each fault on its own: what the caller sees, and what is there afterwards.

use crate::common::*;
use quorate_core::log::{
    Disk, DiskFile, Faults, Identity, Log, LogError, SimDisk, SnapshotReader, SnapshotWriter, Tail,
};
use quorate_core::types::DiskId;

fn full(disk: &SimDisk, more: u64) {
    disk.set_faults(Faults {
        capacity: Some(disk.used() + more),
        ..Faults::default()
    });
}

#[test]
fn a_full_disk_takes_nothing_half_and_goes_on_when_there_is_room() {
    let disk = formatted();
    let (mut log, _) = open(&disk);
    log.write_and_sync(&[write(1, 1, 1, 0)]).unwrap();
    let before = disk.read("segment-00000000000000000001").unwrap();
    for room in [0, 1, 39, 40, 41, 60] {
        full(&disk, room);
        let error = if room == 0 {
            log.write_and_sync(&[write(2, 2, 1, 0)]).unwrap_err()
        } else {
            log.sync().unwrap_err()
        };
        assert!(matches!(error, LogError::Full { .. }) && !error.is_fatal());
        assert_eq!(disk.read("segment-00000000000000000001").unwrap(), before);
        assert_eq!(indexes(&open(&disk.crash(room)).1), [1]);
    }
    log.append(&write(3, 3, 1, 0)).unwrap();
    disk.set_faults(Faults::default());
    log.sync().unwrap();
    drop(log);
    assert_eq!(indexes(&open(&disk.crash(1)).1), [1, 2, 3]);
}

/// Proves that a full disk is given what the log itself does not need any more, and nothing that a write which
/// waits for room would first have to make unneeded.
#[test]
fn a_full_disk_gets_room_from_what_is_no_longer_needed() {
    let disk = formatted();
    let (mut log, _) = open(&disk);
    for index in 1..=30 {
        log.write_and_sync(&[write(index, index, 1, 0)]).unwrap();
    }
    let before = log.stats().segments;
    store_snapshot(&disk, &meta(29, 1));
    full(&disk, 0);
    let error = log.write_and_sync(&[rebase(&meta(29, 1), 29, false)]);
    assert!(matches!(error, Err(LogError::Full { .. })), "{error:?}");
    assert_eq!(log.stats().segments, before, "the base is not on disk yet");
    assert_eq!(indexes(&open(&disk.crash(1)).1).len(), 30);
    disk.set_faults(Faults::default());
    log.sync().unwrap();
    assert!(log.stats().segments > 5, "they go one a sync");
    full(&disk, 0);
    for index in 31..=34 {
        log.write_and_sync(&[write(index, index, 1, 0)]).unwrap();
    }
    disk.set_faults(Faults::default());
    drop(log);
    assert_eq!(indexes(&open(&disk.crash(1)).1), [30, 31, 32, 33, 34]);
}

#[test]
fn a_segment_that_finds_no_room_waits_while_writes_still_fit() {
    let mut waited = 0;
    for room in (250..500).step_by(5) {
        let disk = formatted();
        let (mut log, _) = open(&disk);
        full(&disk, room);
        let mut last = 0;
        while log
            .write_and_sync(&[write(last + 1, last + 1, 1, 0)])
            .is_ok()
        {
            last += 1;
        }
        let stats = log.stats();
        disk.set_faults(Faults::default());
        if stats.segments == 1 && stats.segments_bytes >= SMALL.segment_bytes {
            waited += 1;
            assert_eq!(disk.list().unwrap().len(), 3, "no unfinished segment stays");
            log.sync().unwrap();
            assert_eq!(log.stats().segments, 2);
        } else {
            log.sync().unwrap();
        }
        drop(log);
        assert_eq!(indexes(&open(&disk).1).last(), Some(&(last + 1)));
    }
    assert!(waited > 0);
}

#[test]
fn after_a_failed_sync_the_log_takes_nothing_more_and_keeps_what_was_synced() {
    let disk = formatted();
    let (mut log, _) = open(&disk);
    log.write_and_sync(&[write(1, 1, 1, 0)]).unwrap();
    disk.set_faults(Faults {
        failing_syncs: 1,
        ..Faults::default()
    });
    let error = log.write_and_sync(&[write(2, 2, 1, 0)]).unwrap_err();
    assert!(error.is_fatal() && matches!(error, LogError::Io { .. }));
    let refused = [
        log.append(&write(3, 3, 1, 0)).unwrap_err(),
        log.sync().unwrap_err(),
        log.close().unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, LogError::Poisoned { .. }), "{error}");
    }
    for seed in 0..50 {
        assert_eq!(indexes(&open(&disk.crash(seed)).1), [1]);
    }
}

#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again_before_it_is_believed() {
    // The process dies, the machine does not: the next one reads the frame from the cache, and a
    // sync of it alone would succeed without writing it.
    let disk = formatted();
    let (mut log, _) = open(&disk);
    disk.set_faults(Faults {
        failing_syncs: 1,
        ..Faults::default()
    });
    log.write_and_sync(&[write(1, 1, 1, 0)]).unwrap_err();
    let disk = disk.kill();
    let found = open(&disk).1;
    for seed in 0..50 {
        let after = open(&disk.crash(seed)).1;
        assert_eq!(after.entries, found.entries, "seed {seed}");
        assert_eq!(after.hard_state, found.hard_state, "seed {seed}");
    }
}

#[test]
fn after_a_failed_write_the_log_takes_nothing_more() {
    let disk = formatted();
    let (mut log, _) = open(&disk);
    log.write_and_sync(&[write(1, 1, 1, 0)]).unwrap();
    disk.set_faults(Faults {
        failing_writes: 1,
        ..Faults::default()
    });
    let error = log.write_and_sync(&[write(2, 2, 1, 0)]).unwrap_err();
    assert!(matches!(error, LogError::Io { .. }), "{error}");
    assert!(matches!(log.sync(), Err(LogError::Poisoned { .. })));
    let (_, found) = open(&disk.kill());
    assert_eq!(indexes(&found), [1]);
    assert!(matches!(found.tail, Tail::Cut { .. }), "{:?}", found.tail);
}

#[test]
fn an_interrupted_format_is_done_again_and_a_finished_one_is_whole() {
    let mut finished = 0;
    for steps in 0..40 {
        for seed in 0..20 {
            let disk = SimDisk::new();
            disk.set_faults(Faults {
                power_off_after: Some(steps),
                ..Faults::default()
            });
            let done = Identity::format(&disk, NODE, DiskId(1)).is_ok();
            let disk = if seed == 0 {
                disk.kill()
            } else {
                disk.crash(seed)
            };
            let identity = match Identity::load(&disk, NODE).unwrap() {
                Some(identity) => identity,
                None => {
                    assert!(!done, "a finished format is durable");
                    Identity::format(&disk, NODE, DiskId(2)).unwrap()
                }
            };
            finished += usize::from(done);
            let (_, found) = Log::open(disk, &identity, SMALL).unwrap();
            assert!(found.entries.is_empty());
        }
    }
    assert!(finished > 0);
}

#[test]
fn the_cluster_is_recorded_whole_or_not_at_all() {
    for steps in 0..8 {
        for seed in 0..20 {
            let disk = formatted();
            let mut identity = Identity::load(&disk, NODE).unwrap().unwrap();
            disk.set_faults(Faults {
                power_off_after: Some(steps),
                ..Faults::default()
            });
            let done = identity.set_cluster(&disk, CLUSTER, Vec::new()).is_ok();
            let disk = disk.crash(seed);
            let found = Identity::load(&disk, NODE).unwrap().unwrap();
            assert!(found.cluster == Some(CLUSTER) || !done);
            assert_eq!(found.disk, DISK);
            Log::open(disk, &found, SMALL).unwrap();
        }
    }
}

#[test]
fn an_unfinished_snapshot_is_never_taken_for_one_and_goes_at_the_next_start() {
    let disk = formatted();
    let mut writer = SnapshotWriter::begin(disk.clone(), meta(3, 1)).unwrap();
    writer.slice(b"half").unwrap();
    assert_eq!(names(&disk, "snapshot-").len(), 1);
    let dead = disk.kill();
    drop(open(&dead));
    assert_eq!(names(&dead, "snapshot-").len(), 0);
    drop(writer);
    assert_eq!(names(&disk, "snapshot-").len(), 0, "its room is given back");
    let error = SnapshotReader::open(&disk, &meta(3, 1))
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, LogError::NoSnapshot { .. }) && !error.is_fatal());

    full(&disk, 60);
    let mut writer = SnapshotWriter::begin(disk.clone(), meta(3, 1)).unwrap();
    let error = writer.slice(&[0; 100]).unwrap_err();
    assert!(matches!(error, LogError::Full { .. }), "{error}");
    drop(writer);
    disk.set_faults(Faults::default());
    store_snapshot(&disk, &meta(3, 1));
    assert_eq!(names(&disk, "snapshot-").len(), 1);
}

#[test]
fn one_snapshot_written_twice_at_once_is_whole_whoever_ends_first() {
    // The leader sends what this node is about to take itself.
    let disk = formatted();
    let mut own = SnapshotWriter::begin(disk.clone(), meta(3, 1)).unwrap();
    let mut received = SnapshotWriter::begin(disk.clone(), meta(3, 1)).unwrap();
    own.slice(b"state").unwrap();
    received.slice(b"sta").unwrap();
    own.finish().unwrap();
    let mut reader = SnapshotReader::open(&disk, &meta(3, 1)).unwrap();
    received.slice(b"te").unwrap();
    received.finish().unwrap();
    assert_eq!(reader.next_slice().unwrap().unwrap(), b"state");
    let slices: Result<Vec<_>, _> = SnapshotReader::open(&disk, &meta(3, 1)).unwrap().collect();
    assert_eq!(slices.unwrap().concat(), b"state");
    assert_eq!(names(&disk, "snapshot-").len(), 1);
}

#[test]
fn the_disk_model_loses_keeps_tears_and_reorders_what_was_not_synced() {
    let disk = SimDisk::new();
    let mut file = disk.create("kept").unwrap();
    file.append(&[1; 700]).unwrap();
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    for byte in [2, 3] {
        file.append(&[byte; 700]).unwrap();
    }
    disk.create("new").unwrap();
    disk.rename("kept", "renamed").unwrap();

    let (mut lost, mut whole, mut torn, mut reordered, mut zeroed) = (0, 0, 0, 0, 0);
    let (mut created, mut renamed, mut both) = (0, 0, 0);
    for seed in 0..300 {
        let found = disk.crash(seed);
        let names = found.list().unwrap();
        created += usize::from(names.contains(&"new".to_owned()));
        renamed += usize::from(names.contains(&"renamed".to_owned()));
        both += usize::from(names.len() == 2);
        let name = names.iter().find(|name| *name != "new").unwrap();
        let bytes = found.read(name).unwrap();
        assert_eq!(bytes[..700], [1; 700], "what was synced stays");
        assert_eq!(bytes, disk.crash(seed).read(name).unwrap(), "seed {seed}");
        let count = |byte| bytes.iter().filter(|b| **b == byte).count();
        let (zeros, second, third) = (count(0), count(2), count(3));
        lost += usize::from(bytes.len() == 700);
        whole += usize::from(second == 700 && third == 700);
        torn += usize::from(zeros == 0 && second % 700 + third % 700 > 0);
        reordered += usize::from(second == 0 && third == 700);
        zeroed += usize::from(zeros > 0 && second > 0);
    }
    let seen = [lost, whole, torn, reordered, zeroed, created, renamed, both];
    assert!(seen.iter().all(|seen| *seen > 0 && *seen < 300), "{seen:?}");
}

#[test]
fn the_disk_model_never_makes_durable_what_a_failed_sync_left_behind() {
    let disk = SimDisk::new();
    let mut file = disk.create("x").unwrap();
    disk.sync_dir().unwrap();
    file.append(b"lost").unwrap();
    disk.set_faults(Faults {
        failing_syncs: 1,
        ..Faults::default()
    });
    file.sync().unwrap_err();
    file.append(b"later").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.read("x").unwrap(), b"lostlater");
    for seed in 0..20 {
        assert_eq!(disk.crash(seed).read("x").unwrap(), b"\0\0\0\0later");
    }
}
