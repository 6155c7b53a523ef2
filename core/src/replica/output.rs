//! What a replica wants done.

use super::input::RequestId;
use crate::error::Error;
use crate::machine::Machine;
use crate::types::{ClusterId, DiskId, LogIndex, LogTime, NodeId, Term};
use bytes::Bytes;
use quorate_proto::peer::RaftMessage;
use serde::{Deserialize, Serialize};

/// A member of the group: votes belong to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// The disk it was formatted with.
    pub disk: DiskId,
}

/// The part of raft's hard state that must survive: written with the entries, in one sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// Current term.
    pub term: Term,
    /// Who got the vote in it; zero for nobody.
    pub vote: NodeId,
    /// Highest index known to be committed.
    pub commit: LogIndex,
}

/// One entry of the log, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its index.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// 0 normal, 1 and 2 configuration changes.
    pub kind: u8,
    /// The payload; empty for the entry that opens a term.
    pub data: Bytes,
}

/// What a snapshot covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// Last index it includes.
    pub index: LogIndex,
    /// Term of that entry.
    pub term: Term,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Voters as of that index.
    pub voters: Vec<Member>,
    /// Learners as of that index.
    pub learners: Vec<Member>,
}

/// One write to the log: appended together, synced together, atomic on recovery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// New hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// Entries, contiguous. An index that the log holds already cuts the log there first.
    pub entries: Vec<LogEntry>,
    /// The snapshot under this meta (already stored and synced as a file) is now the base of the log:
    /// everything at or below `compact_to` may go.
    pub snapshot: Option<SnapshotMeta>,
    /// Entries at or below this index are no longer needed. Never above the snapshot's index.
    pub compact_to: Option<LogIndex>,
    /// Set together with `snapshot` when it came from the leader and replaces the log: no entry that
    /// was written before this write counts any more, whatever its index.
    pub restart: bool,
    /// The replica has caught up with what its disk may have lost; see [`super::Boot::doubt`].
    pub cleared: bool,
    /// A sync is needed before the ticket may be reported. False only for a commit index alone.
    pub must_sync: bool,
}

/// What a replica is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows `Status::leader`, or nobody.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads, and may propose.
    Leader,
}

/// A summary for health, metrics and redirection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Own role.
    pub role: Role,
    /// The leader this replica knows of.
    pub leader: Option<NodeId>,
    /// Current term.
    pub term: Term,
    /// Highest committed index.
    pub commit: LogIndex,
    /// Highest applied index.
    pub applied: LogIndex,
    /// Time of the last applied entry.
    pub log_time: LogTime,
    /// An own entry of the current term is applied (leader), or the leader is known and entries up to
    /// its commit index at first contact are applied (follower): the replica can serve.
    pub ready: bool,
}

/// One output. The closed list. Outputs are carried out in order.
#[derive(Debug)]
pub enum Output<M: Machine> {
    /// Append to the log and, if it says so, sync; then [`super::Input::Persisted`].
    Persist {
        /// Number of this write; they are carried out in order.
        ticket: u64,
        /// What to write.
        write: Write,
    },
    /// Send to a peer; may be lost. Never blocks.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: RaftMessage,
    },
    /// Stream the newest stored snapshot (not older than `message` says) to a peer, then
    /// [`super::Input::SnapshotSent`].
    SendSnapshot {
        /// The receiver.
        to: NodeId,
        /// Raft's MsgSnapshot, to go first.
        message: RaftMessage,
        /// Which snapshot file.
        meta: SnapshotMeta,
    },
    /// Begin a snapshot file; slices follow. A file that was begun before and not ended is void.
    SnapshotBegin(SnapshotMeta),
    /// The next slice of the file.
    SnapshotSlice(Vec<u8>),
    /// Sync the file, rename it, sync the directory; then [`super::Input::SnapshotStored`].
    SnapshotEnd,
    /// Outcome of a proposal: exactly one for each, unless the process dies.
    Reply {
        /// The request.
        id: RequestId,
        /// The machine's answer, or why there is none.
        result: Result<M::Reply, Error>,
        /// The reply is the remembered answer of an earlier execution of the same operation.
        replayed: bool,
    },
    /// Outcome of opening a client stream.
    StreamOpened {
        /// The request.
        id: RequestId,
        /// The stream's id.
        result: Result<u64, Error>,
    },
    /// Outcome of a query.
    Answer {
        /// The request.
        id: RequestId,
        /// The answer.
        result: Result<M::Answer, Error>,
    },
    /// Outcome of a renewal.
    Renewed {
        /// The request.
        id: RequestId,
        /// What was renewed.
        result: Result<M::Renewed, Error>,
    },
    /// Something was applied; for observers in this process.
    Event(M::Event),
    /// The status changed.
    Status(Status),
    /// The state of this replica differs from the leader's, or its log contradicts what it had
    /// acknowledged: stop the process and say so. Nothing follows.
    Fatal(String),
}
