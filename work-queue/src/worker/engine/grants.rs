//! Asking for work, and starting what is granted.

use super::super::context::{Context, Shared};
use super::super::held::{Held, Phase};
use super::super::link::{Asking, Up};
use super::Engine;
use crate::machine::{Lease, LeaseId, Settlement, limits};
use quorate_core::types::Mono;
use std::sync::Arc;

/// Leases asked for and not yet granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) left: u32,
    /// Just before it was sent: the grant came later, so its lease is counted from here.
    pub(crate) sent: Mono,
    /// Number of the last heartbeat that had been sent by then.
    pub(crate) heartbeat: u64,
}

/// A grant is given back by the queue when so many heartbeats in a row do not list it.
const UNLISTED_MAX: usize = 2;

impl Engine {
    /// How many leases to ask for now.
    pub(super) fn want(&self, now: Mono) -> u32 {
        if !self.connected
            || self.session.is_none()
            || self.drain_until.is_some()
            || now < self.ask_at
            || (!self.link.standing && !self.asks.is_empty())
        {
            return 0;
        }
        let asked: u32 = self.asks.values().map(|ask| ask.left).sum();
        let asked = usize::try_from(asked).unwrap_or(usize::MAX);
        let want = self.free_slots.len().saturating_sub(asked);
        u32::try_from(want.min(limits::LEASES_PER_REQUEST_MAX)).unwrap_or(u32::MAX)
    }

    /// Notes a request for `max` leases that is about to be sent.
    pub(super) fn asking(&mut self, max: u32, now: Mono) -> Asking {
        self.asks_last += 1;
        let ask = Ask {
            left: max,
            sent: now,
            heartbeat: self.beats.number(),
        };
        self.asks.insert(self.asks_last, ask);
        Asking {
            ask: self.asks_last,
            max,
            heartbeat: self.beats.number(),
        }
    }

    pub(super) fn ask(&mut self, now: Mono) {
        let max = self.want(now);
        if max > 0 {
            let asking = self.asking(max, now);
            self.say(Up::Ask(asking));
        }
    }

    pub(super) fn granted(
        &mut self,
        ask: Option<u64>,
        heartbeat: Option<u64>,
        leases: Vec<Lease>,
        now: Mono,
    ) {
        self.ask_backoff.reset();
        for lease in leases {
            // A grant on a stream answers one of the requests that stand; the oldest is the safe guess.
            let key = ask.or_else(|| self.asks.keys().next().copied());
            let asked = key.and_then(|key| self.asks.get_mut(&key)).map(|ask| {
                ask.left = ask.left.saturating_sub(1);
                *ask
            });
            if let Some(key) = key
                && asked.is_some_and(|ask| ask.left == 0)
            {
                self.asks.remove(&key);
            }
            let heartbeat = heartbeat.or(asked.map(|ask| ask.heartbeat));
            // It was granted after the request was sent, and after the heartbeat that had come.
            let beat_sent = heartbeat.and_then(|number| self.beats.sent_at(number));
            let sent = beat_sent.max(asked.map(|ask| ask.sent));
            let proven = sent.is_some()
                && heartbeat.is_some_and(|number| self.beats.since(number) < UNLISTED_MAX);
            self.take(lease, sent.unwrap_or(now), proven, now);
        }
    }

    /// Takes a lease into the books and starts it if it may be believed.
    fn take(&mut self, lease: Lease, sent: Mono, proven: bool, now: Mono) {
        let (Some(session), id) = (self.session, lease.id) else {
            return;
        };
        if self.held.contains_key(&id) {
            return;
        }
        let slot = if self.drain_until.is_some() {
            None
        } else {
            self.free_slots.pop_first()
        };
        let shared = Arc::new(Shared::new(
            (id, lease.job, session),
            slot.unwrap_or(usize::MAX),
            Arc::clone(&self.dirty),
            self.draining.clone(),
        ));
        let mut held = Held::granted(lease, shared, sent, now, proven);
        self.beats
            .within(now + held.length() / super::beats::PER_LEASE);
        if slot.is_none() {
            // Too late or too many: back it goes, uncharged.
            held.over();
            self.held.insert(id, held);
            self.outcome(id, Settlement::Release);
            return;
        }
        let valid = held.is_valid(now);
        self.watch_at = self.watch_at.min(held.next_due(self.options.grace));
        self.held.insert(id, held);
        if valid {
            self.start(id);
        } else {
            self.beats.hurry();
        }
    }

    /// Starts the handler of a lease that may be believed.
    pub(super) fn start(&mut self, id: LeaseId) {
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        let Phase::Unproven(lease) = std::mem::replace(&mut held.phase, Phase::Running) else {
            return;
        };
        let context = Context {
            shared: Arc::clone(&held.shared),
            service: Arc::clone(&self.service),
        };
        let handler = Arc::clone(&self.handler);
        let abort = self
            .jobs
            .spawn(async move { handler.handle(*lease, context).await });
        self.running.insert(abort.id(), (id, abort));
    }
}
