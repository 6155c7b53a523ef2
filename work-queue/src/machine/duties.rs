//! What only the leader keeps: when each lease was last heard of, how far its attempt is, which
//! sessions are silent. Lost with the leader's office, and started anew by the next one.
//!
//! The lease rule (see `quorate_core::lease`) is kept here, in four places: a count starts at the grant
//! and at the receipt of each renewal that is acknowledged; a renewal is acknowledged only while no end
//! of the lease is proposed; the end is proposed when the count is over; and a lease that is revoked
//! is acknowledged no more, and ends a whole count later.
//!
//! Two more things are watched. A job whose progress does not change for `stall_ms` is revoked. And a
//! lease that its worker's heartbeats do not list was granted in an answer that got lost: it is
//! released early once two heartbeats that were sent after the request are without it. Heartbeats carry
//! numbers for that, since one that is late or repeated tells nothing. A lease that unnumbered
//! heartbeats do not list keeps its whole count, and only its attempt is not charged.

use super::planted::{self, Bug};
use super::rows::{Grant, Job};
use super::store::QueueMachine;
use super::types::{
    AttemptOutcome, Command, Event, ExpireCause, LeaseId, Progress, Renewal, Renewed, RevokeCause,
    SESSION_IDLE, SessionId, limits,
};
use quorate_core::error::Error;
use quorate_core::lease::{Keeper, Terms};
use quorate_core::machine::Duties;
use quorate_core::types::Mono;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Leases or sessions in one proposal: an entry that ends them takes a few milliseconds.
const DUE_MAX: usize = 1_000;

/// Heartbeats in a row that do not list a lease before its grant counts as lost.
const UNLISTED_MAX: u32 = 2;

/// Longest texts of a progress report that are kept.
const UNIT_BYTES_MAX: usize = 32;
const MESSAGE_BYTES_MAX: usize = 256;

/// A session that holds nothing is forgotten after this.
const IDLE: Terms = Terms {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a few minutes in milliseconds"
    )]
    lease_ms: SESSION_IDLE.as_millis() as u64,
    drift_permille: 0,
};

/// The leader's volatile bookkeeping of the queue.
#[derive(Debug, Default)]
pub struct QueueDuties {
    /// Counts of live leases that are not revoked.
    leases: Keeper<LeaseId>,
    /// Counts of those that are.
    revoked: Keeper<LeaseId>,
    /// Silence of sessions.
    sessions: Keeper<SessionId>,
    /// What is watched of each live lease; one entry a lease.
    watched: BTreeMap<LeaseId, Watch>,
    /// When each lease that is watched for it has stalled.
    stalls: BTreeSet<(Mono, LeaseId)>,
    /// Leases whose grant was lost, to be proposed.
    unclaimed: BTreeSet<LeaseId>,
    /// The last numbered heartbeat of each session that holds leases.
    numbers: BTreeMap<SessionId, u64>,
}

/// What is watched of a live lease.
#[derive(Debug)]
struct Watch {
    session: SessionId,
    /// When its grant was applied here, or this leader took office.
    since: Mono,
    extensions: u32,
    heartbeat: u64,
    /// Heartbeats in a row without it: numbered ones, and all.
    missed_numbered: u32,
    missed: u32,
    stall_ms: u64,
    stall_at: Option<Mono>,
    progress: Option<Progress>,
}

impl QueueDuties {
    /// How far the attempt of this lease is, as its worker last said.
    pub fn progress(&self, lease: LeaseId) -> Option<&Progress> {
        self.watched.get(&lease)?.progress.as_ref()
    }

    fn watch(&mut self, grant: &Grant, stall_ms: u64, now: Mono) {
        let stall_at = (stall_ms > 0).then(|| now + Duration::from_millis(stall_ms));
        if let Some(at) = stall_at {
            self.stalls.insert((at, grant.lease));
        }
        self.watched.insert(
            grant.lease,
            Watch {
                session: grant.session,
                since: now,
                extensions: grant.extensions,
                heartbeat: grant.heartbeat,
                missed_numbered: 0,
                missed: 0,
                stall_ms,
                stall_at,
                progress: None,
            },
        );
        self.sessions.start(grant.session, IDLE, now);
        let terms = if planted::on(Bug::ExpiryTooEarly) {
            Terms::new(grant.lease_ms / 2)
        } else {
            Terms::new(grant.lease_ms)
        };
        self.leases.start(grant.lease, terms, now);
    }

    /// The lease is revoked: a whole count from now, and never before the count that was running.
    fn revoke(&mut self, lease: LeaseId, lease_ms: u64, now: Mono) {
        if self.revoked.end_of(lease).is_some() {
            return;
        }
        self.leases.stop(lease);
        self.revoked.start(lease, Terms::new(lease_ms), now);
        self.set_stall(lease, None);
    }

    fn forget(&mut self, lease: LeaseId) {
        self.leases.stop(lease);
        self.revoked.stop(lease);
        self.unclaimed.remove(&lease);
        self.set_stall(lease, None);
        self.watched.remove(&lease);
    }

    fn set_stall(&mut self, lease: LeaseId, at: Option<Mono>) {
        if let Some(watch) = self.watched.get_mut(&lease) {
            if let Some(old) = watch.stall_at {
                self.stalls.remove(&(old, lease));
            }
            watch.stall_at = at;
            if let Some(at) = at {
                self.stalls.insert((at, lease));
            }
        }
    }

    /// Takes a report of progress; a change starts the stall timer again.
    fn report(&mut self, lease: LeaseId, mut progress: Progress, receipt: Mono) {
        progress.unit = super::check::head(&progress.unit, UNIT_BYTES_MAX);
        progress.message = super::check::head(&progress.message, MESSAGE_BYTES_MAX);
        let Some(watch) = self.watched.get_mut(&lease) else {
            return;
        };
        let changed = watch
            .progress
            .as_ref()
            .is_none_or(|old| !same(old, &progress));
        watch.progress = Some(progress);
        if changed && let Some(old) = watch.stall_at {
            let at = (receipt + Duration::from_millis(watch.stall_ms)).max(old);
            self.set_stall(lease, Some(at));
        }
    }

    /// Notes which leases of its session a heartbeat lists.
    fn note_listing(&mut self, machine: &QueueMachine, renewal: &Renewal, receipt: Mono) {
        let last = self.numbers.get(&renewal.session).copied().unwrap_or(0);
        let numbered = renewal.number > last;
        if numbered {
            self.numbers.insert(renewal.session, renewal.number);
        } else if renewal.number > 0 {
            return;
        }
        let listed: BTreeSet<LeaseId> = renewal.leases.iter().copied().collect();
        for lease in machine.held_by(renewal.session) {
            let Some(watch) = self.watched.get_mut(&lease) else {
                continue;
            };
            if listed.contains(&lease) {
                watch.missed = 0;
                watch.missed_numbered = 0;
            } else if watch.since <= receipt {
                watch.missed = watch.missed.saturating_add(1);
                if numbered && renewal.number > watch.heartbeat {
                    watch.missed_numbered = watch.missed_numbered.saturating_add(1);
                    if watch.missed_numbered >= UNLISTED_MAX && self.revoked.end_of(lease).is_none()
                    {
                        self.leases.end_proposed(lease);
                        self.unclaimed.insert(lease);
                    }
                }
            }
        }
    }

    /// Proposes the ends of counts that are over.
    fn due_leases(&mut self, now: Mono, out: &mut Vec<Command>) {
        let mut silent = Vec::new();
        let mut unlisted = Vec::new();
        for lease in self.leases.due(now, DUE_MAX) {
            let Some(watch) = self.watched.get(&lease) else {
                continue;
            };
            if watch.missed >= UNLISTED_MAX {
                unlisted.push((lease, watch.extensions));
            } else {
                silent.push((lease, watch.extensions));
            }
        }
        while unlisted.len() < DUE_MAX
            && let Some(lease) = self.unclaimed.pop_first()
        {
            if let Some(watch) = self.watched.get(&lease) {
                unlisted.push((lease, watch.extensions));
            }
        }
        let revoked: Vec<_> = self
            .revoked
            .due(now, DUE_MAX)
            .into_iter()
            .filter_map(|lease| Some((lease, self.watched.get(&lease)?.extensions)))
            .collect();
        for (leases, cause) in [
            (silent, ExpireCause::Silent),
            (unlisted, ExpireCause::Unlisted),
            (revoked, ExpireCause::Revoked),
        ] {
            if !leases.is_empty() {
                out.push(Command::ExpireLeases { leases, cause });
            }
        }
    }

    fn due_stalls(&mut self, now: Mono, out: &mut Vec<Command>) {
        let mut leases = Vec::new();
        while leases.len() < DUE_MAX
            && let Some((at, lease)) = self.stalls.first().copied()
            && at <= now
        {
            self.set_stall(lease, None);
            leases.push(lease);
        }
        if !leases.is_empty() {
            out.push(Command::RevokeLeases {
                leases,
                cause: RevokeCause::Stalled,
            });
        }
    }

    fn due_sessions(&mut self, machine: &QueueMachine, now: Mono, out: &mut Vec<Command>) {
        let mut sessions = Vec::new();
        for session in self.sessions.due(now, DUE_MAX) {
            if machine.held_by(session).next().is_some() {
                self.sessions.start(session, IDLE, now);
            } else {
                sessions.push(session);
            }
        }
        if !sessions.is_empty() {
            out.push(Command::ForgetSessions { sessions });
        }
    }
}

/// Whether two reports say the same. Bit by bit, so that a worker stuck at NaN is stuck.
fn same(a: &Progress, b: &Progress) -> bool {
    a.done.to_bits() == b.done.to_bits()
        && a.total.to_bits() == b.total.to_bits()
        && a.unit == b.unit
        && a.message == b.message
}

/// The session that a renewal speaks for. A report of progress may name none: then the lease, which
/// only its holder knows, speaks for itself.
fn sender(machine: &QueueMachine, renewal: &Renewal) -> SessionId {
    match renewal.leases.as_slice() {
        [lease] if is_nameless_report(renewal) => machine
            .live_job(*lease)
            .and_then(Job::grant)
            .map_or(SessionId::NONE, |grant| grant.session),
        _ => renewal.session,
    }
}

fn is_nameless_report(renewal: &Renewal) -> bool {
    renewal.session == SessionId::NONE && !renewal.complete
}

/// The leases of a renewal that its session holds, each once: the only ones that it may defer.
fn owned(machine: &QueueMachine, renewal: &Renewal) -> BTreeSet<LeaseId> {
    if renewal.leases.len() > limits::LEASES_PER_RENEWAL_MAX {
        return BTreeSet::new();
    }
    let held = machine.holds.get(&sender(machine, renewal));
    renewal
        .leases
        .iter()
        .filter(|lease| held.is_some_and(|held| held.contains(lease)))
        .copied()
        .collect()
}

/// Whether somebody asked to cancel the job of this lease.
fn is_cancelled(job: &Job, lease: LeaseId) -> bool {
    let ended = job.tried(lease).and_then(|tried| tried.ended);
    match ended {
        Some((_, outcome)) => outcome == AttemptOutcome::Cancelled,
        None => job.cancel_requested(),
    }
}

impl Duties<QueueMachine> for QueueDuties {
    fn new(machine: &QueueMachine, now: Mono) -> Self {
        let mut duties = Self::default();
        for (session, _) in machine.sessions.iter() {
            duties.sessions.start(*session, IDLE, now);
        }
        for lease in machine.holds.values().flatten() {
            let Some(job) = machine.live_job(*lease) else {
                continue;
            };
            if let Some(grant) = job.grant() {
                let stall_ms = machine.queue(job.queue).settings.stall_ms;
                duties.watch(grant, stall_ms, now);
                if grant.revoking.is_some() {
                    duties.revoke(*lease, grant.lease_ms, now);
                }
            }
        }
        duties
    }

    fn arrived(&mut self, machine: &QueueMachine, renewal: &Renewal, receipt: Mono) {
        let sender = sender(machine, renewal);
        if machine.sessions.contains_key(&sender) {
            self.sessions.start(sender, IDLE, receipt);
        }
        for lease in owned(machine, renewal) {
            self.leases.arrived(lease);
        }
    }

    fn confirmed(
        &mut self,
        machine: &QueueMachine,
        renewal: Renewal,
        receipt: Mono,
    ) -> Result<Renewed, Error> {
        if renewal.leases.len() > limits::LEASES_PER_RENEWAL_MAX
            || renewal.progress.len() > limits::LEASES_PER_RENEWAL_MAX
        {
            return Err(Error::invalid(format!(
                "a heartbeat lists at most {} leases; use more sessions",
                limits::LEASES_PER_RENEWAL_MAX
            )));
        }
        let sender = sender(machine, &renewal);
        if !is_nameless_report(&renewal) {
            machine.check_session(sender)?;
        }
        let owned = owned(machine, &renewal);
        if renewal.complete {
            self.note_listing(machine, &renewal, receipt);
        }
        let mut renewed = Renewed::default();
        for lease in renewal.leases.iter().copied().collect::<BTreeSet<_>>() {
            if owned.contains(&lease) && self.leases.confirmed(lease, receipt) {
                renewed.live.push(lease);
                continue;
            }
            renewed.ended.push(lease);
            let job = machine
                .leases
                .get(&lease)
                .and_then(|job| machine.jobs.get(job));
            if job.is_some_and(|job| is_cancelled(job, lease)) {
                renewed.cancelled.push(lease);
            }
        }
        for (lease, progress) in renewal.progress {
            if self
                .watched
                .get(&lease)
                .is_some_and(|watch| watch.session == sender)
            {
                self.report(lease, progress, receipt);
            }
        }
        Ok(renewed)
    }

    fn abandoned(&mut self, machine: &QueueMachine, renewal: &Renewal) {
        for lease in owned(machine, renewal) {
            self.leases.abandoned(lease);
        }
    }

    fn applied(&mut self, machine: &QueueMachine, event: &Event, now: Mono) {
        match event {
            Event::Granted {
                lease,
                lease_ms,
                stall_ms,
                extensions,
                ..
            } => {
                let Some(grant) = machine.live_job(*lease).and_then(Job::grant) else {
                    // It ended later in the same entry.
                    return;
                };
                match self.watched.get_mut(lease) {
                    None => self.watch(grant, *stall_ms, now),
                    Some(watch) => {
                        watch.extensions = *extensions;
                        watch.missed = 0;
                        watch.missed_numbered = 0;
                        self.unclaimed.remove(lease);
                        self.leases.start(*lease, Terms::new(*lease_ms), now);
                    }
                }
            }
            Event::Revoking { lease, .. } => {
                if let Some(grant) = machine.live_job(*lease).and_then(Job::grant) {
                    self.revoke(*lease, grant.lease_ms, now);
                }
            }
            Event::Ended { lease } => self.forget(*lease),
            Event::SessionOpened { session } => self.sessions.start(*session, IDLE, now),
            Event::SessionClosed { session } => {
                self.sessions.stop(*session);
                self.numbers.remove(session);
            }
            Event::Ready { .. } | Event::Job { .. } | Event::Batch { .. } => {}
        }
    }

    fn stalled(&mut self, stall: Duration) {
        self.leases.stalled(stall);
        self.revoked.stalled(stall);
        self.sessions.stalled(stall);
        let stalls = std::mem::take(&mut self.stalls);
        for (at, lease) in stalls {
            if let Some(watch) = self.watched.get_mut(&lease) {
                watch.stall_at = Some(at + stall);
                self.stalls.insert((at + stall, lease));
            }
        }
    }

    fn due(&mut self, machine: &QueueMachine, now: Mono, out: &mut Vec<Command>) {
        self.due_leases(now, out);
        self.due_stalls(now, out);
        self.due_sessions(machine, now, out);
    }

    fn next_due(&self) -> Option<Mono> {
        if !self.unclaimed.is_empty() {
            return Some(Mono(0));
        }
        [
            self.leases.next_due(),
            self.revoked.next_due(),
            self.sessions.next_due(),
            self.stalls.first().map(|(at, _)| *at),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
