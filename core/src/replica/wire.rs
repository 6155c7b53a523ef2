//! Peer messages to raft's and back, and the checks that keep nonsense from raft's assertions.
//!
//! raft-rs trusts its peers: an index out of range or a term of zero ends in a panic. What passes
//! [`check`] cannot get there. One kind of impossible message is not dropped but fatal: a leader that
//! counts on entries which this replica acknowledged and no longer has.

use super::output::{LogEntry, Member, SnapshotMeta};
use crate::types::{ClusterId, DiskId, GroupId, LogIndex, NodeId, Term};
use bytes::Bytes;
use quorate_proto::peer::{self, RaftMessage, SnapshotHeader};
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot};

/// No honest term or index comes near; below it no sum of two overflows.
const NUMBER_MAX: u64 = 1 << 60;

/// Longest context: a read index's, or raft's word for a leader transfer.
const CONTEXT_BYTES_MAX: usize = 64;

/// What [`check`] needs to know of this replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) node: NodeId,
    pub(super) group: GroupId,
    pub(super) cluster: ClusterId,
    pub(super) peers: &'a [NodeId],
    pub(super) term: u64,
    pub(super) last: u64,
}

/// Why a message is not stepped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nonsense, or not for us: dropped.
    Drop(&'static str),
    /// This replica lost what it had acknowledged.
    Fatal(String),
}

/// Looks at a message before raft does.
pub(super) fn check(view: &View<'_>, from: NodeId, m: &RaftMessage) -> Result<(), Refusal> {
    let refuse = |what| Err(Refusal::Drop(what));
    if m.group != view.group.0 || m.to != view.node.0 {
        return refuse("for another group or node");
    }
    if m.from != from.0 || from == view.node || !view.peers.contains(&from) {
        return refuse("the sender is not the member it says it is");
    }
    if m.term == 0
        || [
            m.term,
            m.log_term,
            m.index,
            m.commit,
            m.commit_term,
            m.reject_hint,
        ]
        .iter()
        .any(|n| *n > NUMBER_MAX)
    {
        return refuse("a number is out of range");
    }
    if m.context.len() > CONTEXT_BYTES_MAX {
        return refuse("the context is too long");
    }
    if m.request_snapshot != 0 {
        return refuse("snapshots are not asked for");
    }
    let Some(kind) = kind_of(m.kind) else {
        return refuse("of a kind that peers do not send");
    };
    if kind != MessageType::MsgAppend && !m.entries.is_empty() {
        return refuse("carries entries");
    }
    if (kind == MessageType::MsgSnapshot) != m.snapshot.is_some() {
        return refuse("carries a snapshot, or does not");
    }
    match kind {
        MessageType::MsgAppend => check_append(m),
        MessageType::MsgHeartbeat if m.term >= view.term && m.commit > view.last => {
            Err(Refusal::Fatal(format!(
                "the leader of term {} knows that this node acknowledged entries up to {} at least, but its log ends at {}: \
                 it lost synced data. Replace this node under a new id",
                m.term, m.commit, view.last
            )))
        }
        MessageType::MsgAppendResponse if !m.reject && m.index > view.last => {
            refuse("acknowledges entries that do not exist")
        }
        MessageType::MsgSnapshot => check_snapshot(view, m),
        _ => Ok(()),
    }
}

fn check_append(m: &RaftMessage) -> Result<(), Refusal> {
    if (m.index == 0) != (m.log_term == 0) || m.log_term > m.term {
        return Err(Refusal::Drop("the previous entry's term is impossible"));
    }
    let mut previous = (m.index, m.log_term);
    for entry in &m.entries {
        if entry.index != previous.0 + 1 {
            return Err(Refusal::Drop("the entries are not contiguous"));
        }
        if entry.term == 0 || entry.term < previous.1 || entry.term > m.term {
            return Err(Refusal::Drop("the terms of the entries are impossible"));
        }
        if entry.kind != 0 {
            return Err(Refusal::Drop(
                "an entry is of a kind this version does not know",
            ));
        }
        previous = (entry.index, entry.term);
    }
    Ok(())
}

fn check_snapshot(view: &View<'_>, m: &RaftMessage) -> Result<(), Refusal> {
    let meta = m
        .snapshot
        .as_ref()
        .and_then(meta_of)
        .ok_or(Refusal::Drop("the snapshot's header is malformed"))?;
    if meta.cluster != view.cluster {
        return Err(Refusal::Drop("the snapshot is of another cluster"));
    }
    if meta.index.0 == 0 || meta.index.0 > NUMBER_MAX || meta.term.0 == 0 || meta.term.0 > m.term {
        return Err(Refusal::Drop("the snapshot's index or term is impossible"));
    }
    let mut nodes: Vec<NodeId> = members(&meta).map(|member| member.node).collect();
    let total = nodes.len();
    nodes.sort_unstable();
    nodes.dedup();
    if meta.voters.is_empty()
        || nodes.len() != total
        || !nodes.contains(&view.node)
        || nodes.contains(&NodeId(0))
    {
        return Err(Refusal::Drop("the snapshot's configuration is impossible"));
    }
    Ok(())
}

/// Voters and learners.
pub(super) fn members(meta: &SnapshotMeta) -> impl Iterator<Item = &Member> {
    meta.voters.iter().chain(&meta.learners)
}

/// The kinds that replicas send each other.
fn kind_of(kind: u32) -> Option<MessageType> {
    use MessageType::*;
    [
        MsgAppend,
        MsgAppendResponse,
        MsgRequestVote,
        MsgRequestVoteResponse,
        MsgSnapshot,
        MsgHeartbeat,
        MsgHeartbeatResponse,
        MsgTimeoutNow,
        MsgRequestPreVote,
        MsgRequestPreVoteResponse,
    ]
    .into_iter()
    .find(|known| *known as u32 == kind)
}

/// Index of the snapshot that this message announces.
pub(super) fn snapshot_index(message: &Message) -> Option<u64> {
    (message.get_msg_type() == MessageType::MsgSnapshot)
        .then(|| message.get_snapshot().get_metadata().index)
}

/// Whether this is a message of a leader, and up to where it says that entries are committed.
pub(super) fn leaders_commit(m: &RaftMessage) -> Option<u64> {
    let leader = [MessageType::MsgAppend, MessageType::MsgHeartbeat]
        .iter()
        .any(|kind| *kind as u32 == m.kind);
    leader.then_some(m.commit)
}

/// Whether the leader asks this node to campaign, to hand its office over.
pub(super) fn is_timeout_now(m: &RaftMessage) -> bool {
    m.kind == MessageType::MsgTimeoutNow as u32
}

/// Whether this is a candidate's, or a would-be candidate's, request for a vote.
pub(super) fn asks_for_vote(m: &RaftMessage) -> bool {
    use MessageType::{MsgRequestPreVote, MsgRequestVote};
    [MsgRequestVote, MsgRequestPreVote]
        .iter()
        .any(|kind| *kind as u32 == m.kind)
}

/// Whether this answers a candidate.
pub(super) fn is_vote(m: &RaftMessage) -> bool {
    use MessageType::{MsgRequestPreVoteResponse, MsgRequestVoteResponse};
    [MsgRequestVoteResponse, MsgRequestPreVoteResponse]
        .iter()
        .any(|kind| *kind as u32 == m.kind)
}

/// A checked message as raft takes it.
pub(super) fn to_raft(m: RaftMessage) -> Message {
    let mut out = Message::default();
    if let Some(kind) = kind_of(m.kind) {
        out.set_msg_type(kind);
    }
    out.to = m.to;
    out.from = m.from;
    out.term = m.term;
    out.log_term = m.log_term;
    out.index = m.index;
    out.commit = m.commit;
    out.commit_term = m.commit_term;
    out.reject = m.reject;
    out.reject_hint = m.reject_hint;
    out.context = m.context;
    out.priority = m.priority;
    let entries: Vec<Entry> = m
        .entries
        .into_iter()
        .map(|entry| raft_entry(entry.index, entry.term, entry.data))
        .collect();
    out.set_entries(entries.into());
    if let Some(meta) = m.snapshot.as_ref().and_then(meta_of) {
        out.set_snapshot(snapshot_of(&meta));
    }
    out
}

/// A message of raft as peers take it. `snapshot` is the header when it announces one.
pub(super) fn from_raft(
    mut m: Message,
    group: GroupId,
    wall_ms: u64,
    machine_level: u16,
    snapshot: Option<&SnapshotMeta>,
) -> RaftMessage {
    RaftMessage {
        group: group.0,
        kind: m.get_msg_type() as u32,
        to: m.to,
        from: m.from,
        term: m.term,
        log_term: m.log_term,
        index: m.index,
        commit: m.commit,
        commit_term: m.commit_term,
        request_snapshot: 0,
        reject: m.reject,
        reject_hint: m.reject_hint,
        context: m.take_context(),
        priority: m.priority,
        entries: m
            .take_entries()
            .into_iter()
            .map(|entry| peer::Entry {
                index: entry.index,
                term: entry.term,
                kind: 0,
                data: entry.data,
            })
            .collect(),
        snapshot: snapshot.map(header_of),
        wall_ms,
        machine_level: u32::from(machine_level),
    }
}

/// An entry as raft keeps it.
pub(super) fn raft_entry(index: u64, term: u64, data: Bytes) -> Entry {
    let mut entry = Entry::default();
    entry.set_entry_type(EntryType::EntryNormal);
    entry.index = index;
    entry.term = term;
    entry.data = data;
    entry
}

/// An entry as the disk keeps it; the data is shared, not copied.
pub(super) fn log_entry(entry: &Entry) -> LogEntry {
    LogEntry {
        index: LogIndex(entry.index),
        term: Term(entry.term),
        kind: entry.get_entry_type() as u8,
        data: entry.data.clone(),
    }
}

/// The configuration as raft keeps it.
pub(super) fn conf_state_of(voters: &[Member], learners: &[Member]) -> ConfState {
    ConfState {
        voters: voters.iter().map(|member| member.node.0).collect(),
        learners: learners.iter().map(|member| member.node.0).collect(),
        ..ConfState::default()
    }
}

/// Raft's view of a snapshot: only what it covers. The data goes beside raft.
pub(super) fn snapshot_of(meta: &SnapshotMeta) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = meta.index.0;
    metadata.term = meta.term.0;
    metadata.set_conf_state(conf_state_of(&meta.voters, &meta.learners));
    snapshot
}

fn header_of(meta: &SnapshotMeta) -> SnapshotHeader {
    let member = |member: &Member| peer::Member {
        node_id: member.node.0,
        disk_id: Bytes::copy_from_slice(&member.disk.0.to_be_bytes()),
    };
    SnapshotHeader {
        index: meta.index.0,
        term: meta.term.0,
        cluster_id: Bytes::copy_from_slice(&meta.cluster.0.to_be_bytes()),
        voters: meta.voters.iter().map(member).collect(),
        learners: meta.learners.iter().map(member).collect(),
    }
}

/// What a header says, unless an id is malformed.
pub fn meta_of(header: &SnapshotHeader) -> Option<SnapshotMeta> {
    let id = |bytes: &Bytes| Some(u128::from_be_bytes(bytes.as_ref().try_into().ok()?));
    let member = |member: &peer::Member| {
        Some(Member {
            node: NodeId(member.node_id),
            disk: DiskId(id(&member.disk_id)?),
        })
    };
    Some(SnapshotMeta {
        index: LogIndex(header.index),
        term: Term(header.term),
        cluster: ClusterId(id(&header.cluster_id)?),
        voters: header.voters.iter().map(member).collect::<Option<_>>()?,
        learners: header.learners.iter().map(member).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: View<'_> = View {
        node: NodeId(1),
        group: GroupId(0),
        cluster: ClusterId(7),
        peers: &[NodeId(2), NodeId(3)],
        term: 5,
        last: 10,
    };

    fn message(kind: MessageType) -> RaftMessage {
        RaftMessage {
            kind: kind as u32,
            to: 1,
            from: 2,
            term: 5,
            ..RaftMessage::default()
        }
    }

    fn entry(index: u64, term: u64) -> peer::Entry {
        peer::Entry {
            index,
            term,
            ..peer::Entry::default()
        }
    }

    fn dropped(m: &RaftMessage) -> bool {
        matches!(check(&VIEW, NodeId(2), m), Err(Refusal::Drop(_)))
    }

    #[test]
    fn nonsense_is_dropped_and_the_same_message_without_it_is_not() {
        let append = RaftMessage {
            index: 4,
            log_term: 3,
            entries: vec![entry(5, 3), entry(6, 5)],
            ..message(MessageType::MsgAppend)
        };
        assert_eq!(check(&VIEW, NodeId(2), &append), Ok(()));
        let bad: [RaftMessage; 17] = [
            RaftMessage {
                group: 1,
                ..append.clone()
            },
            RaftMessage {
                to: 3,
                ..append.clone()
            },
            RaftMessage {
                from: 3,
                ..append.clone()
            },
            RaftMessage {
                term: 0,
                ..append.clone()
            },
            RaftMessage {
                term: u64::MAX,
                ..append.clone()
            },
            RaftMessage {
                index: u64::MAX,
                ..append.clone()
            },
            RaftMessage {
                log_term: 0,
                ..append.clone()
            },
            RaftMessage {
                index: 0,
                ..append.clone()
            },
            RaftMessage {
                log_term: 6,
                ..append.clone()
            },
            RaftMessage {
                entries: vec![entry(6, 5)],
                ..append.clone()
            },
            RaftMessage {
                entries: vec![entry(5, 2)],
                ..append.clone()
            },
            RaftMessage {
                entries: vec![entry(5, 0)],
                ..append.clone()
            },
            RaftMessage {
                entries: vec![entry(5, 6)],
                ..append.clone()
            },
            RaftMessage {
                entries: vec![peer::Entry {
                    kind: 1,
                    ..entry(5, 5)
                }],
                ..append.clone()
            },
            RaftMessage {
                request_snapshot: 3,
                ..append.clone()
            },
            RaftMessage {
                kind: MessageType::MsgPropose as u32,
                ..append.clone()
            },
            RaftMessage {
                kind: 4711,
                ..append
            },
        ];
        for m in bad {
            assert!(dropped(&m), "{m:?}");
        }
        assert!(dropped(&RaftMessage {
            index: 11,
            ..message(MessageType::MsgAppendResponse)
        }));
        assert!(dropped(&RaftMessage {
            entries: vec![entry(1, 1)],
            ..message(MessageType::MsgHeartbeat)
        }));
        assert!(
            dropped(&message(MessageType::MsgSnapshot)),
            "without a header"
        );
        assert!(matches!(
            check(
                &VIEW,
                NodeId(9),
                &RaftMessage {
                    from: 9,
                    ..message(MessageType::MsgHeartbeat)
                }
            ),
            Err(Refusal::Drop(_))
        ));
    }

    #[test]
    fn a_leader_that_counts_on_lost_entries_is_fatal_unless_its_term_is_over() {
        let heartbeat = |term| RaftMessage {
            commit: 11,
            term,
            ..message(MessageType::MsgHeartbeat)
        };
        assert!(matches!(
            check(&VIEW, NodeId(2), &heartbeat(5)),
            Err(Refusal::Fatal(_))
        ));
        assert_eq!(check(&VIEW, NodeId(2), &heartbeat(4)), Ok(()));
    }

    #[test]
    fn messages_survive_the_way_to_raft_and_back() {
        let meta = SnapshotMeta {
            index: LogIndex(8),
            term: Term(4),
            cluster: ClusterId(7),
            voters: vec![Member {
                node: NodeId(1),
                disk: DiskId(3 << 70),
            }],
            learners: vec![Member {
                node: NodeId(4),
                disk: DiskId(9),
            }],
        };
        let m = RaftMessage {
            log_term: 2,
            index: 4,
            entries: vec![peer::Entry {
                index: 5,
                term: 2,
                kind: 0,
                data: Bytes::from_static(b"x"),
            }],
            commit: 3,
            commit_term: 2,
            reject: true,
            reject_hint: 9,
            context: Bytes::from_static(b"c"),
            priority: -1,
            wall_ms: 55,
            machine_level: 2,
            ..message(MessageType::MsgAppend)
        };
        assert_eq!(from_raft(to_raft(m.clone()), GroupId(0), 55, 2, None), m);
        let m = RaftMessage {
            snapshot: Some(header_of(&meta)),
            ..message(MessageType::MsgSnapshot)
        };
        assert_eq!(check(&VIEW, NodeId(2), &m), Ok(()));
        assert_eq!(m.snapshot.as_ref().and_then(meta_of), Some(meta.clone()));
        let back = from_raft(to_raft(m.clone()), GroupId(0), 0, 0, Some(&meta));
        assert_eq!(back, m);
    }
}
