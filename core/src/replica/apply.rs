//! Committed entries: applied to the state, and their outcomes told to whoever waits.

use super::entry::{self, Entry, LoggedOp};
use super::input::RequestId;
use super::output::Output;
use super::parked::{Parked, Place};
use super::pending::{Origin, Waiter};
use super::replica::Replica;
use super::replicated::Outcome;
use super::step::busy;
use crate::error::{Code, Error};
use crate::machine::{Duties, Machine, Op};
use crate::types::{LogIndex, Mono, Now, Term};
use raft::eraftpb::Entry as RaftEntry;

impl<M: Machine> Replica<M> {
    /// Applies entries that raft handed out as committed.
    pub(super) fn apply(&mut self, now: Now, committed: Vec<RaftEntry>) {
        let Some(last) = committed.last().map(|entry| entry.index) else {
            return;
        };
        for entry in committed {
            self.snapshots.applied_bytes += entry.data.len() as u64;
            if let Err(reason) = self.apply_entry(now, &entry) {
                return self.halt(reason);
            }
        }
        self.raw.advance_apply_to(last);
    }

    /// Ends the doubt once an entry of a late enough term is applied.
    pub(super) fn check_doubt(&mut self) {
        let applied = self.state.term;
        if self
            .doubt
            .as_ref()
            .is_some_and(|doubt| doubt.is_over(applied))
        {
            tracing::info!("caught up with what the disk may have lost; this node votes again");
            self.doubt = None;
            self.cleared = true;
        }
    }

    fn apply_entry(&mut self, now: Now, entry: &RaftEntry) -> Result<(), String> {
        let (index, term) = (LogIndex(entry.index), Term(entry.term));
        let (origin, superseded) = self.pending.applying(entry.index, entry.term);
        if !superseded.is_empty() {
            let error = Error::new(
                Code::NoQuorum,
                "a newer leader's entry took the place of this one, which is certainly not done; try again",
            );
            superseded
                .into_iter()
                .for_each(|waiter| self.fail(&waiter, &error));
        }
        if entry.data.is_empty() {
            self.state.apply_empty(index, term);
            if self.elected == Some((entry.term, entry.index)) {
                self.take_office(now, entry.term);
            }
            return Ok(());
        }
        let (decoded, waiters) = match origin {
            Origin::Ours(proposed) => (proposed.entry, proposed.waiters),
            Origin::Earlier(waiters) => (self.decode(entry)?, waiters),
            Origin::Foreign => (self.decode(entry)?, Vec::new()),
        };
        let mut events = std::mem::take(&mut self.events);
        let mut outcomes = std::mem::take(&mut self.outcomes);
        let applied = self
            .state
            .apply(index, term, decoded, &mut events, &mut outcomes);
        // The outcomes go first: an event of this entry may concern those who found nothing in it.
        for (waiter, outcome) in waiters.into_iter().zip(outcomes.drain(..)) {
            self.conclude(now, waiter, outcome);
        }
        for event in events.drain(..) {
            self.announce(now, event);
        }
        self.events = events;
        self.outcomes = outcomes;
        self.outcomes.clear();
        applied
    }

    fn decode(&self, entry: &RaftEntry) -> Result<Entry<M::Command>, String> {
        entry::decode(&entry.data).map_err(|error| {
            format!(
                "entry {} of term {} cannot be read: {error}; if a newer version wrote it, run that version on this node",
                entry.index, entry.term
            )
        })
    }

    fn announce(&mut self, now: Now, event: M::Event) {
        if let Some(office) = &mut self.office {
            office.duties.applied(&self.state.machine, &event, now.mono);
            if let Some(key) = M::wakes(&event) {
                self.lines.wake(key);
            }
        }
        self.out.push(Output::Event(event));
    }

    /// Tells a waiter what became of its operation.
    fn conclude(&mut self, now: Now, waiter: Waiter, outcome: Outcome<M>) {
        match (waiter, outcome) {
            (Waiter::Own, _) => {}
            (Waiter::Stream(id), Outcome::Stream(result)) => {
                self.out.push(Output::StreamOpened { id, result });
            }
            (Waiter::Reply(id), Outcome::Reply { result, replayed }) => {
                self.out.push(Output::Reply {
                    id,
                    result,
                    replayed,
                });
            }
            (Waiter::Waiting { id, place, .. }, Outcome::Reply { result, replayed }) => {
                self.lines.found(id, place.as_ref());
                self.out.push(Output::Reply {
                    id,
                    result,
                    replayed,
                });
            }
            (Waiter::Waiting { id, until, place }, Outcome::Parks(op)) => {
                self.park_again(now, id, op, until, place);
            }
            (Waiter::Reply(id) | Waiter::Stream(id) | Waiter::Waiting { id, .. }, _) => {
                unreachable!(
                    "request {id:?} was logged as another kind of operation than it waits for"
                )
            }
        }
    }

    /// A waiting operation found nothing: it goes back to its place if it may wait any longer.
    fn park_again(
        &mut self,
        now: Now,
        id: RequestId,
        op: Op<M::Command>,
        until: Mono,
        place: Option<Place>,
    ) {
        let wanted = self.lines.found_nothing(id, place.as_ref());
        if self.office.is_none() {
            let error = self.no_quorum();
            return self.reply_error(id, error);
        }
        if !wanted || until <= now.mono {
            let result = Ok(M::parked_reply(&op.command));
            return self.out.push(Output::Reply {
                id,
                result,
                replayed: false,
            });
        }
        match self.state.machine.parks(&op.command) {
            Some(_) if place.is_none() && self.lines.len() >= self.config.parked_max => {
                self.reply_error(id, busy("too many callers are waiting for work"));
            }
            Some(key) => self.lines.park(key, Parked { id, op, until }, place),
            None => self.enqueue(
                LoggedOp::new(op, true),
                Waiter::Waiting { id, until, place },
            ),
        }
    }

    /// Proposes those of the lines that may find something.
    pub(super) fn wake_parked(&mut self) {
        let mut lines = std::mem::take(&mut self.lines);
        let (machine, pending, config) = (&self.state.machine, &mut self.pending, &self.config);
        let mut refused = Vec::new();
        lines.take_woken(
            |command| machine.parks(command).is_some(),
            |Parked { id, op, until }, place| {
                let waiter = Waiter::Waiting {
                    id,
                    until,
                    place: Some(place),
                };
                refused.extend(pending.push(config, LoggedOp::new(op, true), waiter).err());
            },
        );
        self.lines = lines;
        refused.iter().for_each(|waiter| self.refuse_size(waiter));
    }

    /// Answers those whose time is up.
    pub(super) fn expire_parked(&mut self, now: Now) {
        for Parked { id, op, .. } in self.lines.take_expired(now.mono) {
            let result = Ok(M::parked_reply(&op.command));
            self.out.push(Output::Reply {
                id,
                result,
                replayed: false,
            });
        }
    }
}
