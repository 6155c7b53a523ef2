//! One simulated node: a replica, the real log on a simulated disk, and clocks of its own.

use super::ledger::True;
use super::store::Store;
use quorate_core::machine::Machine;
use quorate_core::replica::{Config, Input, Output, Replica, SnapshotMeta, Write};
use quorate_core::types::{ClusterId, GroupId, Mono, NodeId, Now};
use std::collections::VecDeque;
use std::time::Duration;

/// A clock that runs at its own rate from its own origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Nanoseconds it gains in a true millisecond, beyond the million it should; may be negative.
    pub(crate) drift_ns_per_ms: i64,
    /// Its reading at true time zero.
    pub(crate) origin_ns: u64,
    /// Wall clock at true time zero, in milliseconds since the Unix epoch.
    pub(crate) wall_ms: i64,
}

impl Clock {
    /// Its reading at this true time.
    pub(crate) fn mono(&self, at: True) -> Mono {
        let gained = i128::from(at / 1_000) * i128::from(self.drift_ns_per_ms) / 1_000;
        let reading = i128::from(self.origin_ns) + i128::from(at) + gained;
        Mono(u64::try_from(reading).unwrap_or(0))
    }

    /// The first true time at which it reads at least `reading`.
    pub(crate) fn true_at(&self, reading: Mono) -> True {
        let (mut low, mut high) = (0_u64, reading.0.saturating_mul(2).max(1));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.mono(middle) >= reading {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// Both clocks at this true time.
    pub(crate) fn now(&self, at: True) -> Now {
        let wall = i128::from(self.wall_ms)
            + i128::from(self.mono(at).0.saturating_sub(self.origin_ns) / 1_000_000);
        Now {
            mono: self.mono(at),
            wall_ms: u64::try_from(wall).unwrap_or(0),
        }
    }
}

/// What the disk of a node is asked to do, in order.
#[derive(Debug)]
pub(crate) enum DiskWork {
    /// A write of the log.
    Write(u64, Write),
    /// The end of a snapshot file that was begun and filled.
    SnapshotEnd(SnapshotMeta),
}

/// The living part of a node; gone with a crash.
pub(crate) struct Life<M: Machine> {
    /// The replica.
    pub(crate) replica: Replica<M>,
    /// Its log and snapshots.
    pub(crate) store: Store,
    /// When the next tick is due, by its own clock.
    pub(crate) tick_at: Mono,
    /// What the disk still has to do.
    pub(crate) disk_queue: VecDeque<DiskWork>,
    /// The disk is at work until its event.
    pub(crate) disk_busy: bool,
    /// The snapshot being written.
    pub(crate) snapshot: Option<(SnapshotMeta, Vec<Vec<u8>>)>,
    /// True time of the earliest wake event that is scheduled.
    pub(crate) wake_at: Option<True>,
}

/// A node that lives, or lies dead with its disk.
pub(crate) struct SimNode<M: Machine> {
    /// Its id.
    pub(crate) id: NodeId,
    /// Its clocks.
    pub(crate) clock: Clock,
    /// Its disk.
    pub(crate) disk: quorate_core::log::SimDisk,
    /// The living part.
    pub(crate) life: Option<Life<M>>,
    /// Which life it is; events of an earlier one are void.
    pub(crate) incarnation: u64,
    /// Stands still until then.
    pub(crate) paused_until: True,
    /// When it goes on, it reads what clients sent before what peers did, each in order; else in any.
    pub(crate) clients_first: bool,
    /// Why it will not start again.
    pub(crate) ruined: Option<String>,
}

/// The cluster id of every simulation.
pub(crate) const CLUSTER: ClusterId = ClusterId(0x51_4d);

/// Length of a tick.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// Settings small enough that snapshots, truncation and back-pressure happen within one short run.
pub(crate) fn replica_config(node: NodeId, seed: u64, boot_nonce: u64) -> Config {
    Config {
        tick: TICK,
        snapshot_after_bytes: 24 << 10,
        log_slack_bytes: 4 << 10,
        snapshot_slice_bytes: 2 << 10,
        snapshot_pace: Duration::from_millis(1),
        append_bytes_max: 8 << 10,
        ..Config::new(node, GroupId(0), CLUSTER, seed, boot_nonce)
    }
}

impl<M: Machine> SimNode<M> {
    /// Starts the node from its disk.
    pub(crate) fn start(&mut self, seed: u64, at: True) {
        self.incarnation += 1;
        let nonce = seed ^ (self.incarnation << 32) ^ self.id.0;
        let started = Store::open(&self.disk, self.id).and_then(|(store, boot)| {
            let config = replica_config(self.id, seed, nonce);
            let replica = Replica::new(config, boot, self.clock.now(at))
                .map_err(|error| error.to_string())?;
            Ok(Life {
                replica,
                store,
                tick_at: self.clock.mono(at) + TICK,
                disk_queue: VecDeque::new(),
                disk_busy: false,
                snapshot: None,
                wake_at: None,
            })
        });
        match started {
            Ok(life) => self.life = Some(life),
            Err(reason) => self.ruined = Some(reason),
        }
    }

    /// Hands one input in.
    pub(crate) fn step(&mut self, at: True, input: Input<M>) {
        let now = self.clock.now(at);
        if let Some(life) = &mut self.life {
            life.replica.step(now, input);
        }
    }

    /// Lets the replica act: a tick if one is due, then a turn.
    pub(crate) fn turn(&mut self, at: True, out: &mut Vec<Output<M>>) {
        let now = self.clock.now(at);
        if let Some(life) = &mut self.life {
            if now.mono >= life.tick_at {
                life.replica.step(now, Input::Tick);
                life.tick_at = (life.tick_at + TICK).max(now.mono);
            }
            life.replica.turn(now, out);
        }
    }

    /// When it wants to be woken, in true time.
    pub(crate) fn next_wake(&self, at: True) -> Option<True> {
        let life = self.life.as_ref()?;
        let wake = life
            .replica
            .next_wake(self.clock.now(at))
            .map_or(life.tick_at, |wake| wake.min(life.tick_at));
        Some(self.clock.true_at(wake).max(at + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_and_its_inverse_agree_at_every_rate() {
        for drift in [-20_000, -9_000, 0, 9_000, 20_000] {
            let clock = Clock {
                drift_ns_per_ms: drift,
                origin_ns: 5_000_000_000,
                wall_ms: 0,
            };
            for at in [0, 1_000_000, 777_777_777, 60_000_000_000] {
                let back = clock.true_at(clock.mono(at));
                assert!(
                    back <= at && at - back <= 2_000_000,
                    "drift {drift}: {at} became {back}"
                );
            }
        }
    }
}
