//! Random histories of writes, snapshots, full disks, failures, deaths and power cuts, against a naive
//! model: what is recovered is always what was synced last, or that and what was being synced when
//! the fault struck. And no fault short of damage to synced bytes is ever reported as corruption.

use crate::common::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use quorate_core::log::{Faults, Log, LogError, Recovered, SimDisk, SnapshotWriter, Stats, Tail};
use quorate_core::replica::{HardState, LogEntry, SnapshotMeta, Write};
use quorate_core::types::LogIndex;

/// What a log should hold, the simplest way.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    hard: HardState,
    snapshot: Option<SnapshotMeta>,
    entries: Vec<LogEntry>,
}

impl Model {
    fn base(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |meta| meta.index.0)
    }

    fn last(&self) -> u64 {
        self.base() + self.entries.len() as u64
    }

    fn term_of(&self, index: u64) -> u64 {
        match &self.snapshot {
            Some(meta) if meta.index.0 == index => meta.term.0,
            _ => {
                let at = usize::try_from(index - self.base() - 1).unwrap();
                self.entries[at].term.0
            }
        }
    }

    fn apply(&mut self, write: &Write) {
        if let Some(meta) = &write.snapshot {
            self.entries
                .retain(|entry| entry.index > meta.index && !write.restart);
            self.snapshot = Some(meta.clone());
        }
        if let Some(hard) = write.hard_state {
            self.hard = hard;
        }
        for entry in &write.entries {
            self.entries.retain(|old| old.index < entry.index);
            self.entries.push(entry.clone());
        }
    }

    fn of(found: &Recovered) -> Self {
        Self {
            hard: found.hard_state,
            snapshot: found.snapshot.clone(),
            entries: found.entries.clone(),
        }
    }
}

/// One step; numbers are taken modulo what makes sense.
#[derive(Clone, Debug)]
enum Step {
    Append {
        count: u64,
        bytes: usize,
        new_term: bool,
    },
    Overwrite {
        back: u64,
    },
    Commit {
        back: u64,
    },
    Snapshot {
        back: u64,
        slack: u64,
    },
    Install {
        ahead: u64,
    },
    Sync,
    Close,
    Full {
        room: u64,
    },
    FailSync {
        nth: u32,
    },
    FailWrite,
    PowerOff {
        after: u64,
    },
    Kill,
    Crash {
        seed: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..4_u64, 0..700_usize, any::<bool>())
            .prop_map(|(count, bytes, new_term)| Step::Append { count, bytes, new_term }),
        3 => (0..6_u64).prop_map(|back| Step::Overwrite { back }),
        4 => (0..4_u64).prop_map(|back| Step::Commit { back }),
        3 => (0..3_u64, 0..20_u64).prop_map(|(back, slack)| Step::Snapshot { back, slack }),
        1 => (0..5_u64).prop_map(|ahead| Step::Install { ahead }),
        10 => Just(Step::Sync),
        1 => Just(Step::Close),
        1 => (0..600_u64).prop_map(|room| Step::Full { room }),
        1 => (0..3_u32).prop_map(|nth| Step::FailSync { nth }),
        1 => Just(Step::FailWrite),
        3 => (0..16_u64).prop_map(|after| Step::PowerOff { after }),
        1 => Just(Step::Kill),
        3 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What was met on the way, so that a test can demand that all of it was.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    cut: u32,
    closed: u32,
    full: u32,
    died: u32,
    ahead: u32,
    behind: u32,
    segments_removed: u32,
    overwrites: u32,
    restarts: u32,
}

struct Run {
    disk: SimDisk,
    log: Option<Log<SimDisk>>,
    /// Synced last.
    durable: Model,
    /// With everything that was appended.
    current: Model,
    /// A fault has struck: `durable` or `current` is on disk.
    either: bool,
    seen: Seen,
}

impl Run {
    fn new() -> Self {
        let disk = formatted();
        let (log, _) = open(&disk);
        Self {
            disk,
            log: Some(log),
            durable: Model::default(),
            current: Model::default(),
            either: false,
            seen: Seen::default(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append {
                count,
                bytes,
                new_term,
            } => {
                let first = self.current.last() + 1;
                let term = self.current.hard.term.0.max(1) + u64::from(new_term);
                self.append(first, count, term, bytes);
            }
            Step::Overwrite { back } => {
                let floor = self.current.hard.commit.0.max(self.current.base()) + 1;
                let first = self.current.last().saturating_sub(back).max(floor);
                self.seen.overwrites += u32::from(first <= self.current.last());
                self.append(first, 1, self.current.hard.term.0 + 1, 9);
            }
            Step::Commit { back } => {
                let commit = self.current.last().saturating_sub(back);
                let commit = commit.max(self.current.hard.commit.0);
                let hard = HardState {
                    commit: LogIndex(commit),
                    ..self.current.hard
                };
                self.write(&Write {
                    hard_state: Some(hard),
                    ..Write::default()
                });
            }
            Step::Snapshot { back, slack } => self.snapshot(back, slack),
            Step::Install { ahead } => self.install(ahead),
            Step::Sync => self.sync(),
            Step::Close => {
                if let Some(log) = self.log.take() {
                    match log.close() {
                        Ok(()) => self.durable = self.current.clone(),
                        Err(_) => self.either = true,
                    }
                }
                self.reopen(self.disk.kill());
            }
            Step::Full { room } => self.fill(room),
            Step::FailSync { nth } => {
                // The nth sync from now fails: run up to it one by one.
                for _ in 0..nth {
                    self.sync();
                }
                self.faults(Faults {
                    failing_syncs: 1,
                    ..Faults::default()
                });
                self.sync();
            }
            Step::FailWrite => {
                self.faults(Faults {
                    failing_writes: 1,
                    ..Faults::default()
                });
                self.sync();
            }
            Step::PowerOff { after } => self.faults(Faults {
                power_off_after: Some(after),
                ..Faults::default()
            }),
            Step::Kill => self.reopen(self.disk.kill()),
            Step::Crash { seed } => self.reopen(self.disk.crash(seed)),
        }
    }

    fn faults(&self, faults: Faults) {
        self.disk.set_faults(faults);
    }

    fn append(&mut self, first: u64, count: u64, term: u64, bytes: usize) {
        let vote = if term == self.current.hard.term.0 {
            self.current.hard.vote.0
        } else {
            1
        };
        self.write(&Write {
            hard_state: Some(hard(term, vote, self.current.hard.commit.0)),
            entries: (first..first + count)
                .map(|index| {
                    entry(
                        index,
                        term,
                        &vec![u8::try_from(index % 251).unwrap(); bytes],
                    )
                })
                .collect(),
            must_sync: true,
            ..Write::default()
        });
    }

    fn snapshot(&mut self, back: u64, slack: u64) {
        let index = self.current.hard.commit.0.saturating_sub(back);
        if index <= self.current.base() {
            return;
        }
        let meta = meta(index, self.current.term_of(index));
        if self.store(&meta) {
            self.write(&rebase(&meta, index.saturating_sub(slack), false));
        }
    }

    fn install(&mut self, ahead: u64) {
        let index = self.current.hard.commit.0 + 1 + ahead;
        let term = self.current.hard.term.0 + 1;
        let meta = meta(index, term);
        if self.store(&meta) {
            self.seen.restarts += 1;
            self.write(&Write {
                hard_state: Some(hard(term, 0, index)),
                ..rebase(&meta, index, true)
            });
        }
    }

    fn store(&mut self, meta: &SnapshotMeta) -> bool {
        let store = || {
            let mut writer = SnapshotWriter::begin(self.disk.clone(), meta.clone())?;
            writer.slice(&[7; 50])?;
            writer.finish()
        };
        let stored: Result<_, LogError> = store();
        if stored.is_err() {
            // As the shell: a failure of the disk ends the process.
            self.died();
        }
        stored.is_ok()
    }

    fn write(&mut self, write: &Write) {
        let Some(log) = &mut self.log else { return };
        match log.append(write) {
            Ok(()) => self.current.apply(write),
            Err(error) => {
                assert!(!matches!(error, LogError::Invalid { .. }), "{error}");
                self.died();
            }
        }
    }

    fn sync(&mut self) {
        let Some(log) = &mut self.log else { return };
        let before = log.stats().segments;
        match log.sync() {
            Ok(()) => {
                self.durable = self.current.clone();
                let Stats { segments, .. } = log.stats();
                self.seen.segments_removed += u32::from(segments < before);
            }
            Err(LogError::Full { .. }) => self.seen.full += 1,
            Err(_) => self.died(),
        }
    }

    fn fill(&mut self, room: u64) {
        self.faults(Faults {
            capacity: Some(self.disk.used() + room),
            ..Faults::default()
        });
        self.sync();
        self.faults(Faults::default());
        self.sync();
    }

    /// A call failed: the process ends, and the next start says what was on disk.
    fn died(&mut self) {
        self.seen.died += 1;
        self.log = None;
        self.either = true;
    }

    fn reopen(&mut self, disk: SimDisk) {
        self.log = None;
        self.disk = disk;
        // Power may fail while it opens, at any step.
        for steps in 0..14 {
            let interrupted = self.disk.kill();
            interrupted.set_faults(Faults {
                power_off_after: Some(steps),
                ..Faults::default()
            });
            let _ = try_open(&interrupted);
            let found = open(&interrupted.crash(steps * 31)).1;
            self.check(&found, self.either);
        }
        let (log, found) = open(&self.disk);
        self.check(&found, self.either);
        match found.tail {
            Tail::Cut { .. } => self.seen.cut += 1,
            Tail::Closed => self.seen.closed += 1,
            Tail::Open => {}
            Tail::Damaged { .. } => panic!("a crash was taken for damage: {found:?}"),
        }
        let found = Model::of(&found);
        if self.either && self.durable != self.current {
            self.seen.ahead += u32::from(found == self.current);
            self.seen.behind += u32::from(found == self.durable);
        }
        self.durable = found.clone();
        self.current = found;
        self.either = false;
        self.log = Some(log);
    }

    fn check(&self, found: &Recovered, either: bool) {
        let found = Model::of(found);
        assert!(
            found == self.durable || (either && found == self.current),
            "found {found:?}\nsynced {:?}\nappended {:?}",
            self.durable,
            self.current
        );
    }
}

fn run(steps: &[Step]) -> Seen {
    let mut run = Run::new();
    for step in steps {
        if run.log.is_none() && !matches!(step, Step::Kill | Step::Crash { .. }) {
            continue;
        }
        run.step(step);
    }
    let seed = steps.len() as u64;
    run.reopen(run.disk.crash(seed));
    run.reopen(run.disk.crash(seed + 1));
    run.seen
}

proptest! {
    #[test]
    fn what_is_recovered_is_what_was_synced(steps in steps()) {
        run(&steps);
    }
}

#[test]
fn the_histories_meet_every_fault() {
    // Fixed seeds, so that the demand below cannot fail by chance.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut total = [0; 9];
    for _ in 0..200 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let seen = run(&steps);
        let each = [
            seen.cut,
            seen.closed,
            seen.full,
            seen.died,
            seen.ahead,
            seen.behind,
            seen.segments_removed,
            seen.overwrites,
            seen.restarts,
        ];
        for (total, seen) in total.iter_mut().zip(each) {
            *total += seen;
        }
    }
    assert!(total.iter().all(|seen| *seen > 5), "{total:?}");
}
