//! The clock: what must stop, what must be given up, when to look again.

use super::super::context::Stop;
use super::super::held::{Due, Phase};
use super::{Engine, LOOK_MAX, SETTLE_AT_SHUTDOWN_MAX};
use crate::machine::{LeaseId, Settlement};
use quorate_core::clock;
use quorate_core::types::Mono;
use std::time::Duration;

impl Engine {
    /// Stops and drops handlers whose time is over and gives up outcomes that no longer matter.
    pub(super) fn watch(&mut self, now: Mono) {
        if now < self.watch_at {
            return;
        }
        let grace = self.options.grace;
        let drain_over = self.drain_until.is_some_and(|until| now >= until);
        let mut next = now + LOOK_MAX;
        let mut gone = Vec::new();
        let mut drop = Vec::new();
        for (id, held) in &mut self.held {
            match &held.phase {
                Phase::Running => {
                    if drain_over {
                        held.stop(Stop::Shutdown, now);
                    }
                    match held.due(now, grace) {
                        Due::No => {}
                        Due::Stop => held.stop(Stop::Unreachable, now),
                        Due::Drop => {
                            held.stop(Stop::Unreachable, now);
                            drop.push(*id);
                        }
                    }
                    next = next.min(held.next_due(grace));
                }
                Phase::Unproven(_) | Phase::Settling(_) => {
                    if now >= held.settle_until() {
                        gone.push(*id);
                    }
                }
            }
        }
        for (lease, abort) in self.running.values() {
            if drop.contains(lease) {
                abort.abort();
            }
        }
        for id in gone {
            tracing::warn!(lease = %id, "the lease is over and its outcome could not be recorded");
            self.report.lost += 1;
            self.let_go(id);
        }
        if let Some(until) = self.drain_until.filter(|until| *until > now) {
            next = next.min(until);
        }
        // A handler that was dropped may take a moment to go; no need to spin for it.
        self.watch_at = next.max(now + Duration::from_millis(1));
    }

    /// Strikes a lease off the books. Not for one whose handler runs.
    pub(super) fn let_go(&mut self, id: LeaseId) {
        if let Some(held) = self.held.remove(&id)
            && matches!(held.phase, Phase::Unproven(_))
        {
            self.free_slots.insert(held.shared.slot);
        }
    }

    /// Shutdown begins: no new work, a grace for what runs.
    pub(super) fn drain(&mut self) {
        let now = clock::boottime();
        self.drain_until = Some(now + self.options.drain);
        self.watch_at = now;
        self.draining.cancel();
        let unproven: Vec<LeaseId> = self
            .held
            .iter()
            .filter(|(_, held)| matches!(held.phase, Phase::Unproven(_)))
            .map(|(id, _)| *id)
            .collect();
        for id in unproven {
            self.outcome(id, Settlement::Release);
        }
    }

    /// Whether the drain is over.
    pub(super) fn is_drained(&mut self, now: Mono) -> bool {
        let Some(until) = self.drain_until else {
            return false;
        };
        if self.held.is_empty() {
            return true;
        }
        let handlers_gone = self.running.is_empty();
        let late = now >= until + self.options.grace + SETTLE_AT_SHUTDOWN_MAX;
        if handlers_gone && (late || !self.connected && now >= until) {
            let lost = u64::try_from(self.held.len()).unwrap_or(u64::MAX);
            tracing::warn!(lost, "outcomes could not be recorded before the shutdown");
            self.report.lost += lost;
            return true;
        }
        false
    }

    /// How long until the clock has something to say.
    pub(super) fn next_wake(&self, now: Mono) -> Duration {
        let mut at = now + LOOK_MAX;
        if !self.held.is_empty() || self.drain_until.is_some() {
            at = at.min(self.watch_at);
        }
        if self.connected {
            at = at.min(self.beats_at());
            if !self.to_settle.is_empty() && self.settles.len() < super::settles::UNDER_WAY_MAX {
                at = at.min(self.settle_at);
            }
            if !self.free_slots.is_empty() {
                at = at.min(later(self.ask_at, now));
            }
        } else if !self.opening {
            at = at.min(self.open_at);
        }
        // Below a millisecond the timer does not tell the difference.
        at.since(now).max(Duration::from_millis(1))
    }
}

/// A time that matters only if it lies ahead.
fn later(at: Mono, now: Mono) -> Mono {
    if at > now { at } else { now + LOOK_MAX }
}
