//! What can happen to a replica.

use super::output::SnapshotMeta;
use crate::machine::{Machine, Op};
use crate::types::{Mono, NodeId, Principal};
use quorate_proto::peer::RaftMessage;

/// Names one request of the shell until its [`super::Output::Reply`], [`super::Output::Answer`] or
/// [`super::Output::Renewed`]. Unique for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// An operation to be logged.
#[derive(Clone, Debug)]
pub struct Proposal<M: Machine> {
    /// The request it belongs to.
    pub id: RequestId,
    /// The operation.
    pub op: Op<M::Command>,
    /// Park it until then while [`Machine::parks`] says that it would find nothing.
    pub wait_until: Option<Mono>,
}

/// One input. The closed list.
#[derive(Debug)]
pub enum Input<M: Machine> {
    /// One raft tick has passed (see `Config::tick`).
    Tick,
    /// A message of a peer whose identity the transport has checked.
    Message {
        /// The checked sender; a message that claims another is dropped.
        from: NodeId,
        /// The message.
        message: RaftMessage,
    },
    /// Log an operation. Answered by [`super::Output::Reply`], at once with `no_quorum` when this
    /// replica does not lead.
    Propose(Proposal<M>),
    /// Open a client stream, whose operations carry [`crate::machine::OpKey::Stream`]. Answered by
    /// [`super::Output::StreamOpened`]. A stream that was opened twice because an answer was lost
    /// costs nothing: the idle one expires.
    OpenStream {
        /// The request.
        id: RequestId,
        /// Who may use it.
        principal: Principal,
    },
    /// Answer a question, linearizably. Answered by [`super::Output::Answer`].
    Query {
        /// The request.
        id: RequestId,
        /// The question.
        query: M::Query,
    },
    /// Renew leases. Answered by [`super::Output::Renewed`]. Nothing is logged.
    Renew {
        /// The request.
        id: RequestId,
        /// The heartbeat.
        renewal: M::Renewal,
    },
    /// The caller of a request is gone; a parked operation is dropped.
    Forget(RequestId),
    /// Every [`super::Output::Persist`] up to and including this ticket is on disk, synced where it
    /// had to be. Tickets complete in order.
    Persisted {
        /// The ticket.
        ticket: u64,
    },
    /// The snapshot that was being written is on disk under its final name.
    SnapshotStored(SnapshotMeta),
    /// A snapshot could not be written (a full disk, say); it will be tried again later.
    SnapshotFailed,
    /// All slices of a snapshot that a peer sent are on local disk, checked; `message` is the raft
    /// message that announced it. Install it unless it is out of date.
    SnapshotReceived {
        /// The checked sender.
        from: NodeId,
        /// Raft's MsgSnapshot.
        message: RaftMessage,
        /// The slices, in order.
        slices: Vec<Vec<u8>>,
    },
    /// How the transfer of a snapshot to `to` ended.
    SnapshotSent {
        /// The receiver.
        to: NodeId,
        /// It has it.
        ok: bool,
    },
    /// The transport cannot reach this peer at present.
    Unreachable(NodeId),
    /// Hand leadership to this peer, for a graceful stop.
    Transfer(NodeId),
}
