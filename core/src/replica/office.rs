//! What a replica keeps only while it leads: the machine's duties, the clock of its term, the checks
//! it sends along. The office begins when the entry that opened the term is applied, because only then
//! everything of earlier terms is applied too, and it is gone at once when the leadership is.

use super::entry::{Command, Header, LoggedOp};
use super::log_time::TermClock;
use super::output::Output;
use super::pending::Waiter;
use super::reads::Read;
use super::replica::Replica;
use super::wire;
use crate::error::{Code, Error};
use crate::machine::{Duties, Machine, Op, Origin};
use crate::types::{LogTime, Mono, NodeId, Now, Term};
use std::time::Duration;

/// Duties are looked at this often at most: expiries that are due together share an entry.
const DUTIES_EVERY: Duration = Duration::from_millis(5);

/// The state hash goes along with an entry after so many entries.
const CHECK_EVERY_ENTRIES: u64 = 256;

/// Or after so much time.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The office of a leader.
pub(super) struct Office<M: Machine> {
    pub(super) term: u64,
    pub(super) duties: M::Duties,
    clock: TermClock,
    looked_at: Mono,
    checked: (u64, Mono),
    /// A level that was proposed.
    activating: Option<u16>,
}

impl<M: Machine> Replica<M> {
    /// Notices that the leadership came or went. To be called after everything that may change it.
    pub(super) fn check_office(&mut self, now: Now) {
        let leads = self.is_leader().then(|| self.term());
        if self.elected.is_some_and(|(term, _)| leads != Some(term)) {
            self.leave_office(now);
        }
        if let (Some(term), None) = (leads, self.elected) {
            // Raft appended the opening entry when it became leader, and nothing else since.
            self.elected = Some((term, self.raw.raft.raft_log.last_index()));
        }
    }

    /// The entry that opened our term is applied.
    pub(super) fn take_office(&mut self, now: Now, term: u64) {
        let mut duties = M::Duties::new(&self.state.machine, now.mono);
        for read in self.reads.waiting() {
            if let Read::Renew {
                renewal, receipt, ..
            } = read
            {
                duties.arrived(&self.state.machine, renewal, *receipt);
            }
        }
        self.office = Some(Office {
            term,
            duties,
            clock: TermClock::new(self.state.time, now.mono),
            looked_at: now.mono,
            checked: (self.state.index.0, now.mono),
            activating: None,
        });
    }

    fn leave_office(&mut self, now: Now) {
        self.elected = None;
        self.office = None;
        let error = self.no_quorum();
        let until = now.mono + self.config.election_timeout() * 2;
        for waiter in self.pending.lose_office(until) {
            self.fail(&waiter, &error);
        }
        for id in self.lines.take_all() {
            self.reply_error(id, error.clone());
        }
        for read in self.reads.take_all() {
            self.fail_read(&read, &error);
        }
    }

    /// Those who wait for an entry of an earlier office for too long, or for one at or below
    /// `skipped`, learn that nobody here will know.
    pub(super) fn give_up(&mut self, now: Now, skipped: u64) {
        let over = self.pending.give_up(now.mono, skipped);
        if over.is_empty() {
            return;
        }
        let error = Error::new(
            Code::OutcomeUnknown,
            "the leader changed while the operation was under way; it may or may not be done. Retry only under the same key",
        );
        for waiter in over {
            self.fail(&waiter, &error);
        }
    }

    /// What a leader does before raft is asked what is ready.
    pub(super) fn lead(&mut self, now: Now) {
        self.serve_reads(now);
        let Some(mut office) = self.office.take() else {
            return;
        };
        self.expire_parked(now);
        self.wake_parked();
        self.do_duties(&mut office, now);
        self.activate_level(&mut office);
        self.propose(&mut office, now);
        self.office = Some(office);
        if let Some(context) = self.reads.begin(self.ticks) {
            self.raw.read_index(context);
        }
    }

    fn do_duties(&mut self, office: &mut Office<M>, now: Now) {
        let due = office.duties.next_due().is_some_and(|due| due <= now.mono);
        if !due || now.mono.since(office.looked_at) < DUTIES_EVERY {
            return;
        }
        office.looked_at = now.mono;
        let mut commands = Vec::new();
        office
            .duties
            .due(&self.state.machine, now.mono, &mut commands);
        for command in commands {
            let op = Op {
                origin: Origin::Leader(Term(office.term)),
                command,
            };
            self.enqueue(LoggedOp::new(op, false), Waiter::Own);
        }
    }

    /// Activates the newest level that every member's build knows.
    fn activate_level(&mut self, office: &mut Office<M>) {
        let known = |peer: &NodeId| self.levels.get(peer).copied().unwrap_or(0);
        let common = self
            .peers
            .iter()
            .map(known)
            .min()
            .unwrap_or(u16::MAX)
            .min(M::LEVEL);
        if common > self.state.level && office.activating.is_none_or(|level| level < common) {
            office.activating = Some(common);
            let origin = Origin::Leader(Term(office.term));
            self.enqueue(
                LoggedOp {
                    origin,
                    command: Command::Activate { level: common },
                },
                Waiter::Own,
            );
        }
    }

    fn target(&self, now: Now) -> Option<LogTime> {
        let voters: Vec<NodeId> = self.voters.iter().map(|voter| voter.node).collect();
        self.walls.target(self.config.node, &voters, now)
    }

    /// Log time as this leader sees it now; not before what is applied.
    pub(super) fn log_time(&self, now: Now) -> LogTime {
        let office = self.office.as_ref();
        office.map_or(self.state.time, |office| {
            office
                .clock
                .peek(now.mono, self.target(now))
                .max(self.state.time)
        })
    }

    /// Proposes the next entry unless one is under way: what arrives meanwhile shares the next.
    fn propose(&mut self, office: &mut Office<M>, now: Now) {
        let raft = &self.raw.raft;
        let committed = raft.raft_log.committed;
        let busy = self
            .pending
            .under_way()
            .is_some_and(|(last, count)| last > committed || count >= super::APPLY_BEHIND_MAX);
        if busy || !self.is_leader() || raft.term != office.term || raft.lead_transferee.is_some() {
            return;
        }
        let target = self.target(now);
        let tick_due = self.pending.under_way().is_none()
            && self
                .state
                .machine
                .next_deadline()
                .is_some_and(|deadline| deadline <= office.clock.peek(now.mono, target));
        let batch = match self.pending.take_batch() {
            Some(batch) => batch,
            None if tick_due => super::pending::Batch::default(),
            None => return,
        };
        let header = Header {
            level: self.state.level,
            time: office.clock.stamp(now.mono, target),
            check: self.next_check(office, now),
        };
        let payload = super::entry::assemble(&header, &batch.encoded);
        match self.raw.propose(Vec::new(), payload) {
            Ok(()) => {
                let raft = &self.raw.raft;
                let (index, term) = (raft.raft_log.last_index(), raft.term);
                self.pending
                    .proposed(index, term, header, (batch.ops, batch.waiters));
            }
            // Too much is uncommitted, or leadership is being handed over: later.
            Err(_) if !batch.ops.is_empty() => self.pending.put_back(batch),
            Err(_) => {}
        }
    }

    fn next_check(
        &self,
        office: &mut Office<M>,
        now: Now,
    ) -> Option<(crate::types::LogIndex, u64)> {
        let (index, hash) = self.state.hash();
        let due = index.0 >= office.checked.0 + CHECK_EVERY_ENTRIES
            || now.mono.since(office.checked.1) >= CHECK_EVERY;
        due.then(|| {
            office.checked = (index.0, now.mono);
            (index, hash)
        })
    }

    /// Answers the reads whose round is confirmed and whose index is applied.
    fn serve_reads(&mut self, now: Now) {
        while let Some(reads) = self.reads.take_answerable(self.state.index.0) {
            let time = self.log_time(now);
            for read in reads {
                let Some(office) = &mut self.office else {
                    let error = self.no_quorum();
                    self.fail_read(&read, &error);
                    continue;
                };
                let machine = &self.state.machine;
                self.out.push(match read {
                    Read::Query { id, query } => Output::Answer {
                        id,
                        result: machine.query(&office.duties, time, query),
                    },
                    Read::Renew {
                        id,
                        renewal,
                        receipt,
                    } => Output::Renewed {
                        id,
                        result: office.duties.confirmed(machine, renewal, receipt),
                    },
                });
            }
        }
    }

    /// When the office next has something to do by itself.
    pub(super) fn next_duty(&self, office: &Office<M>, now: Now) -> Option<Mono> {
        let due = office
            .duties
            .next_due()
            .map(|due| due.max(office.looked_at + DUTIES_EVERY));
        // One whose end is deferred stays due; the next tick looks again.
        let due = due.filter(|due| *due > now.mono);
        let idle = self.pending.under_way().is_none();
        let deadline = self
            .state
            .machine
            .next_deadline()
            .filter(|_| idle)
            .map(|deadline| {
                let left = deadline.since_ms(office.clock.peek(now.mono, self.target(now)));
                now.mono + Duration::from_millis(left.max(1))
            });
        [due, deadline].into_iter().flatten().min()
    }

    /// Whether a message of the leader of this term says up to where followers must be to be of use.
    pub(super) fn note_contact(&mut self, message: &quorate_proto::peer::RaftMessage) {
        let Some(commit) = wire::leaders_commit(message) else {
            return;
        };
        if message.term >= self.term() && self.contact.is_none_or(|(term, _)| term < message.term) {
            self.contact = Some((message.term, commit));
        }
    }
}
