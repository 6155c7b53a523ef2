//! Every truncation and every flipped bit of every file of a small log, and every missing file.
//!
//! What holds, exactly:
//! - After an orderly close or the death of the process alone, no damage to the log goes unseen: the
//!   directory is refused, or everything synced is recovered.
//! - After a power cut that also took the marks since the last synced one (a mark is synced at open,
//!   at the start of a segment and at close), the frames after that mark are proven only by the
//!   frames behind them. So the last of them is cut off when it is damaged, and the log is in doubt
//!   ([`Tail::Damaged`]); and a file that the file system cut short may pass for a shorter one. Nothing
//!   else may, and the log never claims certainty ([`Tail::Closed`]) then.

use crate::common::*;
use quorate_core::log::{
    Disk, DiskFile, Identity, Log, LogError, Options, Recovered, SimDisk, Tail,
};
use quorate_core::replica::{HardState, Write};
use quorate_core::types::{DiskId, NodeId, Term};

/// A log of several segments over a snapshot. After each sync: what is recovered from then on.
fn small_log() -> (SimDisk, Vec<Recovered>) {
    let disk = formatted();
    let (mut log, _) = open(&disk);
    let mut states = Vec::new();
    let mut step = |write| {
        log.write_and_sync(&[write]).unwrap();
        states.push(open(&disk.kill()).1);
    };
    step(write(1, 4, 1, 2));
    store_snapshot(&disk, &meta(2, 1));
    step(rebase(&meta(2, 1), 1, false));
    step(write(4, 9, 2, 4));
    for index in 10..=15 {
        step(write(index, index, 2, 9));
    }
    step(write(16, 17, 3, 15));
    (disk, states)
}

/// Goes on with a log that is open, so that no mark is synced in between. Answers the disk and the
/// same disk with the marks that were not synced lost.
fn continued() -> (SimDisk, SimDisk, Vec<Recovered>) {
    let (disk, states) = small_log();
    let mut states = vec![states.last().unwrap().clone()];
    let identity = Identity::load(&disk, NODE).unwrap().unwrap();
    let (mut log, _) = Log::open(disk.clone(), &identity, Options::default()).unwrap();
    let mark = disk.read("mark").unwrap();
    for index in 18..=21 {
        log.write_and_sync(&[write(index, index, 3, 17)]).unwrap();
        states.push(open(&disk.kill()).1);
    }
    drop(log);
    let unmarked = disk.kill();
    unmarked.open("mark").unwrap().write_at(0, &mark).unwrap();
    (disk, unmarked, states)
}

/// Whether `found` is this state; in doubt it is so in a new term.
fn same(found: &Recovered, state: &Recovered) -> bool {
    let hard_state = if found.doubt {
        HardState {
            term: Term(state.hard_state.term.0 + 1),
            vote: NodeId(0),
            ..state.hard_state
        }
    } else {
        state.hard_state
    };
    (&found.hard_state, &found.snapshot, &found.entries)
        == (&hard_state, &state.snapshot, &state.entries)
}

fn refused(error: &LogError) -> bool {
    matches!(error, LogError::Corrupt { .. })
}

/// The error names the damaged file, and a place at or before the damage.
fn points_at(error: &LogError, name: &str, byte: u64) -> bool {
    matches!(error, LogError::Corrupt { file, offset, .. } if file == name && *offset <= byte)
}

/// One damage of a disk.
struct Damage {
    what: String,
    file: String,
    /// The first byte that is gone or changed.
    byte: u64,
    flipped: bool,
    disk: SimDisk,
}

/// Every damage of every file whose name begins with `prefix`.
fn damages(disk: &SimDisk, prefix: &str) -> impl Iterator<Item = Damage> {
    let mut all = Vec::new();
    for name in names(disk, prefix) {
        let len = disk.read(&name).unwrap().len() as u64;
        all.extend((0..len).map(|to| (name.clone(), Some(to), 0)));
        all.extend((0..len * 8).map(|bit| (name.clone(), None, bit)));
    }
    let disk = disk.kill();
    all.into_iter().map(move |(file, cut, bit)| {
        let damaged = disk.kill();
        let (what, byte) = match cut {
            Some(to) => {
                damaged.cut(&file, to);
                (format!("{file} cut to {to}"), to)
            }
            None => {
                damaged.flip(&file, bit);
                (
                    format!("{file} bit {} of byte {}", bit % 8, bit / 8),
                    bit / 8,
                )
            }
        };
        Damage {
            what,
            file,
            byte,
            flipped: cut.is_none(),
            disk: damaged,
        }
    })
}

#[test]
fn after_an_orderly_close_no_damage_goes_unseen() {
    let (disk, states) = small_log();
    let (log, _) = open(&disk);
    log.close().unwrap();
    assert!(names(&disk, "segment-").len() >= 3);
    assert_eq!(open(&disk.kill()).1.tail, Tail::Closed);
    for file in ["segment-", "snapshot-", "identity"] {
        for Damage {
            what,
            file,
            byte,
            flipped,
            disk,
        } in damages(&disk, file)
        {
            let error = try_open(&disk).map(drop).expect_err(&what);
            assert!(points_at(&error, &file, byte), "{what}: {error}");
            let seen_from_outside = error.to_string().contains("ends with frame");
            assert!(!flipped || !seen_from_outside, "{what}: {error}");
        }
    }
    for Damage { what, disk, .. } in damages(&disk, "mark") {
        match try_open(&disk) {
            Ok((_, found)) => assert!(same(&found, states.last().unwrap()), "{what}"),
            Err(error) => assert!(refused(&error), "{what}: {error}"),
        }
    }
}

#[test]
fn after_the_death_of_the_process_no_damage_to_the_log_goes_unseen() {
    let (disk, _, _) = continued();
    for Damage {
        what,
        file,
        byte,
        disk,
        ..
    } in damages(&disk, "segment-")
    {
        let error = try_open(&disk).map(drop).expect_err(&what);
        assert!(points_at(&error, &file, byte), "{what}: {error}");
    }
}

#[test]
fn after_a_power_cut_only_the_frames_behind_the_last_synced_mark_can_go_and_not_as_certain() {
    let (_, disk, states) = continued();
    let (mut cut, mut rotten, mut short) = (0, 0, 0);
    for Damage {
        what,
        file,
        byte,
        flipped,
        disk,
    } in damages(&disk, "segment-")
    {
        match try_open(&disk) {
            Err(error) => assert!(points_at(&error, &file, byte), "{what}: {error}"),
            Ok((_, found)) => {
                let known = states.iter().position(|state| same(&found, state));
                let at = known.unwrap_or_else(|| panic!("{what}: a state that never was"));
                assert!(at < states.len() - 1, "{what}: damage without a trace");
                match found.tail {
                    Tail::Closed => panic!("{what}: certain"),
                    Tail::Open => short += 1,
                    Tail::Cut { bytes } => {
                        assert!(bytes > 0);
                        assert!(!flipped, "{what}: taken for an interrupted write");
                        cut += 1;
                    }
                    Tail::Damaged { bytes } => {
                        assert!(bytes > 0);
                        assert!(flipped, "{what}: taken for damage");
                        assert_eq!(at, states.len() - 2, "{what}: not the last frame");
                        rotten += 1;
                    }
                }
                assert_eq!(
                    found.doubt,
                    matches!(found.tail, Tail::Damaged { .. }),
                    "{what}"
                );
            }
        }
    }
    assert!(cut > 0 && rotten > 0);
    assert_eq!(short, states.len() - 1, "one for each whole frame");
}

#[test]
fn doubt_is_remembered_in_ever_newer_terms_until_a_write_clears_it() {
    let disk = formatted();
    let (mut log, _) = open(&disk);
    log.write_and_sync(&[write(1, 3, 1, 0)]).unwrap();
    let (segment, len) = {
        let name = names(&disk, "segment-").pop().unwrap();
        let len = disk.read(&name).unwrap().len() as u64;
        (name, len)
    };
    let mark = disk.read("mark").unwrap();
    log.write_and_sync(&[write(4, 4, 1, 0)]).unwrap();
    drop(log);
    disk.open("mark").unwrap().write_at(0, &mark).unwrap();
    disk.flip(&segment, 8 * (len + 50));

    let (log, found) = open(&disk);
    assert!(matches!(found.tail, Tail::Damaged { .. }) && found.doubt);
    assert_eq!((found.entries.len(), found.hard_state.term), (3, Term(2)));
    drop(log);
    // After a power cut too: the evidence was gone only when the doubt was on disk.
    for seed in 0..20 {
        let (_, found) = open(&disk.crash(seed));
        assert!(found.tail == Tail::Open && found.doubt);
        assert_eq!(found.hard_state.term, Term(3));
    }
    let (mut log, found) = open(&disk);
    assert_eq!((found.doubt, found.hard_state.term), (true, Term(3)));
    let clears = Write {
        cleared: true,
        must_sync: true,
        ..Write::default()
    };
    log.append(&clears).unwrap();
    assert!(open(&disk.kill()).1.doubt, "not before the write is synced");
    log.sync().unwrap();
    let (_, found) = open(&disk.crash(1));
    assert_eq!((found.doubt, found.hard_state.term), (false, Term(3)));
}

#[test]
fn every_missing_file_is_missed() {
    let (disk, _) = small_log();
    let (log, _) = open(&disk);
    log.close().unwrap();
    for name in disk.list().unwrap() {
        let damaged = disk.kill();
        damaged.remove(&name).unwrap();
        let error = try_open(&damaged).map(drop).expect_err(&name);
        // Without the oldest segment it is its entries that are missed.
        let oldest = names(&disk, "segment-").first() == Some(&name);
        assert!(oldest || points_at(&error, &name, 0), "{name}: {error}");
        assert!(error.to_string().contains("replace the node"), "{error}");
    }
    let segments = names(&disk, "segment-");
    for name in &segments {
        disk.remove(name).unwrap();
    }
    assert!(refused(&try_open(&disk).map(|_| ()).unwrap_err()));
}

#[test]
fn a_segment_of_another_directory_or_another_place_is_refused() {
    let (disk, _) = small_log();
    let segments = names(&disk, "segment-");
    let (first, second) = (&segments[0], &segments[1]);
    let swapped = disk.kill();
    swapped.rename(second, first).unwrap();
    swapped.create(second).unwrap();
    assert!(refused(&try_open(&swapped).map(|_| ()).unwrap_err()));

    let other = SimDisk::new();
    Identity::format(&other, NODE, DiskId(7)).unwrap();
    let foreign = other.read("segment-00000000000000000001").unwrap();
    let mixed = formatted();
    mixed.remove("segment-00000000000000000001").unwrap();
    let mut file = mixed.create("segment-00000000000000000001").unwrap();
    file.append(&foreign).unwrap();
    let error = try_open(&mixed).map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("another data directory"),
        "{error}"
    );
}

#[test]
fn damage_to_an_entry_that_a_snapshot_covers_is_damage_all_the_same() {
    let disk = formatted();
    let (mut log, _) = open(&disk);
    log.write_and_sync(&[write(1, 3, 1, 3)]).unwrap();
    store_snapshot(&disk, &meta(3, 1));
    log.write_and_sync(&[rebase(&meta(3, 1), 0, false)])
        .unwrap();
    drop(log);
    disk.flip("segment-00000000000000000001", 8 * 200);
    assert!(refused(&try_open(&disk).map(|_| ()).unwrap_err()));
}

#[test]
fn bytes_behind_the_end_are_a_torn_write_in_the_last_segment_and_corruption_elsewhere() {
    let (disk, states) = small_log();
    let segments = names(&disk, "segment-");
    for name in disk.list().unwrap() {
        for garbage in [&[0; 600][..], b"x", b"QFR\x01", &[0xff; 50]] {
            let damaged = disk.kill();
            damaged.open(&name).unwrap().append(garbage).unwrap();
            if segments.last() == Some(&name) {
                let (_, found) = open(&damaged);
                assert!(same(&found, states.last().unwrap()));
                let bytes = garbage.len() as u64;
                // A crash leaves no bytes that nobody wrote, unless they read as zeros.
                let is_whole = garbage.len() >= 40 && garbage[0] != 0;
                let expected = if is_whole {
                    Tail::Damaged { bytes }
                } else {
                    Tail::Cut { bytes }
                };
                assert_eq!(found.tail, expected);
                assert_eq!(open(&damaged).1.tail, Tail::Open, "it was cut for good");
            } else {
                let error = try_open(&damaged).map(drop).expect_err(&name);
                assert!(refused(&error), "{name}: {error}");
            }
        }
    }
}

#[test]
fn a_damaged_beginning_of_the_newest_segment_is_no_torn_write() {
    // The crash came after the segment got its name and before the mark told of it.
    let disk = formatted();
    let (mut log, _) = open(&disk);
    let mut mark = disk.read("mark").unwrap();
    for index in 1.. {
        log.write_and_sync(&[write(index, index, 1, 0)]).unwrap();
        if log.stats().segments == 2 {
            break;
        }
        mark = disk.read("mark").unwrap();
    }
    drop(log);
    disk.open("mark").unwrap().write_at(0, &mark).unwrap();
    assert_eq!(open(&disk.kill()).1.tail, Tail::Open);
    for Damage {
        what,
        file,
        byte,
        disk,
        ..
    } in damages(&disk, "segment-00000000000000000002")
    {
        let error = try_open(&disk).map(drop).expect_err(&what);
        assert!(points_at(&error, &file, byte), "{what}: {error}");
    }
}
