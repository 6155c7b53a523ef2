//! The summary for health, metrics and redirection.

use super::output::{Output, Role, Status};
use super::replica::Replica;
use crate::machine::Machine;
use crate::types::{LogIndex, NodeId, Term};
use raft::StateRole;

impl<M: Machine> Replica<M> {
    /// Gives out the status when it changed.
    pub(super) fn report_status(&mut self) {
        let raft = &self.raw.raft;
        let role = match raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate | StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        };
        let status = Status {
            role,
            leader: (raft.leader_id != 0).then_some(NodeId(raft.leader_id)),
            term: Term(raft.term),
            commit: LogIndex(raft.raft_log.committed),
            applied: self.state.index,
            log_time: self.state.time,
            ready: !self.disk_stuck && self.is_useful(),
        };
        if self.status.as_ref() != Some(&status) {
            self.status = Some(status.clone());
            self.out.push(Output::Status(status));
        }
    }

    fn is_useful(&self) -> bool {
        if self.is_leader() {
            return self.office.is_some();
        }
        let caught_up =
            |(term, commit): (u64, u64)| term == self.term() && commit <= self.state.index.0;
        self.raw.raft.leader_id != 0 && self.contact.is_some_and(caught_up)
    }
}
