//! A bus: replicas on one thread, with a simulated clock, network and disk. Everything random comes
//! from one seed.

use super::counter::{Command, Counter, Event, Reply};
use crate::error::Error;
use crate::machine::{Op, OpKey, Origin};
use crate::replica::hash;
use crate::replica::*;
use crate::types::{
    ClusterId, DiskId, FencingToken, GroupId, LogIndex, Mono, Name, NodeId, Now, Principal, Term,
};
use quorate_proto::peer::RaftMessage;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

const MS: u64 = 1_000_000;
/// The wall clock at the beginning.
pub(super) const WALL_MS: u64 = 1_700_000_000_000;

/// A generator with a fixed definition.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(hash::mix(seed ^ 0x5eed))
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash::mix(self.0) % n
    }

    pub(super) fn permille(&mut self, p: u64) -> bool {
        self.below(1000) < p
    }
}

/// What one node's disk holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) boot: Boot,
    files: BTreeMap<LogIndex, (SnapshotMeta, Vec<Vec<u8>>)>,
    open: Option<(SnapshotMeta, Vec<Vec<u8>>)>,
    pub(super) writes: u64,
}

impl Disk {
    fn write(&mut self, write: Write) {
        self.writes += 1;
        if let Some(meta) = write.snapshot {
            let (_, slices) = self
                .files
                .get(&meta.index)
                .expect("a snapshot is stored before the log names it");
            self.boot.slices = slices.clone();
            self.boot.snapshot = Some(meta);
        }
        if write.restart {
            self.boot.entries.clear();
        }
        if let Some(first) = write.entries.first() {
            self.boot.entries.retain(|entry| entry.index < first.index);
            if let Some(last) = self.boot.entries.last() {
                assert_eq!(last.index.0 + 1, first.index.0, "the log stays contiguous");
            }
        }
        self.boot.entries.extend(write.entries);
        self.boot.doubt &= !write.cleared;
        if let Some(to) = write.compact_to {
            self.boot.entries.retain(|entry| entry.index > to);
        }
        if let Some(state) = write.hard_state {
            assert!(
                state.term >= self.boot.hard_state.term,
                "terms never go back"
            );
            self.boot.hard_state = state;
        }
        let covered = self
            .boot
            .snapshot
            .as_ref()
            .map_or(LogIndex(0), |meta| meta.index);
        let last = self
            .boot
            .entries
            .last()
            .map_or(covered, |entry| entry.index.max(covered));
        let commit = self.boot.hard_state.commit;
        assert!(
            commit <= last,
            "the disk knows {commit} to be committed and holds {last}"
        );
    }
}

#[derive(Debug)]
enum Happening {
    Tick(usize, u64),
    Deliver {
        to: usize,
        message: RaftMessage,
    },
    Snapshot {
        from: usize,
        to: usize,
        message: RaftMessage,
        slices: Vec<Vec<u8>>,
        lost: bool,
    },
    Sent {
        from: usize,
        life: u64,
        to: NodeId,
        ok: bool,
    },
    Persisted {
        node: usize,
        life: u64,
    },
    Stored {
        node: usize,
        life: u64,
    },
    NotStored {
        node: usize,
        life: u64,
    },
    Wake(usize, u64),
}

pub(super) struct Node {
    pub(super) replica: Option<Replica<Counter>>,
    pub(super) disk: Disk,
    writes: VecDeque<(u64, Write)>,
    life: u64,
    woken_for: Option<u64>,
    pub(super) status: Option<Status>,
    pub(super) wall_ahead_ms: u64,
    pub(super) disk_delay: u64,
    pub(super) events: Vec<Event>,
    pub(super) fatal: Option<String>,
    /// The process stands still until then; what arrives waits for it.
    paused_until: u64,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Reply(Result<Reply, Error>, bool),
    Answer(Result<u64, Error>),
    Renewed(Result<bool, Error>),
    Stream(Result<u64, Error>),
}

impl Outcome {
    pub(super) fn reply(&self) -> Reply {
        match self {
            Self::Reply(Ok(reply), _) => reply.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn error(&self) -> Option<&Error> {
        match self {
            Self::Reply(Err(error), _)
            | Self::Answer(Err(error))
            | Self::Renewed(Err(error))
            | Self::Stream(Err(error)) => Some(error),
            _ => None,
        }
    }
}

/// A cluster.
pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    pub(super) now: u64,
    pub(super) dice: Dice,
    seed: u64,
    happenings: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    pub(super) delay: std::ops::Range<u64>,
    pub(super) drop_permille: u64,
    pub(super) cut: BTreeSet<usize>,
    pub(super) outcomes: BTreeMap<RequestId, (Outcome, u64)>,
    /// Requests by the node and its life they were made at.
    pub(super) asked: BTreeMap<RequestId, (usize, u64)>,
    last_id: u64,
    pub(super) trace: u64,
    tune: fn(&mut Config),
    pub(super) snapshots_sent: u64,
    /// So many snapshots cannot be written.
    pub(super) failing_snapshots: u32,
    /// How many inputs of a thousand wait for the next one's turn.
    pub(super) lazy_permille: u64,
    /// A node whose build is older than it is.
    pub(super) old_build: Option<(usize, u32)>,
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn client(command: Command) -> Op<Command> {
    keyed(command, None)
}

pub(super) fn keyed(command: Command, key: Option<OpKey>) -> Op<Command> {
    Op {
        origin: Origin::Client {
            principal: Principal::anonymous(),
            key,
        },
        command,
    }
}

impl Cluster {
    pub(super) fn new(nodes: usize, seed: u64) -> Self {
        Self::tuned(nodes, seed, |_| {})
    }

    pub(super) fn tuned(count: usize, seed: u64, tune: fn(&mut Config)) -> Self {
        let voters: Vec<Member> = (1..=count as u64)
            .map(|n| Member {
                node: NodeId(n),
                disk: DiskId(u128::from(n)),
            })
            .collect();
        let nodes = (0..count)
            .map(|_| Node {
                replica: None,
                disk: Disk {
                    boot: Boot {
                        voters: voters.clone(),
                        ..Boot::default()
                    },
                    ..Disk::default()
                },
                writes: VecDeque::new(),
                life: 0,
                woken_for: None,
                status: None,
                wall_ahead_ms: 0,
                disk_delay: MS / 5,
                events: Vec::new(),
                fatal: None,
                paused_until: 0,
            })
            .collect();
        let mut cluster = Self {
            nodes,
            now: 1_000 * MS,
            dice: Dice::new(seed),
            seed,
            happenings: BTreeMap::new(),
            sequence: 0,
            delay: MS / 20..MS / 4,
            drop_permille: 0,
            cut: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_id: 0,
            trace: 0,
            tune,
            snapshots_sent: 0,
            failing_snapshots: 0,
            lazy_permille: 0,
            old_build: None,
        };
        (0..count).for_each(|node| cluster.start(node));
        cluster
    }

    pub(super) fn clock(&self, node: usize) -> Now {
        let wall_ms = WALL_MS + self.now / MS + self.nodes[node].wall_ahead_ms;
        // Monotonic clocks of different nodes have nothing to do with each other.
        Now {
            mono: Mono(self.now + (node as u64 + 1) * 77_777_777_777),
            wall_ms,
        }
    }

    fn schedule(&mut self, at: u64, happening: Happening) {
        self.sequence += 1;
        self.happenings.insert((at, self.sequence), happening);
    }

    /// Starts a node from what its disk holds.
    pub(super) fn start(&mut self, node: usize) {
        self.try_start(node).expect("the disk is good");
    }

    pub(super) fn try_start(&mut self, node: usize) -> Result<(), BootError> {
        let life = self.nodes[node].life + 1;
        let mut config = Config::new(
            NodeId(node as u64 + 1),
            GroupId(0),
            ClusterId(9),
            self.seed,
            life,
        );
        (self.tune)(&mut config);
        let now = self.clock(node);
        let replica = Replica::new(config, self.nodes[node].disk.boot.clone(), now)?;
        let it = &mut self.nodes[node];
        it.life = life;
        it.replica = Some(replica);
        it.woken_for = None;
        it.writes.clear();
        let first = self.now + self.dice.below(50) * MS;
        self.schedule(first, Happening::Tick(node, life));
        self.turn(node);
        Ok(())
    }

    /// The last `lost` entries on the disk of a dead node are gone, as its log finds when it opens.
    pub(super) fn damage(&mut self, node: usize, lost: usize) {
        let boot = &mut self.nodes[node].disk.boot;
        boot.entries.truncate(boot.entries.len() - lost);
        let last = boot.entries.last().expect("some are left").index;
        boot.hard_state = HardState {
            term: Term(boot.hard_state.term.0 + 1),
            vote: NodeId(0),
            commit: boot.hard_state.commit.min(last),
        };
        boot.doubt = true;
    }

    /// Kills a node: of the writes under way a prefix may have reached the disk.
    pub(super) fn kill(&mut self, node: usize) {
        let kept = self.dice.below(self.nodes[node].writes.len() as u64 + 1);
        let it = &mut self.nodes[node];
        for _ in 0..kept {
            let (_, write) = it.writes.pop_front().unwrap();
            it.disk.write(write);
        }
        it.writes.clear();
        it.disk.open = None;
        it.replica = None;
        it.status = None;
        it.life += 1;
    }

    pub(super) fn is_up(&self, node: usize) -> bool {
        self.nodes[node].replica.is_some()
    }

    /// The node that leads and is ready, if exactly one of the newest term does.
    pub(super) fn leader(&self) -> Option<usize> {
        let ready = |node: &usize| {
            let status = self.nodes[*node].status.as_ref();
            status.is_some_and(|status| status.role == Role::Leader && status.ready)
                && !self.cut.contains(node)
        };
        (0..self.nodes.len())
            .filter(ready)
            .max_by_key(|node| self.nodes[*node].status.as_ref().map(|status| status.term))
    }

    /// Runs until there is a leader that serves.
    pub(super) fn elect(&mut self) -> usize {
        self.run_until(Duration::from_secs(10), |cluster| {
            cluster.leader().is_some()
        });
        self.leader().expect("a leader within 10 s")
    }

    pub(super) fn run_until(&mut self, at_most: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + u64::try_from(at_most.as_nanos()).unwrap();
        while !done(self) {
            match self.happenings.first_key_value() {
                Some(((at, _), _)) if *at <= end => self.happen(),
                _ => {
                    self.now = end;
                    return done(self);
                }
            }
        }
        true
    }

    pub(super) fn run(&mut self, ms: u64) {
        self.run_until(Duration::from_millis(ms), |_| false);
    }

    fn happen(&mut self) {
        let ((at, _), happening) = self.happenings.pop_first().expect("there is one");
        self.now = self.now.max(at);
        let node = match &happening {
            Happening::Tick(node, _) | Happening::Wake(node, _) => *node,
            Happening::Deliver { to, .. } | Happening::Snapshot { to, .. } => *to,
            Happening::Sent { from, .. } => *from,
            Happening::Persisted { node, .. }
            | Happening::Stored { node, .. }
            | Happening::NotStored { node, .. } => *node,
        };
        if self.nodes[node].paused_until > self.now {
            return self.schedule(self.nodes[node].paused_until, happening);
        }
        match happening {
            Happening::Tick(node, life) => {
                if self.nodes[node].life == life && self.is_up(node) {
                    self.schedule(self.now + 50 * MS, Happening::Tick(node, life));
                    self.input(node, Input::Tick);
                }
            }
            Happening::Deliver { to, message } => {
                let from = NodeId(message.from);
                self.input(to, Input::Message { from, message });
            }
            Happening::Snapshot {
                from,
                to,
                message,
                slices,
                lost,
            } => {
                let life = self.nodes[from].life;
                let ok = self.is_up(to) && !lost;
                let after = self.now + self.delay.start;
                self.schedule(
                    after,
                    Happening::Sent {
                        from,
                        life,
                        to: NodeId(to as u64 + 1),
                        ok,
                    },
                );
                if ok {
                    let meta = snapshot_meta(&message);
                    self.nodes[to]
                        .disk
                        .files
                        .insert(meta.index, (meta, slices.clone()));
                    self.input(
                        to,
                        Input::SnapshotReceived {
                            from: NodeId(message.from),
                            message,
                            slices,
                        },
                    );
                }
            }
            Happening::Sent { from, life, to, ok } => {
                if self.nodes[from].life == life {
                    self.input(from, Input::SnapshotSent { to, ok });
                }
            }
            Happening::Persisted { node, life } => {
                if self.nodes[node].life == life {
                    let (ticket, write) = self.nodes[node]
                        .writes
                        .pop_front()
                        .expect("a write was scheduled");
                    self.nodes[node].disk.write(write);
                    self.input(node, Input::Persisted { ticket });
                }
            }
            Happening::Stored { node, life } => {
                if self.nodes[node].life == life
                    && let Some((meta, slices)) = self.nodes[node].disk.open.take()
                {
                    self.nodes[node]
                        .disk
                        .files
                        .insert(meta.index, (meta.clone(), slices));
                    self.input(node, Input::SnapshotStored(meta));
                }
            }
            Happening::NotStored { node, life } => {
                if self.nodes[node].life == life {
                    self.input(node, Input::SnapshotFailed);
                }
            }
            Happening::Wake(node, at) => {
                if self.is_up(node) && (self.nodes[node].woken_for == Some(at) || at < self.now) {
                    self.nodes[node].woken_for = None;
                    self.turn(node);
                }
            }
        }
    }

    /// Hands an input to a node and takes its turn.
    pub(super) fn input(&mut self, node: usize, input: Input<Counter>) {
        let now = self.clock(node);
        if let Some(replica) = &mut self.nodes[node].replica {
            self.trace = hash::fold_bytes(
                self.trace,
                format!("{node} {} {input:?}", self.now).as_bytes(),
            );
            replica.step(now, input);
            if self.lazy_permille > 0 && self.dice.permille(self.lazy_permille) {
                let at = self.now + MS / 10;
                self.nodes[node].woken_for = Some(at);
                self.schedule(at, Happening::Wake(node, at));
            } else {
                self.turn(node);
            }
        }
    }

    fn turn(&mut self, node: usize) {
        let now = self.clock(node);
        let mut outputs = Vec::new();
        let Some(replica) = &mut self.nodes[node].replica else {
            return;
        };
        replica.turn(now, &mut outputs);
        if let Some(wake) = replica.next_wake(now) {
            let offset = now.mono.0 - self.now;
            let at = (wake.0 - offset).max(self.now + 10_000);
            let earlier = self.nodes[node]
                .woken_for
                .is_none_or(|before| at < before || before <= self.now);
            if earlier {
                self.nodes[node].woken_for = Some(at);
                self.schedule(at, Happening::Wake(node, at));
            }
        }
        for output in outputs {
            self.trace = hash::fold_bytes(self.trace, format!("{output:?}").as_bytes());
            self.carry_out(node, output);
        }
    }

    fn carry_out(&mut self, node: usize, output: Output<Counter>) {
        let life = self.nodes[node].life;
        match output {
            Output::Persist { ticket, write } => {
                if let Some((last, _)) = self.nodes[node].writes.back() {
                    assert!(*last < ticket, "tickets rise");
                }
                let queued = self.nodes[node].writes.len() as u64 + 1;
                self.nodes[node].writes.push_back((ticket, write));
                let at = self.now + self.nodes[node].disk_delay * queued;
                self.schedule(at, Happening::Persisted { node, life });
            }
            Output::Send { to, message } => self.send(node, to, message),
            Output::SendSnapshot { to, message, meta } => {
                self.snapshots_sent += 1;
                let (_, slices) = self.nodes[node]
                    .disk
                    .files
                    .get(&meta.index)
                    .expect("only stored snapshots are sent")
                    .clone();
                let to = to.0 as usize - 1;
                let lost = self.dice.permille(self.drop_permille)
                    || self.cut.contains(&node)
                    || self.cut.contains(&to);
                let at = self.now + 20 * MS;
                self.schedule(
                    at,
                    Happening::Snapshot {
                        from: node,
                        to,
                        message,
                        slices,
                        lost,
                    },
                );
            }
            Output::SnapshotBegin(meta) => self.nodes[node].disk.open = Some((meta, Vec::new())),
            Output::SnapshotSlice(slice) => {
                let open = self.nodes[node]
                    .disk
                    .open
                    .as_mut()
                    .expect("slices follow a beginning");
                open.1.push(slice);
            }
            Output::SnapshotEnd if self.failing_snapshots > 0 => {
                self.failing_snapshots -= 1;
                self.nodes[node].disk.open = None;
                self.schedule(self.now + 3 * MS, Happening::NotStored { node, life });
            }
            Output::SnapshotEnd => {
                self.schedule(self.now + 3 * MS, Happening::Stored { node, life });
            }
            Output::Reply {
                id,
                result,
                replayed,
            } => self.outcome(id, Outcome::Reply(result, replayed)),
            Output::Answer { id, result } => self.outcome(id, Outcome::Answer(result)),
            Output::Renewed { id, result } => self.outcome(id, Outcome::Renewed(result)),
            Output::StreamOpened { id, result } => self.outcome(id, Outcome::Stream(result)),
            Output::Event(event) => self.nodes[node].events.push(event),
            Output::Status(status) => self.nodes[node].status = Some(status),
            Output::Fatal(reason) => self.nodes[node].fatal = Some(reason),
        }
    }

    fn send(&mut self, from: usize, to: NodeId, mut message: RaftMessage) {
        let to = to.0 as usize - 1;
        if let Some((_, level)) = self.old_build.filter(|(node, _)| *node == from) {
            message.machine_level = level;
        }
        let lost = self.cut.contains(&from)
            || self.cut.contains(&to)
            || self.dice.permille(self.drop_permille);
        let spread = self.delay.end - self.delay.start;
        let at = self.now + self.delay.start + self.dice.below(spread);
        if !lost {
            self.schedule(at, Happening::Deliver { to, message });
        }
    }

    fn outcome(&mut self, id: RequestId, outcome: Outcome) {
        assert!(self.asked.contains_key(&id), "nobody asked {id:?}");
        let before = self.outcomes.insert(id, (outcome, self.now));
        assert!(
            before.is_none(),
            "one outcome for each request: {id:?} had {before:?}"
        );
    }

    pub(super) fn id(&mut self, node: usize) -> RequestId {
        self.last_id += 1;
        let id = RequestId(self.last_id);
        self.asked.insert(id, (node, self.nodes[node].life));
        id
    }

    pub(super) fn propose(
        &mut self,
        node: usize,
        op: Op<Command>,
        wait_ms: Option<u64>,
    ) -> RequestId {
        let id = self.id(node);
        let wait_until = wait_ms.map(|ms| self.clock(node).mono + Duration::from_millis(ms));
        self.input(node, Input::Propose(Proposal { id, op, wait_until }));
        id
    }

    pub(super) fn query(&mut self, node: usize, counter: &str) -> RequestId {
        let id = self.id(node);
        self.input(
            node,
            Input::Query {
                id,
                query: name(counter),
            },
        );
        id
    }

    pub(super) fn renew(&mut self, node: usize, lease: FencingToken) -> RequestId {
        let id = self.id(node);
        self.input(node, Input::Renew { id, renewal: lease });
        id
    }

    /// Runs until the request has its outcome.
    pub(super) fn wait(&mut self, id: RequestId) -> Outcome {
        self.run_until(Duration::from_secs(20), |cluster| {
            cluster.outcomes.contains_key(&id)
        });
        self.outcomes
            .get(&id)
            .map(|(outcome, _)| outcome.clone())
            .unwrap_or_else(|| panic!("{id:?} has no outcome"))
    }

    /// Proposes at the leader and waits.
    pub(super) fn execute(&mut self, op: Op<Command>) -> Outcome {
        let leader = self.elect();
        let id = self.propose(leader, op, None);
        self.wait(id)
    }

    /// Asks the leader and waits.
    pub(super) fn get(&mut self, counter: &str) -> u64 {
        let leader = self.elect();
        let id = self.query(leader, counter);
        match self.wait(id) {
            Outcome::Answer(Ok(value)) => value,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn applied(&self, node: usize) -> u64 {
        self.nodes[node]
            .status
            .as_ref()
            .map_or(0, |status| status.applied.0)
    }

    /// Stops a node's process for so long.
    pub(super) fn pause(&mut self, node: usize, ms: u64) {
        self.nodes[node].paused_until = self.now + ms * MS;
    }

    /// How often this node was started or killed.
    pub(super) fn life(&self, node: usize) -> u64 {
        self.nodes[node].life
    }

    /// What the node has applied, and the hash of its state.
    pub(super) fn hash(&self, node: usize) -> (LogIndex, u64) {
        self.nodes[node]
            .replica
            .as_ref()
            .expect("it is up")
            .state
            .hash()
    }

    /// No node stopped.
    pub(super) fn assert_healthy(&self) {
        for (node, it) in self.nodes.iter().enumerate() {
            assert_eq!(it.fatal, None, "node {}", node + 1);
        }
    }
}

fn snapshot_meta(message: &RaftMessage) -> SnapshotMeta {
    message
        .snapshot
        .as_ref()
        .and_then(crate::replica::wire::meta_of)
        .expect("a header")
}
