//! No message of a peer, in whatever order and however wrong, makes a replica panic.

use super::cluster::{client, name};
use super::counter::{Command, Counter};
use crate::replica::*;
use crate::types::{ClusterId, DiskId, GroupId, LogIndex, Mono, NodeId, Now, Term};
use bytes::Bytes;
use proptest::prelude::*;
use quorate_proto::peer::{self, RaftMessage, SnapshotHeader};

#[derive(Clone, Debug)]
enum Step {
    Message(NodeId, Box<RaftMessage>),
    Snapshot(NodeId, Box<RaftMessage>, bool),
    Ticks(u8),
    Persisted,
    Propose,
    Query,
    Turn,
}

fn entries() -> impl Strategy<Value = Vec<peer::Entry>> {
    let entry = (0..14_u64, 0..6_u64, 0..20_u32);
    let wild = prop::collection::vec(entry, 0..3).prop_map(|entries| {
        let entry = |(index, term, kind): (u64, u64, u32)| peer::Entry {
            index,
            term,
            kind: kind / 19,
            data: Bytes::new(),
        };
        entries.into_iter().map(entry).collect()
    });
    // Contiguous ones get further in.
    let tame = (0..12_u64, 1..6_u64, 0..4_u64).prop_map(|(index, term, count)| {
        (1..=count)
            .map(|n| peer::Entry {
                index: index + n,
                term,
                kind: 0,
                data: Bytes::new(),
            })
            .collect()
    });
    prop_oneof![1 => wild, 4 => tame]
}

fn message() -> impl Strategy<Value = Box<RaftMessage>> {
    let numbers = (
        0..7_u64,
        0..6_u64,
        0..14_u64,
        0..16_u64,
        0..6_u64,
        0..14_u64,
    );
    let header = prop::option::weighted(0.1, (0..14_u64, 0..6_u64, 1..4_u64));
    (
        0..20_u32,
        1..4_u64,
        numbers,
        entries(),
        any::<bool>(),
        header,
        0..40_u32,
    )
        .prop_map(
            |(
                kind,
                from,
                (term, log_term, index, commit, commit_term, reject_hint),
                entries,
                reject,
                header,
                odd,
            )| {
                let append = kind == 3;
                // Now and then an append that fits its entries, or a number that is out of all range.
                let index = if append && odd > 2 {
                    entries
                        .first()
                        .map_or(index, |entry| entry.index.saturating_sub(1))
                } else {
                    index
                };
                let member = |node_id| peer::Member {
                    node_id,
                    disk_id: Bytes::from_static(&[1; 16]),
                };
                Box::new(RaftMessage {
                    kind,
                    to: 1,
                    from,
                    term: if odd == 0 { u64::MAX } else { term },
                    log_term: if index == 0 { 0 } else { log_term },
                    index: if odd == 1 { u64::MAX - 1 } else { index },
                    entries: if append || odd == 2 {
                        entries
                    } else {
                        Vec::new()
                    },
                    commit,
                    commit_term,
                    reject,
                    reject_hint,
                    context: if odd == 3 {
                        Bytes::from_static(b"CampaignTransfer")
                    } else {
                        Bytes::new()
                    },
                    snapshot: (kind == 7).then_some(header).flatten().map(
                        |(index, term, nodes)| SnapshotHeader {
                            index,
                            term,
                            cluster_id: Bytes::copy_from_slice(&9_u128.to_be_bytes()),
                            voters: (1..=nodes).map(member).collect(),
                            learners: Vec::new(),
                        },
                    ),
                    wall_ms: 1_700_000_000_000,
                    machine_level: odd,
                    ..RaftMessage::default()
                })
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => message().prop_map(|message| Step::Message(NodeId(message.from), message)),
        1 => message().prop_map(|message| Step::Message(NodeId(3), message)),
        1 => (message(), any::<bool>()).prop_map(|(message, good)| Step::Snapshot(NodeId(message.from), message, good)),
        2 => (1..8_u8).prop_map(Step::Ticks),
        4 => Just(Step::Persisted),
        1 => Just(Step::Propose),
        1 => Just(Step::Query),
        6 => Just(Step::Turn),
    ]
}

/// A snapshot of this index and term that restores.
fn good_slices(message: &RaftMessage) -> Vec<Vec<u8>> {
    let Some(header) = &message.snapshot else {
        return Vec::new();
    };
    let mut state = replicated::Replicated::<Counter>::new();
    state.index = LogIndex(header.index);
    state.term = Term(header.term);
    let mut slices = vec![state.snapshot_begin()];
    slices.extend(std::iter::from_fn(|| state.snapshot_slice(1000)));
    slices
}

fn member(node: u64) -> Member {
    Member {
        node: NodeId(node),
        disk: DiskId(u128::from(node)),
    }
}

fn run(steps: Vec<Step>) -> Option<Status> {
    let config = Config::new(NodeId(1), GroupId(0), ClusterId(9), 1, 1);
    let entries = (1..=4).map(|index| LogEntry {
        index: LogIndex(index),
        term: Term(1 + index / 3),
        kind: 0,
        data: Bytes::new(),
    });
    let boot = Boot {
        voters: (1..=3).map(member).collect(),
        hard_state: HardState {
            term: Term(2),
            vote: NodeId(0),
            commit: LogIndex(2),
        },
        entries: entries.collect(),
        ..Boot::default()
    };
    let mut now = Now {
        mono: Mono(1_000_000),
        wall_ms: 1_700_000_000_000,
    };
    let mut replica = Replica::<Counter>::new(config, boot, now).unwrap();
    let (mut out, mut tickets, mut id) = (Vec::new(), Vec::new(), 0);
    for step in steps {
        now.mono = now.mono + std::time::Duration::from_millis(5);
        match step {
            Step::Message(from, message) => replica.step(
                now,
                Input::Message {
                    from,
                    message: *message,
                },
            ),
            Step::Snapshot(from, message, good) => {
                let slices = if good {
                    good_slices(&message)
                } else {
                    vec![vec![0, 1, 2]]
                };
                replica.step(
                    now,
                    Input::SnapshotReceived {
                        from,
                        message: *message,
                        slices,
                    },
                );
            }
            Step::Ticks(n) => (0..n).for_each(|_| replica.step(now, Input::Tick)),
            Step::Persisted => {
                if !tickets.is_empty() {
                    replica.step(
                        now,
                        Input::Persisted {
                            ticket: tickets.remove(0),
                        },
                    );
                }
            }
            Step::Propose => {
                id += 1;
                let op = client(Command::Add(name("a"), 1));
                replica.step(
                    now,
                    Input::Propose(Proposal {
                        id: RequestId(id),
                        op,
                        wait_until: None,
                    }),
                );
            }
            Step::Query => {
                id += 1;
                replica.step(
                    now,
                    Input::Query {
                        id: RequestId(id),
                        query: name("a"),
                    },
                );
            }
            Step::Turn => replica.turn(now, &mut out),
        }
        for output in out.drain(..) {
            match output {
                Output::Persist { ticket, .. } => tickets.push(ticket),
                Output::Fatal(_) => return replica.status().cloned(),
                _ => {}
            }
        }
    }
    replica.status().cloned()
}

#[test]
fn a_snapshot_that_makes_this_node_the_only_voter_starts_no_election_before_it_is_synced() {
    let header = SnapshotHeader {
        index: 3,
        term: 3,
        cluster_id: Bytes::copy_from_slice(&9_u128.to_be_bytes()),
        voters: vec![peer::Member {
            node_id: 1,
            disk_id: Bytes::from_static(&[1; 16]),
        }],
        learners: Vec::new(),
    };
    let message = RaftMessage {
        kind: 7,
        to: 1,
        from: 2,
        term: 4,
        snapshot: Some(header),
        ..RaftMessage::default()
    };
    let snapshot = || Step::Snapshot(NodeId(2), Box::new(message.clone()), true);
    assert_ne!(
        run(vec![snapshot(), Step::Ticks(8), Step::Turn]).map(|status| status.role),
        Some(Role::Leader)
    );
    let synced = vec![
        snapshot(),
        Step::Turn,
        Step::Persisted,
        Step::Ticks(8),
        Step::Turn,
    ];
    assert_eq!(run(synced).map(|status| status.role), Some(Role::Leader));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn nonsense_never_panics(steps in prop::collection::vec(step(), 1..80)) {
        run(steps);
    }
}
