//! Snapshots: taken of our own state in bounded slices while it keeps changing, and restored from
//! slices that the leader sent.
//!
//! The first slice is a head with everything that is small, then come the remembered answers, then the
//! machine's own slices. The head carries the machine's digest, so that a snapshot that was restored
//! is known to be the state that was saved.

use super::dedupe::Rows;
use super::disk::Held;
use super::output::{Output, SnapshotMeta, Write};
use super::replica::Replica;
use super::replicated::Replicated;
use super::wire;
use crate::codec::{self, CodecError};
use crate::machine::Machine;
use crate::types::{FencingToken, LogIndex, LogTime, Mono, NodeId, Now, Term};
use quorate_proto::peer::RaftMessage;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// After a snapshot could not be written, the next attempt waits so long.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// What a snapshot begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    level: u16,
    time: LogTime,
    index: LogIndex,
    term: Term,
    token_last: FencingToken,
    hash: u64,
    last_stream: u64,
    machine_digest: u64,
}

/// Which part of the state a slice holds: its first byte.
const HEAD: u8 = 0;
const STREAMS: u8 = 1;
const ANSWERS: u8 = 2;
const KEYS: u8 = 3;
const MACHINE: u8 = 4;

/// The snapshot that is being taken or received.
pub(super) struct Snapshots<M> {
    /// Bytes of entries applied since the last snapshot was begun.
    pub(super) applied_bytes: u64,
    /// Bytes of the last one taken, zero before the first.
    last_bytes: u64,
    taking: Option<Taking>,
    /// When the one that could not be written is tried again, however little was applied since.
    retry_at: Option<Mono>,
    /// Restored from the leader's slices, to be installed when raft says so.
    incoming: Option<(SnapshotMeta, Replicated<M>)>,
}

#[derive(Debug)]
struct Taking {
    meta: SnapshotMeta,
    /// When the last slice was made.
    last_slice: Mono,
    /// Bytes of the slices so far.
    bytes: u64,
    /// All slices are out; the shell is storing the file.
    storing: bool,
}

impl<M> Default for Snapshots<M> {
    fn default() -> Self {
        Self {
            applied_bytes: 0,
            last_bytes: 0,
            taking: None,
            retry_at: None,
            incoming: None,
        }
    }
}

impl<M> Snapshots<M> {
    /// The file could not be written.
    pub(super) fn failed(&mut self, now: Mono) {
        self.taking = None;
        self.retry_at = Some(now + RETRY_AFTER);
    }
}

impl<M: Machine> Replica<M> {
    /// Begins a snapshot when enough was applied since the last, and continues the one under way.
    pub(super) fn snapshot_work(&mut self, now: Now) {
        if self.snapshots.taking.is_none() {
            let due = match self.snapshots.retry_at {
                Some(at) => now.mono >= at,
                None => self.snapshots.applied_bytes >= self.snapshot_after(),
            };
            if !due || self.tickets.installing() {
                return;
            }
            self.begin_snapshot(now);
        }
        if self.next_slice().is_none_or(|at| now.mono < at) {
            return;
        }
        let Some(taking) = &mut self.snapshots.taking else {
            return;
        };
        taking.last_slice = now.mono;
        match self.state.snapshot_slice(self.config.snapshot_slice_bytes) {
            Some(slice) => {
                taking.bytes += slice.len() as u64;
                self.out.push(Output::SnapshotSlice(slice));
            }
            None => {
                taking.storing = true;
                self.snapshots.last_bytes = taking.bytes;
                self.out.push(Output::SnapshotEnd);
            }
        }
    }

    /// Bytes of entries after which the next snapshot is due: as many as the last one had, so that a large
    /// state is not written anew for every small part of it that changes; but never more than leaves the log
    /// room for what comes while the snapshot is taken.
    fn snapshot_after(&self) -> u64 {
        let least = self.config.snapshot_after_bytes;
        let most = (self.config.log_bytes_max / 4).max(least);
        self.snapshots.last_bytes.clamp(least, most)
    }

    /// When the next slice of the snapshot under way may be made. There is no pause between slices when the log
    /// is half full: what is in no snapshot by the time it is full makes the leader refuse operations.
    pub(super) fn next_slice(&self) -> Option<Mono> {
        let taking = self.snapshots.taking.as_ref();
        let taking = taking.filter(|taking| !taking.storing)?;
        let hurry = self.raw.store().bytes() > self.config.log_bytes_max / 2;
        let pause = if hurry {
            Duration::ZERO
        } else {
            self.config.snapshot_pace
        };
        Some(taking.last_slice + pause)
    }

    fn begin_snapshot(&mut self, now: Now) {
        let meta = SnapshotMeta {
            index: self.state.index,
            term: self.state.term,
            cluster: self.config.cluster,
            voters: self.voters.clone(),
            learners: self.learners.clone(),
        };
        let head = self.state.snapshot_begin();
        self.snapshots.applied_bytes = 0;
        self.snapshots.retry_at = None;
        self.snapshots.taking = Some(Taking {
            meta: meta.clone(),
            last_slice: now.mono,
            bytes: head.len() as u64,
            storing: false,
        });
        self.out.push(Output::SnapshotBegin(meta));
        self.out.push(Output::SnapshotSlice(head));
    }

    /// The file is on disk: the log may now begin after it.
    pub(super) fn snapshot_stored(&mut self, now: Now, meta: SnapshotMeta) {
        let expected = self
            .snapshots
            .taking
            .take_if(|taking| taking.storing && taking.meta == meta);
        if expected.is_none() {
            // One of the leader's was installed meanwhile.
            return;
        }
        let compact_to = self
            .raw
            .mut_store()
            .compact(meta.clone(), self.config.log_slack_bytes);
        // Not raft's newest commit index: it may count on entries whose write is not handed out yet.
        self.written.commit = self.written.commit.max(meta.index);
        let write = Write {
            hard_state: Some(self.written),
            snapshot: Some(meta),
            compact_to: Some(compact_to),
            must_sync: true,
            ..Write::default()
        };
        let ticket = self.tickets.write(now.mono, Held::default());
        self.out.push(Output::Persist { ticket, write });
    }

    /// A snapshot of the leader has arrived whole and is stored under its final name.
    pub(super) fn snapshot_received(
        &mut self,
        now: Now,
        from: NodeId,
        message: RaftMessage,
        slices: &[Vec<u8>],
    ) {
        let Some(meta) = message.snapshot.as_ref().and_then(wire::meta_of) else {
            return;
        };
        if !self.check_message(now, from, &message) {
            return;
        }
        let mut restored = None;
        if meta.index.0 > self.raw.raft.raft_log.committed {
            match restore::<M>(&meta, slices) {
                Ok(state) if state.level > M::LEVEL => {
                    return self.halt(format!(
                        "the leader's snapshot is at machine level {} and this version knows {}; run a newer version on this node",
                        state.level,
                        M::LEVEL
                    ));
                }
                Ok(state) => restored = Some(state),
                Err(error) => {
                    tracing::warn!(%error, %from, index = %meta.index, "dropped a snapshot that does not restore");
                    return;
                }
            }
        }
        self.step_raft(message);
        let accepted = self
            .raw
            .snap()
            .is_some_and(|snap| snap.get_metadata().index == meta.index.0);
        if let Some(state) = restored.filter(|_| accepted) {
            self.snapshots.incoming = Some((meta, state));
        }
    }

    /// Raft begins its log anew after the snapshot at this index.
    pub(super) fn install(&mut self, now: Now, index: u64) -> Result<SnapshotMeta, String> {
        let incoming = self
            .snapshots
            .incoming
            .take()
            .filter(|(meta, _)| meta.index.0 == index);
        let Some((meta, state)) = incoming else {
            return Err(format!(
                "raft accepted a snapshot at {index} that was never received; this is a bug"
            ));
        };
        self.state = state;
        self.snapshots = Snapshots {
            retry_at: self.snapshots.retry_at,
            ..Snapshots::default()
        };
        self.voters.clone_from(&meta.voters);
        self.learners.clone_from(&meta.learners);
        let own = self.config.node;
        self.peers = wire::members(&meta)
            .map(|member| member.node)
            .filter(|node| *node != own)
            .collect();
        self.peers.sort_unstable();
        self.raw.mut_store().restart(meta.clone());
        self.give_up(now, index);
        Ok(meta)
    }
}

impl<M: Machine> Replicated<M> {
    /// Begins a snapshot of the state as it is now; gives its first slice.
    pub(super) fn snapshot_begin(&mut self) -> Vec<u8> {
        let head = Head {
            level: self.level,
            time: self.time,
            index: self.index,
            term: self.term,
            token_last: self.token_last,
            hash: self.hash,
            last_stream: self.dedupe.last_stream(),
            machine_digest: self.machine.digest(),
        };
        self.dedupe.snapshot_begin();
        self.machine.snapshot_begin();
        let mut slice = vec![HEAD];
        codec::encode_into(&head, &mut slice);
        slice
    }

    /// The next slice, or `None` when the snapshot is complete.
    pub(super) fn snapshot_slice(&mut self, bytes_max: usize) -> Option<Vec<u8>> {
        let mut slice = vec![MACHINE];
        if let Some(rows) = self.dedupe.snapshot_slice(bytes_max, &mut slice) {
            slice[0] = match rows {
                Rows::Streams => STREAMS,
                Rows::Answers => ANSWERS,
                Rows::Keys => KEYS,
            };
            return Some(slice);
        }
        slice.extend(self.machine.snapshot_slice(bytes_max)?);
        Some(slice)
    }
}

/// The state that these slices hold.
pub(super) fn restore<M: Machine>(
    meta: &SnapshotMeta,
    slices: &[Vec<u8>],
) -> Result<Replicated<M>, CodecError> {
    let malformed =
        |what: &str| CodecError::Malformed(format!("snapshot at {}: {what}", meta.index));
    let mut state = Replicated::<M>::new();
    let mut parts = slices.iter().map(|slice| slice.split_first());
    let head: Head = match parts.next() {
        Some(Some((&HEAD, rest))) => codec::decode(rest)?,
        _ => return Err(malformed("its head is missing")),
    };
    if (head.index, head.term) != (meta.index, meta.term) {
        return Err(malformed("its head is of another snapshot"));
    }
    for part in parts {
        let (part, rest) = part.ok_or(CodecError::Empty)?;
        match *part {
            STREAMS => state.dedupe.restore(Rows::Streams, rest)?,
            ANSWERS => state.dedupe.restore(Rows::Answers, rest)?,
            KEYS => state.dedupe.restore(Rows::Keys, rest)?,
            MACHINE => state.machine.restore_slice(rest)?,
            other => {
                return Err(malformed(&format!(
                    "unknown part {other}; a newer version wrote it"
                )));
            }
        }
    }
    state.machine.restore_end()?;
    if state.machine.digest() != head.machine_digest {
        return Err(malformed(
            "the restored state is not the one that was saved",
        ));
    }
    let Head {
        level,
        time,
        index,
        term,
        token_last,
        hash,
        last_stream,
        machine_digest: _,
    } = head;
    (state.level, state.time, state.index, state.term) = (level, time, index, term);
    (state.token_last, state.hash) = (token_last, hash);
    state.dedupe.set_last_stream(last_stream);
    state.note_hash();
    Ok(state)
}
