//! The replica itself: what it holds, how it starts, when it wants to be called again.

use super::config::{Boot, BootError, Config};
use super::disk::Tickets;
use super::doubt::Doubt;
use super::entry::LoggedOp;
use super::input::RequestId;
use super::log_time::WallClocks;
use super::office::Office;
use super::output::{HardState, LogEntry, Member, Output, Status};
use super::parked::Lines;
use super::pending::{Pending, Waiter};
use super::reads::{Read, Reads};
use super::replicated::{Outcome, Replicated};
use super::window::Window;
use super::{snapshot, wire};
use crate::error::{Code, Error};
use crate::machine::Machine;
use crate::types::{LogIndex, Mono, NodeId, Now};
use raft::{RawNode, StateRole};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// One replica of one group. [`Replica::step`] takes inputs in, any number of them; [`Replica::turn`]
/// then does the work and gives the outputs.
pub struct Replica<M: Machine> {
    pub(super) config: Config,
    pub(super) raw: RawNode<Window>,
    pub(super) state: Replicated<M>,
    pub(super) voters: Vec<Member>,
    pub(super) learners: Vec<Member>,
    /// All members but this node.
    pub(super) peers: Vec<NodeId>,
    pub(super) tickets: Tickets,
    /// The hard state of the last write that was handed out.
    pub(super) written: HardState,
    /// The write that carries its term and vote.
    pub(super) vital: u64,
    /// Synced entries may be missing at the end of the log.
    pub(super) doubt: Option<Doubt>,
    /// The doubt is over, and the disk has not been told.
    pub(super) cleared: bool,
    pub(super) pending: Pending<M::Command>,
    pub(super) lines: Lines<M::Command>,
    pub(super) reads: Reads<M>,
    /// Term and index of the entry that opened the term this replica leads.
    pub(super) elected: Option<(u64, u64)>,
    /// Held while that entry is applied and the replica leads.
    pub(super) office: Option<Office<M>>,
    pub(super) walls: WallClocks,
    /// Newest machine level of each peer's build.
    pub(super) levels: BTreeMap<NodeId, u16>,
    pub(super) campaigns: u64,
    pub(super) ticks: u64,
    /// Commit index that the leader of this term named first.
    pub(super) contact: Option<(u64, u64)>,
    /// A write takes too long: no elections until the disk has caught up.
    pub(super) disk_stuck: bool,
    pub(super) snapshots: snapshot::Snapshots<M>,
    pub(super) last_call: Option<Mono>,
    pub(super) status: Option<Status>,
    pub(super) out: Vec<Output<M>>,
    pub(super) events: Vec<M::Event>,
    pub(super) outcomes: Vec<Outcome<M>>,
    /// The last turn left work over.
    pub(super) more: bool,
    pub(super) halted: bool,
}

impl<M: Machine> fmt::Debug for Replica<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("node", &self.config.node)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl<M: Machine> Replica<M> {
    /// A replica that starts from `boot`.
    pub fn new(config: Config, boot: Boot, now: Now) -> Result<Self, BootError> {
        let Boot {
            voters,
            learners,
            hard_state,
            entries,
            snapshot,
            slices,
            doubt,
        } = boot;
        let (voters, learners) = match &snapshot {
            Some(meta) => (meta.voters.clone(), meta.learners.clone()),
            None => (voters, learners),
        };
        let state = match &snapshot {
            Some(meta) => snapshot::restore::<M>(meta, &slices)?,
            None => Replicated::new(),
        };
        if state.level > M::LEVEL {
            return Err(BootError::NewerLevel {
                found: state.level,
                known: M::LEVEL,
            });
        }
        let mut nodes: Vec<NodeId> = voters
            .iter()
            .chain(&learners)
            .map(|member| member.node)
            .collect();
        nodes.sort_unstable();
        if !nodes.contains(&config.node) {
            return Err(BootError::NotAMember(config.node));
        }
        if nodes.windows(2).any(|pair| pair[0] == pair[1]) || voters.is_empty() {
            return Err(BootError::Inconsistent(
                "a node is a member twice, or there is no voter".to_owned(),
            ));
        }
        if doubt && voters.len() == 1 {
            return Err(BootError::NobodyToAsk);
        }
        let peers = nodes
            .into_iter()
            .filter(|node| *node != config.node)
            .collect();
        let conf = wire::conf_state_of(&voters, &learners);
        let (window, hard_state) = window_of(hard_state, conf, entries, snapshot)?;
        let raw = raw_node(&config, state.index, window)?;
        let reads = Reads::new(config.node, config.boot_nonce);
        let mut replica = Self {
            snapshots: snapshot::Snapshots::default(),
            config,
            raw,
            state,
            voters,
            learners,
            peers,
            tickets: Tickets::default(),
            written: hard_state,
            vital: 0,
            doubt: doubt.then(|| Doubt::new(hard_state.term)),
            cleared: false,
            pending: Pending::default(),
            lines: Lines::default(),
            reads,
            elected: None,
            office: None,
            walls: WallClocks::default(),
            levels: BTreeMap::new(),
            campaigns: 0,
            ticks: 0,
            contact: None,
            disk_stuck: false,
            last_call: Some(now.mono),
            status: None,
            out: Vec::new(),
            events: Vec::new(),
            outcomes: Vec::new(),
            more: true,
            halted: false,
        };
        if replica.voters.len() == 1 && replica.voters[0].node == replica.config.node {
            // Nobody else could lead, so there is nothing to wait for.
            replica.campaigns += 1;
            // Fails only for the messages of peers.
            let _ = replica.raw.campaign();
        }
        Ok(replica)
    }

    /// When [`Replica::turn`] should be called next, if not for an input: `now` when work is left
    /// over.
    pub fn next_wake(&self, now: Now) -> Option<Mono> {
        if self.halted {
            return None;
        }
        if self.more {
            return Some(now.mono);
        }
        let office = self
            .office
            .as_ref()
            .and_then(|office| self.next_duty(office, now));
        [self.lines.next_deadline(), self.next_slice(), office]
            .into_iter()
            .flatten()
            .min()
    }

    /// The summary that was last given out.
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// The machine's state, for observers in the same thread. What it shows is not linearizable.
    pub fn machine(&self) -> &M {
        &self.state.machine
    }

    pub(super) fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    pub(super) fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// Stops for good: nothing follows the reason.
    pub(super) fn halt(&mut self, reason: String) {
        if !self.halted {
            self.halted = true;
            self.out.push(Output::Fatal(reason));
        }
    }

    /// The refusal for what reached a node that does not lead: certainly not done.
    pub(super) fn no_quorum(&self) -> Error {
        let leader = self.raw.raft.leader_id;
        let detail = if self.is_leader() {
            "this node was just elected and is not ready; try again".to_owned()
        } else if leader == 0 {
            "there is no leader at present; try again".to_owned()
        } else {
            format!("this node does not lead, node {leader} does; try again")
        };
        Error::new(Code::NoQuorum, detail)
    }

    pub(super) fn reply_error(&mut self, id: RequestId, error: Error) {
        self.out.push(Output::Reply {
            id,
            result: Err(error),
            replayed: false,
        });
    }

    /// Tells whoever waits for an operation that it failed.
    pub(super) fn fail(&mut self, waiter: &Waiter, error: &Error) {
        match *waiter {
            Waiter::Own => {}
            Waiter::Reply(id) => self.reply_error(id, error.clone()),
            Waiter::Waiting { id, .. } => self.reply_error(id, error.clone()),
            Waiter::Stream(id) => self.out.push(Output::StreamOpened {
                id,
                result: Err(error.clone()),
            }),
        }
    }

    pub(super) fn fail_read(&mut self, read: &Read<M>, error: &Error) {
        let output = match read {
            Read::Query { id, .. } => Output::Answer {
                id: *id,
                result: Err(error.clone()),
            },
            Read::Renew { id, .. } => Output::Renewed {
                id: *id,
                result: Err(error.clone()),
            },
        };
        self.out.push(output);
    }

    /// Lets an operation wait for the next entry.
    pub(super) fn enqueue(&mut self, op: LoggedOp<M::Command>, waiter: Waiter) {
        if let Waiter::Waiting { id, .. } = &waiter {
            self.lines.proposed(*id);
        }
        if let Err(waiter) = self.pending.push(&self.config, op, waiter) {
            self.refuse_size(&waiter);
        }
    }

    /// Refuses an operation that is too large to be logged.
    pub(super) fn refuse_size(&mut self, waiter: &Waiter) {
        let error = Error::new(
            Code::TooLarge,
            format!(
                "an operation may have {} bytes; split it, or keep large content in blobs",
                self.config.op_bytes_max
            ),
        );
        if let Waiter::Waiting { id, place, .. } = waiter {
            self.lines.found(*id, place.as_ref());
        }
        self.fail(waiter, &error);
    }
}

/// The log window of what was found on the disk.
fn window_of(
    hard_state: HardState,
    conf: raft::eraftpb::ConfState,
    entries: Vec<LogEntry>,
    snapshot: Option<super::output::SnapshotMeta>,
) -> Result<(Window, HardState), BootError> {
    let inconsistent = |what: String| Err(BootError::Inconsistent(what));
    let covered = snapshot
        .as_ref()
        .map_or((0, 0), |meta| (meta.index.0, meta.term.0));
    let mut entries: VecDeque<_> = entries
        .into_iter()
        .map(|entry| {
            if entry.kind == 0 {
                Ok(wire::raft_entry(entry.index.0, entry.term.0, entry.data))
            } else {
                Err(BootError::Inconsistent(format!(
                    "entry {} is of an unknown kind",
                    entry.index
                )))
            }
        })
        .collect::<Result<_, _>>()?;
    // Raft wants to know the term before the first entry; where it is not the snapshot's, the first
    // entry is spent for it.
    let base = match entries.front().map(|first| (first.index, first.term)) {
        None => covered,
        Some((index, _)) if index == covered.0 + 1 => covered,
        Some((1, _)) => (0, 0),
        Some(first) => {
            entries.pop_front();
            first
        }
    };
    if base.0 > covered.0 {
        return inconsistent(format!(
            "the log begins at {} but the snapshot ends at {}",
            base.0, covered.0
        ));
    }
    let mut previous = base;
    for entry in &entries {
        if entry.index != previous.0 + 1 || entry.term < previous.1 || entry.term == 0 {
            return inconsistent(format!(
                "entry {} of term {} follows entry {} of term {}",
                entry.index, entry.term, previous.0, previous.1
            ));
        }
        previous = (entry.index, entry.term);
    }
    if previous.0 < covered.0 {
        // The log ends within the snapshot: nothing of it is needed.
        entries.clear();
        previous = covered;
    }
    let base = if entries.is_empty() { covered } else { base };
    let commit = hard_state.commit.max(LogIndex(covered.0));
    if commit.0 > previous.0 {
        return Err(BootError::LostEntries {
            last: LogIndex(previous.0),
            commit,
        });
    }
    if hard_state.term.0 < previous.1 {
        return inconsistent(format!(
            "the log reaches term {} but the hard state is of term {}",
            previous.1, hard_state.term
        ));
    }
    let raft_state = raft::eraftpb::HardState {
        term: hard_state.term.0,
        vote: hard_state.vote.0,
        commit: commit.0,
        ..Default::default()
    };
    Ok((
        Window::new(raft_state, conf, base, entries, snapshot),
        HardState {
            commit,
            ..hard_state
        },
    ))
}

fn raw_node(
    config: &Config,
    applied: LogIndex,
    window: Window,
) -> Result<RawNode<Window>, BootError> {
    let raft = raft::Config {
        id: config.node.0,
        election_tick: config.election_ticks_min,
        min_election_tick: config.election_ticks_min,
        max_election_tick: config.election_ticks_max,
        heartbeat_tick: 1,
        applied: applied.0,
        max_size_per_msg: config.append_bytes_max,
        max_inflight_msgs: config.appends_in_flight_max,
        check_quorum: true,
        pre_vote: true,
        read_only_option: raft::ReadOnlyOption::Safe,
        // Followers learn of a commit with the next entry or heartbeat: saves a message each.
        skip_bcast_commit: true,
        max_uncommitted_size: config.uncommitted_bytes_max,
        max_committed_size_per_ready: config.apply_bytes_max,
        ..raft::Config::default()
    };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    RawNode::new(&raft, window, &logger).map_err(|error| BootError::Config(error.to_string()))
}
