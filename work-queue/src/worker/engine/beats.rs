//! Heartbeats: which leases are held, and what the queue says about them.

use super::super::context::Stop;
use super::super::held::Phase;
use super::super::link::Up;
use super::Engine;
use crate::machine::{LeaseId, Progress, Renewed};
use quorate_core::error::{Code, Error};
use quorate_core::retry::Backoff;
use quorate_core::types::Mono;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Heartbeats in one length of the shortest lease: three may be lost before trust runs out.
pub(crate) const PER_LEASE: u32 = 4;
/// Between heartbeats when nothing is held: only the session is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Reports of progress go out at most so often.
const PROGRESS_EVERY: Duration = Duration::from_millis(300);
/// Longest wait for the answer to one heartbeat before the next is sent.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Shortest such wait.
const ANSWER_MIN: Duration = Duration::from_millis(100);
/// Heartbeats without an answer, at the most.
const UNDER_WAY_MAX: usize = 4;
/// A connection on which so many heartbeats in a row were not answered in time is left for another
/// server, while there is trust left to be renewed over there.
const SILENT_MAX: usize = 2;
/// Between the two heartbeats that tell which grants did not arrive.
const SWEEP_PAUSE: Duration = Duration::from_millis(100);
/// Heartbeats that are remembered.
const HISTORY_MAX: usize = 32;

#[derive(Debug)]
struct Beat {
    sent: Mono,
    leases: Vec<LeaseId>,
    answer_by: Mono,
}

/// Heartbeats of one session.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    number: u64,
    /// The last ones that were sent: number, time, and whether their list was complete.
    history: VecDeque<(u64, Mono, bool)>,
    under_way: BTreeMap<u64, Beat>,
    next: Mono,
    progress_at: Mono,
    sweeping: bool,
    /// In a row without an answer in time.
    silent: usize,
    backoff: Backoff,
}

impl Beats {
    /// When this one was sent, if that is remembered.
    pub(super) fn sent_at(&self, number: u64) -> Option<Mono> {
        let found = self.history.iter().find(|(sent, ..)| *sent == number);
        found.map(|(_, at, _)| *at)
    }

    /// How many complete ones were sent after this one, as far as is remembered: enough to tell
    /// whether they are fewer than a few.
    pub(super) fn since(&self, number: u64) -> usize {
        let after = |(sent, _, complete): &&(u64, Mono, bool)| *complete && *sent > number;
        self.history.iter().filter(after).count()
    }

    fn remember(&mut self, number: u64, now: Mono, complete: bool) {
        if self.history.len() == HISTORY_MAX {
            // Complete ones stay longer: they are what is counted.
            let spare = self.history.iter().position(|(.., complete)| !complete);
            self.history.remove(spare.unwrap_or(0));
        }
        self.history.push_back((number, now, complete));
    }

    /// Number of the last one that was sent, complete or not.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next one goes out at once.
    pub(super) fn hurry(&mut self) {
        self.next = Mono::default();
    }

    /// Two go out in quick succession: what was granted and did not arrive goes back at once instead
    /// of after two ordinary heartbeats.
    pub(super) fn sweep(&mut self) {
        self.hurry();
        self.sweeping = true;
    }

    /// The next one goes out by `at`.
    pub(super) fn within(&mut self, at: Mono) {
        self.next = self.next.min(at);
    }

    pub(super) fn clear(&mut self) {
        self.under_way.clear();
        self.silent = 0;
    }

    fn lists(&self, lease: LeaseId) -> bool {
        self.under_way
            .values()
            .any(|beat| beat.leases.contains(&lease))
    }
}

impl Engine {
    /// When a heartbeat, a report of progress or an answer is due.
    pub(super) fn beats_at(&self) -> Mono {
        let beats = &self.beats;
        let answer = beats.under_way.values().map(|beat| beat.answer_by).min();
        let mut at = answer.map_or(beats.next, |answer| answer.min(beats.next));
        if self.dirty.load(Ordering::Acquire) {
            at = at.min(beats.progress_at);
        }
        at
    }

    /// Sends a heartbeat or a report of progress if it is time.
    pub(super) fn beat(&mut self, now: Mono) {
        let waiting = self.beats.under_way.len();
        self.beats.under_way.retain(|_, beat| now < beat.answer_by);
        let silent = waiting - self.beats.under_way.len();
        if silent > 0 {
            self.beats.silent += silent;
            self.beats.hurry();
            if self.link.standing && self.beats.silent >= SILENT_MAX {
                self.reopen();
            }
        }
        if !self.connected || self.session.is_none() || self.beats.under_way.len() >= UNDER_WAY_MAX
        {
            return;
        }
        if now >= self.beats.next {
            self.send_beat(now, true);
        } else if now >= self.beats.progress_at && self.dirty.load(Ordering::Acquire) {
            self.send_beat(now, false);
        }
    }

    fn send_beat(&mut self, now: Mono, complete: bool) {
        self.dirty.store(false, Ordering::Release);
        let mut leases = Vec::with_capacity(self.held.len());
        let mut progress: Vec<(LeaseId, Progress)> = Vec::new();
        let mut interval = IDLE;
        for (id, held) in &self.held {
            if !self.session_of(&held.shared) {
                continue;
            }
            interval = interval.min(held.length() / PER_LEASE);
            let report = held.shared.take_progress();
            if complete || report.is_some() {
                leases.push(*id);
            }
            progress.extend(report.map(|report| (*id, report)));
        }
        if !complete && leases.is_empty() {
            return;
        }
        let timeout = interval.clamp(ANSWER_MIN, ANSWER_MAX);
        self.beats.number += 1;
        let number = self.beats.number;
        self.beats.progress_at = now + PROGRESS_EVERY;
        self.beats.remember(number, now, complete);
        if complete {
            let sweeping = std::mem::take(&mut self.beats.sweeping);
            self.beats.next = now + if sweeping { SWEEP_PAUSE } else { interval };
        }
        self.beats.under_way.insert(
            number,
            Beat {
                sent: now,
                leases: leases.clone(),
                answer_by: now + timeout,
            },
        );
        self.say(Up::Renew {
            number,
            leases,
            progress,
            complete,
            timeout,
        });
    }

    pub(super) fn renewed(&mut self, number: u64, result: Result<Renewed, Error>, now: Mono) {
        let Some(beat) = self.beats.under_way.remove(&number) else {
            return;
        };
        self.beats.silent = 0;
        // An answer covers the heartbeats before it as well: a stream answers only the latest.
        self.beats.under_way.retain(|earlier, _| *earlier > number);
        let renewed = match result {
            Ok(renewed) => renewed,
            Err(error) => {
                let delay = self.beats.backoff.next(error.retry_after_ms);
                self.beats.within(now + delay);
                self.failed(&error, "a heartbeat was not acknowledged", now);
                return;
            }
        };
        self.beats.backoff.reset();
        for id in renewed.live {
            if !beat.leases.contains(&id) {
                continue;
            }
            let Some(held) = self.held.get_mut(&id) else {
                continue;
            };
            held.renewed(beat.sent);
            if matches!(held.phase, Phase::Unproven(_)) && held.is_valid(now) {
                self.start(id);
            }
        }
        for id in renewed.ended {
            self.lease_over(id, renewed.cancelled.contains(&id), now);
        }
        let waits = |(id, held): (&LeaseId, &super::Held)| {
            matches!(held.phase, Phase::Unproven(_)) && !self.beats.lists(*id)
        };
        if self.held.iter().any(waits) {
            self.beats.hurry();
        }
    }

    /// The queue says that a lease has ended or is ending.
    fn lease_over(&mut self, id: LeaseId, cancelled: bool, now: Mono) {
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        match held.phase {
            Phase::Unproven(_) => self.let_go(id),
            Phase::Running => {
                held.over();
                held.stop(
                    if cancelled {
                        Stop::Cancelled
                    } else {
                        Stop::LeaseEnded
                    },
                    now,
                );
                self.watch_at = Mono::default();
            }
            // The answer to the settlement says what became of it.
            Phase::Settling(_) => {}
        }
    }

    /// The queue no longer knows the session: none of its leases will be renewed.
    pub(super) fn session_lost(&mut self, now: Mono) {
        let Some(session) = self.session.take() else {
            return;
        };
        tracing::warn!(%session, code = %Code::SessionExpired, "the session is over; opening another");
        self.connected = false;
        self.open_at = now + self.open_backoff.next(None);
        self.asks.clear();
        self.beats.clear();
        let ids: Vec<LeaseId> = self
            .held
            .iter()
            .filter(|(_, held)| held.shared.session == session)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.lease_over(id, false, now);
        }
    }
}
