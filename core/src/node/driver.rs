//! The thread that drives the replica: takes what arrived, steps it in, carries out what comes out.

use super::disk::{DiskJob, SnapshotJob};
use super::mailbox::Mailbox;
use super::peers::Outgoing;
use super::requests::{Completion, Replied, Waiter, Waiters};
use super::status::{NodeState, NodeStatus};
use crate::clock;
use crate::error::Error;
use crate::machine::{Machine, Op};
use crate::replica::{Input, Output, Proposal, Replica, RequestId};
use crate::types::{Mono, Principal};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// What arrives at the driver.
#[derive(Debug)]
pub(super) enum Letter<M: Machine> {
    Propose {
        id: RequestId,
        op: Op<M::Command>,
        wait_until: Option<Mono>,
        to: oneshot::Sender<Replied<M>>,
    },
    Query {
        id: RequestId,
        query: M::Query,
        to: oneshot::Sender<Result<M::Answer, Error>>,
    },
    Renew {
        id: RequestId,
        renewal: M::Renewal,
        to: oneshot::Sender<Result<M::Renewed, Error>>,
    },
    OpenStream {
        id: RequestId,
        principal: Principal,
        to: oneshot::Sender<Result<u64, Error>>,
    },
    /// The caller is gone.
    Forget(RequestId),
    /// Something of the network or the disk.
    Input(Input<M>),
    /// The node must not go on.
    Fatal(String),
}

/// Everything the driver thread holds.
pub(super) struct Driver<M: Machine> {
    pub(super) replica: Replica<M>,
    pub(super) mailbox: Arc<Mailbox<Letter<M>>>,
    pub(super) disk: Arc<Mailbox<DiskJob>>,
    pub(super) snapshots: Arc<Mailbox<SnapshotJob>>,
    pub(super) outgoing: Outgoing,
    pub(super) completions: mpsc::UnboundedSender<Vec<Completion<M>>>,
    pub(super) events: broadcast::Sender<M::Event>,
    pub(super) status: watch::Sender<NodeStatus>,
    pub(super) tick: Duration,
    pub(super) waiters: Waiters<M>,
    pub(super) on_fatal: Box<dyn Fn(&str) + Send>,
}

impl<M: Machine> Driver<M> {
    /// Runs until the mailbox is closed or the node must not go on.
    pub(super) fn run(mut self) {
        let mut letters = Vec::new();
        let mut outputs = Vec::new();
        let mut tick_at = clock::monotonic() + self.tick;
        loop {
            let now = clock::now();
            let wake = self
                .replica
                .next_wake(now)
                .map_or(tick_at, |wake| wake.min(tick_at));
            if !self.mailbox.take(&mut letters, Some(wake.since(now.mono))) {
                return;
            }
            let now = clock::now();
            // What arrived goes first: a message of the leader that lay here must count before the
            // tick that would start an election for want of it.
            for letter in letters.drain(..) {
                if let Some(fatal) = self.take_in(now, letter) {
                    (self.on_fatal)(&fatal);
                    return;
                }
            }
            if now.mono >= tick_at {
                self.replica.step(now, Input::Tick);
                // After a stall the missed ticks are not made up for: they would all be blamed on the
                // leader at once.
                tick_at = (tick_at + self.tick).max(now.mono);
            }
            self.replica.turn(now, &mut outputs);
            count_operations(&outputs);
            for output in outputs.drain(..) {
                if let Some(fatal) = self.carry_out(output) {
                    (self.on_fatal)(&fatal);
                    return;
                }
            }
            let done = self.waiters.take_done();
            if !done.is_empty() {
                // Closed when the runtime is stopping: nobody waits any more.
                let _ = self.completions.send(done);
            }
        }
    }

    fn take_in(&mut self, now: crate::types::Now, letter: Letter<M>) -> Option<String> {
        let input = match letter {
            Letter::Propose {
                id,
                op,
                wait_until,
                to,
            } => {
                self.waiters.add(id, Waiter::Reply(to));
                Input::Propose(Proposal { id, op, wait_until })
            }
            Letter::Query { id, query, to } => {
                self.waiters.add(id, Waiter::Answer(to));
                Input::Query { id, query }
            }
            Letter::Renew { id, renewal, to } => {
                self.waiters.add(id, Waiter::Renewed(to));
                Input::Renew { id, renewal }
            }
            Letter::OpenStream { id, principal, to } => {
                self.waiters.add(id, Waiter::Stream(to));
                Input::OpenStream { id, principal }
            }
            Letter::Forget(id) => {
                self.waiters.forget(id);
                Input::Forget(id)
            }
            Letter::Input(input) => input,
            Letter::Fatal(reason) => return Some(reason),
        };
        self.replica.step(now, input);
        None
    }

    fn carry_out(&mut self, output: Output<M>) -> Option<String> {
        match output {
            Output::Persist { ticket, write } => self.disk.push(DiskJob::Write { ticket, write }),
            Output::Send { to, message } => self.outgoing.send(to, message),
            Output::SendSnapshot { to, message, meta } => {
                self.outgoing.send_snapshot(to, message, meta);
            }
            Output::SnapshotBegin(meta) => self.snapshots.push(SnapshotJob::Begin(meta)),
            Output::SnapshotSlice(slice) => self.snapshots.push(SnapshotJob::Slice(slice)),
            Output::SnapshotEnd => self.snapshots.push(SnapshotJob::End),
            Output::Reply {
                id,
                result,
                replayed,
            } => {
                self.waiters
                    .reply(id, result.map(|reply| (reply, replayed)));
            }
            Output::StreamOpened { id, result } => self.waiters.stream_opened(id, result),
            Output::Answer { id, result } => self.waiters.answer(id, result),
            Output::Renewed { id, result } => self.waiters.renewed(id, result),
            Output::Event(event) => {
                if self.events.receiver_count() > 0 {
                    // Fails only when the last receiver has just gone.
                    let _ = self.events.send(event);
                }
            }
            Output::Status(status) => {
                self.tell(&status);
                self.status.send_modify(|node| {
                    node.state = NodeState::Running;
                    node.leader = status.leader;
                    node.role = status.role;
                    node.term = status.term;
                    node.commit = status.commit;
                    node.applied = status.applied;
                    node.log_time = status.log_time;
                    node.ready = status.ready;
                    node.reason = reason(&status);
                });
            }
            Output::Fatal(reason) => return Some(reason),
        }
        None
    }
}

impl<M: Machine> Driver<M> {
    /// A line a change of leader: the first thing one asks for when something was slow.
    fn tell(&self, status: &crate::replica::Status) {
        let before = self.status.borrow();
        if (before.term, before.leader) == (status.term, status.leader) {
            return;
        }
        match status.leader {
            Some(leader) if leader == before.node => {
                tracing::info!(term = status.term.0, "this node leads");
            }
            Some(leader) => tracing::info!(term = status.term.0, leader = leader.0, "following"),
            None if before.leader.is_some() => {
                tracing::warn!(term = status.term.0, "no leader");
            }
            None => {}
        }
    }
}

fn reason(status: &crate::replica::Status) -> String {
    if status.ready {
        String::new()
    } else if status.leader.is_none() {
        "no leader: a majority of the nodes must be up and reach each other".to_owned()
    } else {
        "catching up with the leader".to_owned()
    }
}

/// Client operations that were carried out: on the leader, those of the entries that were applied.
fn count_operations<M: Machine>(outputs: &[Output<M>]) {
    let executed = outputs.iter().filter(|output| {
        matches!(
            output,
            Output::Reply {
                result: Ok(_),
                replayed: false,
                ..
            }
        )
    });
    let count = executed.count();
    if count > 0 {
        metrics::counter!("quorate_operations_total")
            .increment(u64::try_from(count).unwrap_or(u64::MAX));
    }
}
