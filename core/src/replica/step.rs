//! Inputs: each is taken in at once; what follows from it is worked out in the turn.

use super::election;
use super::entry::{Command, LoggedOp};
use super::input::{Input, Proposal, RequestId};
use super::output::Output;
use super::parked::Parked;
use super::pending::Waiter;
use super::reads::Read;
use super::replica::Replica;
use super::wire::{self, Refusal, View};
use crate::error::{Code, Error};
use crate::machine::{Duties, Machine, Op, Origin};
use crate::types::{LogIndex, Mono, NodeId, Now, Principal, Term};
use quorate_proto::peer::RaftMessage;
use raft::SnapshotStatus;

/// How long a refused caller should wait: about one entry's time under load.
const RETRY_AFTER_MS: u64 = 50;

impl<M: Machine> Replica<M> {
    /// Takes one input in. `now` must not go back.
    pub fn step(&mut self, now: Now, input: Input<M>) {
        if self.halted {
            return;
        }
        self.observe(now);
        match input {
            Input::Tick => self.tick(now),
            Input::Message { from, message } => self.message(now, from, message),
            Input::Propose(proposal) => self.propose_op(proposal),
            Input::OpenStream { id, principal } => self.open_stream(id, principal),
            Input::Query { id, query } => self.read(Read::Query { id, query }),
            Input::Renew { id, renewal } => self.renew(id, renewal, now.mono),
            Input::Forget(id) => self.lines.forget(id),
            Input::Persisted { ticket } => self.persisted(now, ticket),
            Input::SnapshotStored(meta) => self.snapshot_stored(now, meta),
            Input::SnapshotFailed => self.snapshots.failed(now.mono),
            Input::SnapshotReceived {
                from,
                message,
                slices,
            } => self.snapshot_received(now, from, message, &slices),
            Input::SnapshotSent { to, ok } => {
                let status = if ok {
                    SnapshotStatus::Finish
                } else {
                    SnapshotStatus::Failure
                };
                self.raw.report_snapshot(to.0, status);
            }
            Input::Unreachable(peer) => self.raw.report_unreachable(peer.0),
            Input::Transfer(to) => {
                if self.is_leader() && self.peers.contains(&to) {
                    self.raw.transfer_leader(to.0);
                }
            }
        }
        self.check_office(now);
    }

    /// Notices when the loop stood still, or a write takes too long.
    pub(super) fn observe(&mut self, now: Now) {
        let gap = self
            .last_call
            .map_or(std::time::Duration::ZERO, |last| now.mono.since(last));
        self.last_call = Some(now.mono.max(self.last_call.unwrap_or_default()));
        if gap > self.config.stall_after {
            // What came meanwhile, the end of a write as well, is still to be heard.
            self.tickets.stalled(gap);
            if let Some(office) = &mut self.office {
                office.duties.stalled(gap);
            }
        }
        if self.tickets.is_empty() {
            self.disk_stuck = false;
        } else if self.tickets.age(now.mono) > self.config.election_timeout() * 2 {
            self.disk_stuck = true;
            if self.is_leader() {
                // Another node's disk may be well. Followers stop hearing from us and elect it.
                let term = self.term();
                self.raw.raft.become_follower(term, raft::INVALID_ID);
                self.check_office(now);
            }
        }
    }

    fn tick(&mut self, now: Now) {
        self.ticks += 1;
        self.give_up(now, 0);
        if !self.is_leader() && self.must_not_campaign() {
            return;
        }
        let timeout = election::timeout_ticks(
            self.config.seed,
            self.config.node,
            Term(self.term()),
            self.campaigns,
            self.config.election_ticks_min,
            self.config.election_ticks_max,
        );
        self.raw.raft.set_randomized_election_timeout(timeout);
        let led = self.is_leader();
        if self.raw.tick() && !led {
            self.campaigns += 1;
        }
    }

    /// A node whose disk hangs must not lead; and raft-rs asserts that whoever wins an election has
    /// persisted its log, and that a snapshot was applied before one begins.
    fn must_not_campaign(&self) -> bool {
        let raft = &self.raw.raft;
        let unsynced = raft.raft_log.persisted != raft.raft_log.last_index();
        let alone = raft.prs().is_singleton() && unsynced;
        self.disk_stuck || self.tickets.installing() || self.raw.snap().is_some() || alone
    }

    fn message(&mut self, now: Now, from: NodeId, message: RaftMessage) {
        if message.snapshot.is_some() {
            // Its slices are missing: snapshots come as SnapshotReceived.
            return;
        }
        if self.check_message(now, from, &message) {
            self.step_raft(message);
        }
    }

    /// Whether the message may be stepped; what it says by the way is noted.
    pub(super) fn check_message(&mut self, now: Now, from: NodeId, message: &RaftMessage) -> bool {
        let view = View {
            node: self.config.node,
            group: self.config.group,
            cluster: self.config.cluster,
            peers: &self.peers,
            term: self.term(),
            last: self.raw.raft.raft_log.last_index(),
        };
        match wire::check(&view, from, message) {
            Ok(()) => {}
            Err(Refusal::Drop(reason)) => {
                tracing::warn!(%from, kind = message.kind, reason, "dropped a peer's message");
                return false;
            }
            Err(Refusal::Fatal(reason)) => {
                self.halt(reason);
                return false;
            }
        }
        self.walls.hear(from, message.wall_ms, now.mono);
        self.levels.insert(
            from,
            u16::try_from(message.machine_level).unwrap_or(u16::MAX),
        );
        self.note_contact(message);
        if !self.may_elect(from, message) {
            return false;
        }
        if wire::is_vote(message) {
            // Candidates ask only when their log is synced, so this answers an older candidacy; and
            // raft-rs asserts that whoever wins has persisted all.
            let log = &self.raw.raft.raft_log;
            return log.persisted == log.last_index();
        }
        !(wire::is_timeout_now(message) && self.must_not_campaign())
    }

    /// Whether the message may have its part in an election here; in doubt few may.
    fn may_elect(&mut self, from: NodeId, message: &RaftMessage) -> bool {
        let Some(doubt) = &mut self.doubt else {
            return true;
        };
        let log = &self.raw.raft.raft_log;
        let own = (Term(log.last_term()), LogIndex(log.last_index()));
        let candidate = if wire::asks_for_vote(message) {
            let end = (Term(message.log_term), LogIndex(message.index));
            doubt.hear(from, end);
            end
        } else if wire::is_vote(message) {
            // Candidates vote for themselves.
            own
        } else {
            return !wire::is_timeout_now(message);
        };
        let voters = self.voters.iter().map(|member| member.node);
        doubt.allows(
            candidate,
            own,
            voters.filter(|node| *node != self.config.node),
        )
    }

    /// Hands a checked message to raft.
    pub(super) fn step_raft(&mut self, message: RaftMessage) {
        if let Err(error) = self.raw.step(wire::to_raft(message)) {
            tracing::debug!(%error, "raft did not take a message");
        }
    }

    fn propose_op(&mut self, proposal: Proposal<M>) {
        let Proposal { id, op, wait_until } = proposal;
        if !self.is_leader() {
            let error = self.no_quorum();
            return self.reply_error(id, error);
        }
        if let Some(error) = self.refuse_op(&op) {
            return self.reply_error(id, error);
        }
        let Some(until) = wait_until else {
            return self.enqueue(LoggedOp::new(op, false), Waiter::Reply(id));
        };
        // The answer of an earlier attempt must be found first, and that is in the log's order.
        let is_new = match &op.origin {
            Origin::Client { key: Some(key), .. } => self.state.dedupe.is_new(key),
            _ => true,
        };
        if is_new
            && self.office.is_some()
            && let Some(key) = self.state.machine.parks(&op.command)
        {
            if self.lines.len() >= self.config.parked_max {
                return self.reply_error(id, busy("too many callers are waiting for work"));
            }
            return self.lines.park(key, Parked { id, op, until }, None);
        }
        self.enqueue(
            LoggedOp::new(op, true),
            Waiter::Waiting {
                id,
                until,
                place: None,
            },
        );
    }

    fn refuse_op(&self, op: &Op<M::Command>) -> Option<Error> {
        if matches!(op.origin, Origin::Leader(_)) {
            return Some(Error::new(
                Code::Forbidden,
                "only the leader itself proposes on its own account",
            ));
        }
        self.refuse_load()
    }

    fn refuse_load(&self) -> Option<Error> {
        if !self.pending.has_room(&self.config) {
            return Some(busy("operations arrive faster than they can be logged"));
        }
        if self.raw.store().bytes() > self.config.log_bytes_max {
            return Some(Error::new(
                Code::StorageFull,
                "the log cannot be shortened because snapshots fail; check the disk space of the nodes",
            ));
        }
        None
    }

    fn open_stream(&mut self, id: RequestId, principal: Principal) {
        let refused = if self.is_leader() {
            self.refuse_load()
        } else {
            Some(self.no_quorum())
        };
        match refused {
            Some(error) => self.out.push(Output::StreamOpened {
                id,
                result: Err(error),
            }),
            None => {
                let origin = Origin::Client {
                    principal,
                    key: None,
                };
                self.enqueue(
                    LoggedOp {
                        origin,
                        command: Command::OpenStream,
                    },
                    Waiter::Stream(id),
                );
            }
        }
    }

    fn renew(&mut self, id: RequestId, renewal: M::Renewal, receipt: Mono) {
        let read = Read::Renew {
            id,
            renewal,
            receipt,
        };
        let refused = self.refuse_read();
        if let (Some(office), Read::Renew { renewal, .. }, None) =
            (&mut self.office, &read, &refused)
        {
            office.duties.arrived(&self.state.machine, renewal, receipt);
        }
        self.admit(read, refused);
    }

    fn read(&mut self, read: Read<M>) {
        let refused = self.refuse_read();
        self.admit(read, refused);
    }

    fn refuse_read(&self) -> Option<Error> {
        if !self.is_leader() {
            return Some(self.no_quorum());
        }
        (self.reads.len() >= self.config.reads_max)
            .then(|| busy("questions arrive faster than a quorum can confirm them"))
    }

    fn admit(&mut self, read: Read<M>, refused: Option<Error>) {
        match refused {
            Some(error) => self.fail_read(&read, &error),
            None => self.reads.push(read),
        }
    }

    fn persisted(&mut self, now: Now, ticket: u64) {
        for held in self.tickets.done(ticket) {
            self.release(now, held);
        }
    }
}

pub(super) fn busy(detail: &str) -> Error {
    Error::new(Code::OverQuota, detail).retry_after_ms(RETRY_AFTER_MS)
}
