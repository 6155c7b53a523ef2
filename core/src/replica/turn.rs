//! One turn: what raft has ready is written, sent and applied; what a leader has to do is done.

use super::disk::Held;
use super::output::{HardState, Output, Write};
use super::replica::Replica;
use super::wire;
use crate::machine::Machine;
use crate::types::{LogIndex, NodeId, Now, Term};
use raft::Ready;
use raft::eraftpb::{Message, MessageType};

/// Readies of one turn, so that inputs are taken in between even while a log is replayed.
const READIES_PER_TURN: usize = 8;

impl<M: Machine> Replica<M> {
    /// Does the work that follows from the inputs and appends what shall be done about it to `out`, to
    /// be carried out in this order.
    pub fn turn(&mut self, now: Now, out: &mut Vec<Output<M>>) {
        if !self.halted {
            self.observe(now);
            self.more = self.work(now);
            self.report_status();
        }
        out.append(&mut self.out);
    }

    /// Returns whether work is left.
    fn work(&mut self, now: Now) -> bool {
        for _ in 0..READIES_PER_TURN {
            self.lead(now);
            if !self.raw.has_ready() {
                self.snapshot_work(now);
                return false;
            }
            self.handle_ready(now);
            self.check_office(now);
            if self.halted {
                return false;
            }
        }
        true
    }

    fn handle_ready(&mut self, now: Now) {
        let mut ready = self.raw.ready();
        let number = ready.number();
        for state in ready.take_read_states() {
            self.reads.confirm(&state.request_ctx, state.index);
        }
        let mut immediate = ready.take_messages();
        let (answers, messages) = self.split(ready.take_persisted_messages());
        immediate.extend(answers);
        let mut held = Held {
            ready: Some(number),
            messages,
            installed: None,
        };
        let mut write = Write {
            must_sync: ready.must_sync(),
            ..Write::default()
        };
        if !ready.snapshot().is_empty() {
            let index = ready.snapshot().get_metadata().index;
            match self.install(now, index) {
                Ok(meta) => {
                    write.compact_to = Some(meta.index);
                    write.snapshot = Some(meta);
                    write.restart = true;
                    held.installed = Some(index);
                }
                Err(reason) => return self.halt(reason),
            }
        }
        let entries = ready.take_entries();
        write.entries = entries.iter().map(wire::log_entry).collect();
        self.raw.mut_store().append(entries);
        let unwritten = self.persist(now, &ready, write, held);
        for message in immediate {
            self.send(now, message);
        }
        let committed = ready.take_committed_entries();
        self.raw.advance_append_async(ready);
        if let Some(held) = unwritten {
            self.release(now, held);
        }
        self.apply(now, committed);
        self.check_doubt();
    }

    /// Answers to heartbeats, and all else. An answer stands for "I am in your term" and for nothing in
    /// the log, so once the term is on disk it waits for no write: a follower whose disk is slow stays
    /// in touch, and reads are confirmed at the speed of the network.
    fn split(&self, messages: Vec<Message>) -> (Vec<Message>, Vec<Message>) {
        let current = self.hard_state();
        let durable = (current.term, current.vote) == (self.written.term, self.written.vote)
            && self.tickets.is_done(self.vital);
        messages.into_iter().partition(|message| {
            durable && message.get_msg_type() == MessageType::MsgHeartbeatResponse
        })
    }

    /// Hands out the write of a ready, if there is anything to write. A commit index alone is not:
    /// losing it costs nothing, so it goes with the next write. Gives back what need not wait at all.
    fn persist(&mut self, now: Now, ready: &Ready, mut write: Write, held: Held) -> Option<Held> {
        let current = self.hard_state();
        let vital = (current.term, current.vote) != (self.written.term, self.written.vote);
        write.cleared = std::mem::take(&mut self.cleared);
        write.must_sync |= write.cleared;
        if !vital && !write.cleared && write.entries.is_empty() && write.snapshot.is_none() {
            assert!(
                !ready.must_sync(),
                "raft asks for a sync of terms, votes, entries and snapshots only"
            );
            return self.tickets.follow(held);
        }
        write.hard_state = Some(current);
        self.written = current;
        let ticket = self.tickets.write(now.mono, held);
        if vital {
            self.vital = ticket;
        }
        self.out.push(Output::Persist { ticket, write });
        None
    }

    /// What waited for a write goes on, now that it is on disk.
    pub(super) fn release(&mut self, now: Now, held: Held) {
        if let Some(ready) = held.ready {
            self.raw.on_persist_ready(ready);
        }
        if let Some(index) = held.installed {
            // Only now: raft asserts that what is applied is persisted.
            self.raw.advance_apply_to(index);
        }
        for message in held.messages {
            self.send(now, message);
        }
    }

    fn send(&mut self, now: Now, message: Message) {
        let to = NodeId(message.to);
        let snapshot = wire::snapshot_index(&message);
        let meta = match snapshot {
            None => None,
            Some(index) => match self
                .raw
                .store()
                .stored()
                .filter(|meta| meta.index.0 == index)
            {
                Some(meta) => Some(meta.clone()),
                None => {
                    return self
                        .raw
                        .report_snapshot(to.0, raft::SnapshotStatus::Failure);
                }
            },
        };
        let message = wire::from_raft(
            message,
            self.config.group,
            now.wall_ms,
            M::LEVEL,
            meta.as_ref(),
        );
        self.out.push(match meta {
            Some(meta) => Output::SendSnapshot { to, message, meta },
            None => Output::Send { to, message },
        });
    }

    pub(super) fn hard_state(&self) -> HardState {
        let state = self.raw.raft.hard_state();
        HardState {
            term: Term(state.term),
            vote: NodeId(state.vote),
            commit: LogIndex(state.commit),
        }
    }
}
