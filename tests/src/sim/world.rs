//! The simulated universe: one queue of events in true time.

use super::actors::{Actor, Batcher, Call, CallResult, Effects, Producer, Reader, Signal, Worker};
use super::faults::Faults;
use super::ledger::{Ledger, True};
use super::network::Network;
use super::node::{CLUSTER, Clock, DiskWork, SimNode};
use super::report::Report;
use super::rng::Rng;
use super::store::Store;
use quorate_core::log::SimDisk;
use quorate_core::machine::{Op, Origin};
use quorate_core::replica::{
    Input, Member, Output, Proposal, RequestId, Role, SnapshotMeta, Status,
};
use quorate_core::types::{DiskId, NodeId, Principal};
use quorate_proto::peer::RaftMessage;
use quorate_work_queue::machine::QueueMachine;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// True time with faults.
    pub faulty_ms: u64,
    /// True time without, at the most, until everything must have come good.
    pub calm_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            faulty_ms: 8_000,
            calm_ms: 30_000,
        }
    }
}

const MS: u64 = 1_000_000;

#[derive(Debug)]
enum Event {
    /// A message reaches a node.
    Deliver {
        to: NodeId,
        from: NodeId,
        message: RaftMessage,
    },
    /// A snapshot has been transferred to a node.
    Transferred {
        to: NodeId,
        from: NodeId,
        message: RaftMessage,
        meta: SnapshotMeta,
        slices: Vec<Vec<u8>>,
    },
    /// A transfer ended at the sender.
    TransferEnded {
        node: NodeId,
        incarnation: u64,
        to: NodeId,
        ok: bool,
    },
    /// A node's timer.
    Wake {
        node: NodeId,
        incarnation: u64,
    },
    /// A node's disk has done what was queued when it began.
    DiskDone {
        node: NodeId,
        incarnation: u64,
    },
    /// A dead node starts.
    Restart {
        node: NodeId,
    },
    /// A call of an actor reaches a node.
    Call {
        node: NodeId,
        actor: usize,
        life: u64,
        number: u64,
        call: Call,
    },
    /// Something reaches an actor.
    Signal {
        actor: usize,
        life: u64,
        signal: Signal,
    },
    /// Faults strike.
    Crash,
    Partition,
    Heal,
    Pause,
    WorkerCrash,
    WallJump,
    /// The faulty phase is over.
    Calm,
}

struct Scheduled(True, u64, Event);

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

struct Inhabitant {
    actor: Actor,
    clock: Clock,
    life: u64,
}

struct World {
    seed: u64,
    now: True,
    sequence: u64,
    events: BinaryHeap<Reverse<Scheduled>>,
    rng: Rng,
    network: Network,
    faults: Faults,
    nodes: BTreeMap<NodeId, SimNode>,
    statuses: BTreeMap<NodeId, Status>,
    inhabitants: Vec<Inhabitant>,
    ledger: Ledger,
    requests: BTreeMap<(NodeId, RequestId), (usize, u64, u64)>,
    request_last: u64,
    winding_down: bool,
    trace: u64,
    steps: u64,
    counts: BTreeMap<&'static str, u64>,
    fatal: Vec<String>,
}

/// Runs one seed.
pub fn run(seed: u64, options: Options) -> Report {
    let mut world = World::new(seed);
    world.begin(options);
    let end = (options.faulty_ms + options.calm_ms) * MS;
    while let Some(Reverse(Scheduled(at, _, event))) = world.events.pop() {
        if at > end || (world.winding_down && world.steps.is_multiple_of(512) && world.is_over()) {
            break;
        }
        world.now = at;
        world.steps += 1;
        world.carry_out(event);
    }
    world.finish()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let faults = Faults::draw(&mut rng);
        let network = Network::new(rng.fork());
        Self {
            seed,
            now: 0,
            sequence: 0,
            events: BinaryHeap::new(),
            network,
            faults,
            nodes: BTreeMap::new(),
            statuses: BTreeMap::new(),
            inhabitants: Vec::new(),
            ledger: Ledger::default(),
            requests: BTreeMap::new(),
            request_last: 0,
            winding_down: false,
            trace: 0xcbf2_9ce4_8422_2325,
            steps: 0,
            counts: BTreeMap::new(),
            fatal: Vec::new(),
            rng,
        }
    }

    fn clock(&mut self) -> Clock {
        let most = i64::try_from(self.faults.drift_permille * 1_000).unwrap_or(0);
        let drift = i64::try_from(self.rng.below(2 * self.faults.drift_permille * 1_000 + 1))
            .unwrap_or(0)
            - most;
        Clock {
            drift_ns_per_ms: drift,
            origin_ns: self.rng.below(1_000_000) * MS,
            wall_ms: 1_900_000_000_000 + i64::try_from(self.rng.below(2_000)).unwrap_or(0),
        }
    }

    fn begin(&mut self, options: Options) {
        let members: Vec<Member> = (1..=3)
            .map(|n| Member {
                node: NodeId(n),
                disk: DiskId(u128::from(n) << 64),
            })
            .collect();
        for member in &members {
            let disk = SimDisk::new();
            Store::format(&disk, *member, CLUSTER, &members);
            let mut node = SimNode {
                id: member.node,
                clock: self.clock(),
                disk,
                life: None,
                incarnation: 0,
                paused_until: 0,
                ruined: None,
            };
            node.start(self.seed, 0);
            self.nodes.insert(member.node, node);
            self.turn(member.node);
        }
        for actor in 0..2 {
            self.settle_in(Actor::Producer(Producer::new(actor + 1)));
        }
        for actor in 0..3 {
            self.settle_in(Actor::Worker(Worker::new(actor + 11)));
        }
        self.settle_in(Actor::Batcher(Batcher::new(21)));
        self.settle_in(Actor::Reader(Reader::new()));
        self.schedule_faults();
        self.at(options.faulty_ms * MS, Event::Calm);
    }

    fn settle_in(&mut self, actor: Actor) {
        let clock = self.clock();
        self.inhabitants.push(Inhabitant {
            actor,
            clock,
            life: 0,
        });
        let actor = self.inhabitants.len() - 1;
        self.at(
            300 * MS,
            Event::Signal {
                actor,
                life: 0,
                signal: Signal::Start,
            },
        );
    }

    fn at(&mut self, at: True, event: Event) {
        self.sequence += 1;
        self.events
            .push(Reverse(Scheduled(at.max(self.now), self.sequence, event)));
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Folds text into the trace hash (FNV-1a).
    fn note(trace: &mut u64, parts: std::fmt::Arguments<'_>) {
        use std::fmt::Write as _;
        struct Hash<'a>(&'a mut u64);
        impl std::fmt::Write for Hash<'_> {
            fn write_str(&mut self, text: &str) -> std::fmt::Result {
                for byte in text.bytes() {
                    *self.0 = (*self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                }
                Ok(())
            }
        }
        let _ = Hash(trace).write_fmt(parts);
    }

    fn schedule_faults(&mut self) {
        let faults = self.faults;
        for (every, event) in [
            (faults.crash_every_ms, Event::Crash),
            (faults.partition_every_ms, Event::Partition),
            (faults.pause_every_ms, Event::Pause),
            (faults.worker_crash_every_ms, Event::WorkerCrash),
            (
                if faults.wall_jump_ms > 0 { 1_000 } else { 0 },
                Event::WallJump,
            ),
        ] {
            self.again(every, event);
        }
    }

    fn again(&mut self, every_ms: u64, event: Event) {
        if every_ms > 0 && !self.winding_down {
            let delay = self.rng.range(every_ms / 4, every_ms * 2) * MS;
            self.at(self.now + delay, event);
        }
    }

    fn carry_out(&mut self, event: Event) {
        Self::note(&mut self.trace, format_args!("{}|{event:?}", self.now));
        match event {
            Event::Deliver { to, from, message } => {
                self.input(to, Input::Message { from, message });
            }
            Event::Transferred {
                to,
                from,
                message,
                meta,
                slices,
            } => self.transferred(to, from, message, &meta, slices),
            Event::TransferEnded {
                node,
                incarnation,
                to,
                ok,
            } => {
                if self.is_current(node, incarnation) {
                    self.input(node, Input::SnapshotSent { to, ok });
                }
            }
            Event::Wake { node, incarnation } => {
                if self.is_current(node, incarnation) {
                    if let Some(life) = self
                        .nodes
                        .get_mut(&node)
                        .and_then(|node| node.life.as_mut())
                    {
                        life.wake_at = None;
                    }
                    self.turn(node);
                }
            }
            Event::DiskDone { node, incarnation } => {
                if self.is_current(node, incarnation) {
                    self.disk_done(node);
                }
            }
            Event::Restart { node } => self.restart(node),
            Event::Call {
                node,
                actor,
                life,
                number,
                call,
            } => self.call(node, actor, life, number, call),
            Event::Signal {
                actor,
                life,
                signal,
            } => self.signal(actor, life, signal),
            Event::Crash => self.crash(),
            Event::Partition => self.partition(),
            Event::Heal => self.network.heal(),
            Event::Pause => self.pause(),
            Event::WorkerCrash => self.worker_crash(),
            Event::WallJump => self.wall_jump(),
            Event::Calm => self.calm(),
        }
    }

    fn is_current(&self, node: NodeId, incarnation: u64) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|node| node.incarnation == incarnation && node.life.is_some())
    }

    /// Hands an input to a node, or puts it off while the node stands still.
    fn input(&mut self, node: NodeId, input: Input<QueueMachine>) {
        if let Some(sim) = self.nodes.get_mut(&node) {
            sim.step(self.now, input);
        }
        self.turn(node);
    }

    /// Lets a node act, unless it stands still.
    fn turn(&mut self, id: NodeId) {
        let mut out = Vec::new();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.life.is_none() {
            return;
        }
        if node.paused_until > self.now {
            let (at, incarnation) = (node.paused_until, node.incarnation);
            self.at(
                at,
                Event::Wake {
                    node: id,
                    incarnation,
                },
            );
            return;
        }
        node.turn(self.now, &mut out);
        for output in out {
            self.output(id, output);
        }
        self.begin_disk(id);
        self.schedule_wake(id);
    }

    fn schedule_wake(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let Some(wake) = node.next_wake(now) else {
            return;
        };
        let incarnation = node.incarnation;
        if let Some(life) = &mut node.life
            && life.wake_at.is_none_or(|at| wake < at)
        {
            life.wake_at = Some(wake);
            self.at(
                wake,
                Event::Wake {
                    node: id,
                    incarnation,
                },
            );
        }
    }

    fn output(&mut self, id: NodeId, output: Output<QueueMachine>) {
        Self::note(&mut self.trace, format_args!("{id}>{output:?}"));
        match output {
            Output::Persist { ticket, write } => self.disk_work(id, DiskWork::Write(ticket, write)),
            Output::Send { to, message } => {
                let faults = self.faults;
                for at in self.network.arrivals(id, to, self.now, &faults) {
                    self.at(
                        at,
                        Event::Deliver {
                            to,
                            from: id,
                            message: message.clone(),
                        },
                    );
                }
            }
            Output::SendSnapshot { to, message, meta } => {
                self.send_snapshot(id, to, message, &meta);
            }
            Output::SnapshotBegin(meta) => {
                if let Some(life) = self.nodes.get_mut(&id).and_then(|node| node.life.as_mut()) {
                    life.snapshot = Some((meta, Vec::new()));
                }
            }
            Output::SnapshotSlice(slice) => {
                if let Some((_, slices)) = self
                    .nodes
                    .get_mut(&id)
                    .and_then(|node| node.life.as_mut())
                    .and_then(|life| life.snapshot.as_mut())
                {
                    slices.push(slice);
                }
            }
            Output::SnapshotEnd => {
                let meta = self
                    .nodes
                    .get(&id)
                    .and_then(|node| node.life.as_ref())
                    .and_then(|life| life.snapshot.as_ref())
                    .map(|(meta, _)| meta.clone());
                if let Some(meta) = meta {
                    self.count("snapshots");
                    self.disk_work(id, DiskWork::SnapshotEnd(meta));
                }
            }
            Output::Reply {
                id: request,
                result,
                replayed,
            } => {
                self.answer(
                    id,
                    request,
                    CallResult::Executed(result.map(|reply| (reply, replayed))),
                );
            }
            Output::Answer {
                id: request,
                result,
            } => self.answer(id, request, CallResult::Answered(result)),
            Output::Renewed {
                id: request,
                result,
            } => self.answer(id, request, CallResult::Renewed(result)),
            Output::StreamOpened { .. } | Output::Event(_) => {}
            Output::Status(status) => {
                let led = self
                    .statuses
                    .get(&id)
                    .is_some_and(|old| old.role == Role::Leader);
                if status.role == Role::Leader && !led {
                    self.count("leaders");
                }
                self.statuses.insert(id, status);
            }
            Output::Fatal(reason) => self.fatal.push(format!("node {id}: {reason}")),
        }
    }

    fn disk_work(&mut self, id: NodeId, work: DiskWork) {
        if let Some(life) = self.nodes.get_mut(&id).and_then(|node| node.life.as_mut()) {
            life.disk_queue.push_back(work);
        }
    }

    /// Starts the disk on everything that is queued, if it is idle: appends now, syncs later.
    fn begin_disk(&mut self, id: NodeId) {
        let most = self.faults.sync_ms_max.max(1) * MS;
        let longest = if self.rng.chance(100) { most } else { MS };
        let delay = self.rng.range(20_000, longest);
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let incarnation = node.incarnation;
        let Some(life) = &mut node.life else { return };
        if life.disk_busy || life.disk_queue.is_empty() {
            return;
        }
        life.disk_busy = true;
        life.begin_writes();
        self.at(
            self.now + delay,
            Event::DiskDone {
                node: id,
                incarnation,
            },
        );
    }

    fn disk_done(&mut self, id: NodeId) {
        let Some(life) = self.nodes.get_mut(&id).and_then(|node| node.life.as_mut()) else {
            return;
        };
        let inputs = life.end_writes();
        life.disk_busy = false;
        match inputs {
            Ok(inputs) => {
                for input in inputs {
                    if let Some(node) = self.nodes.get_mut(&id) {
                        node.step(self.now, input);
                    }
                }
                self.turn(id);
            }
            Err(reason) => self.fatal.push(format!("node {id}: {reason}")),
        }
    }

    fn send_snapshot(&mut self, id: NodeId, to: NodeId, message: RaftMessage, meta: &SnapshotMeta) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let incarnation = node.incarnation;
        let slices = node
            .life
            .as_ref()
            .and_then(|life| life.store.read_snapshot(meta).ok());
        let arrives = self.network.passes(id, to) && !self.rng.chance(self.faults.drop_permille);
        let at = self.now + self.rng.range(1, 50) * MS;
        let ok = match slices {
            Some(slices) if arrives => {
                self.count("snapshots sent");
                self.at(
                    at,
                    Event::Transferred {
                        to,
                        from: id,
                        message,
                        meta: meta.clone(),
                        slices,
                    },
                );
                true
            }
            _ => false,
        };
        self.at(
            at + MS,
            Event::TransferEnded {
                node: id,
                incarnation,
                to,
                ok,
            },
        );
    }

    fn transferred(
        &mut self,
        to: NodeId,
        from: NodeId,
        message: RaftMessage,
        meta: &SnapshotMeta,
        slices: Vec<Vec<u8>>,
    ) {
        let Some(life) = self.nodes.get_mut(&to).and_then(|node| node.life.as_mut()) else {
            return;
        };
        match life.store.store_snapshot(meta, &slices) {
            Ok(()) => self.input(
                to,
                Input::SnapshotReceived {
                    from,
                    message,
                    slices,
                },
            ),
            Err(reason) => self.fatal.push(format!("node {to}: {reason}")),
        }
    }

    fn call(&mut self, node: NodeId, actor: usize, life: u64, number: u64, call: Call) {
        self.request_last += 1;
        let id = RequestId(self.request_last);
        let Some(sim) = self.nodes.get(&node) else {
            return;
        };
        if sim.life.is_none() {
            return;
        }
        self.requests.insert((node, id), (actor, life, number));
        let mono = sim.clock.mono(self.now);
        let input = match call {
            Call::Execute {
                command,
                key,
                wait_ms,
            } => Input::Propose(Proposal {
                id,
                op: Op {
                    origin: Origin::Client {
                        principal: Principal::anonymous(),
                        key,
                    },
                    command,
                },
                wait_until: (wait_ms > 0).then(|| mono + Duration::from_millis(wait_ms)),
            }),
            Call::Query(query) => Input::Query { id, query },
            Call::Renew(renewal) => Input::Renew { id, renewal },
        };
        self.input(node, input);
    }

    fn answer(&mut self, node: NodeId, request: RequestId, result: CallResult) {
        let Some((actor, life, number)) = self.requests.remove(&(node, request)) else {
            self.fatal
                .push(format!("node {node} answered request {request:?} twice"));
            return;
        };
        if self.rng.chance(self.faults.reply_lost_permille) {
            self.count("answers lost");
            return;
        }
        let delay = self.rng.range(50_000, self.faults.delay_ms_max.max(1) * MS);
        self.at(
            self.now + delay,
            Event::Signal {
                actor,
                life,
                signal: Signal::Answer(number, result),
            },
        );
    }

    fn signal(&mut self, index: usize, life: u64, signal: Signal) {
        let Some(inhabitant) = self.inhabitants.get_mut(index) else {
            return;
        };
        if inhabitant.life != life {
            return;
        }
        let mut effects = Effects {
            at: self.now,
            mono: inhabitant.clock.mono(self.now),
            clock: inhabitant.clock,
            rng: &mut self.rng,
            ledger: &mut self.ledger,
            winding_down: self.winding_down,
            calls: Vec::new(),
            timers: Vec::new(),
        };
        inhabitant.actor.signal(signal, &mut effects);
        let (calls, timers) = (effects.calls, effects.timers);
        for (delay_ms, number) in timers {
            self.at(
                self.now + delay_ms * MS,
                Event::Signal {
                    actor: index,
                    life,
                    signal: Signal::Timer(number),
                },
            );
        }
        for (number, call) in calls {
            let node = self.pick_node();
            let delay = self.rng.range(50_000, self.faults.delay_ms_max.max(1) * MS);
            self.at(
                self.now + delay,
                Event::Call {
                    node,
                    actor: index,
                    life,
                    number,
                    call,
                },
            );
        }
    }

    /// Where a client's call goes: mostly to a node that takes itself for the leader.
    fn pick_node(&mut self) -> NodeId {
        let leaders: Vec<NodeId> = self
            .statuses
            .iter()
            .filter(|(id, status)| {
                status.role == Role::Leader
                    && self.nodes.get(id).is_some_and(|node| node.life.is_some())
            })
            .map(|(id, _)| *id)
            .collect();
        let any = NodeId(self.rng.range(1, 3));
        if leaders.is_empty() || self.rng.chance(50) {
            return any;
        }
        let index = usize::try_from(self.rng.below(leaders.len() as u64)).unwrap_or(0);
        leaders.get(index).copied().unwrap_or(any)
    }

    /// A victim: the leader as often as the faults say.
    fn victim(&mut self) -> NodeId {
        if self.rng.chance(self.faults.leader_permille) {
            let leader = self
                .statuses
                .iter()
                .filter(|(_, status)| status.role == Role::Leader)
                .max_by_key(|(_, s)| s.term);
            if let Some((leader, _)) = leader {
                return *leader;
            }
        }
        NodeId(self.rng.range(1, 3))
    }

    fn crash(&mut self) {
        let victim = self.victim();
        let power = self.rng.chance(self.faults.power_permille);
        let everyone = power && self.rng.chance(100);
        let victims: Vec<NodeId> = if everyone {
            self.nodes.keys().copied().collect()
        } else {
            vec![victim]
        };
        for victim in victims {
            self.kill(victim, power);
            let delay = self.rng.range(10, 1_500) * MS;
            self.at(self.now + delay, Event::Restart { node: victim });
        }
        self.again(self.faults.crash_every_ms, Event::Crash);
    }

    fn kill(&mut self, id: NodeId, power: bool) {
        let seed = self.rng.draw();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.life.take().is_none() {
            return;
        }
        if power {
            node.disk = node.disk.crash(seed);
        }
        self.statuses.remove(&id);
        self.requests.retain(|(node, _), _| *node != id);
        self.count(if power { "power cuts" } else { "crashes" });
    }

    fn restart(&mut self, id: NodeId) {
        let (seed, now) = (self.seed, self.now);
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.life.is_some() {
            return;
        }
        node.start(seed, now);
        if let Some(reason) = &node.ruined {
            self.fatal
                .push(format!("node {id} does not start again: {reason}"));
        }
        self.turn(id);
    }

    fn partition(&mut self) {
        let victim = self.victim();
        let one_way = self.rng.chance(self.faults.one_way_permille);
        let outward = self.rng.chance(500);
        for other in (1..=3).map(NodeId).filter(|other| *other != victim) {
            if !one_way || outward {
                self.network.cut(victim, other);
            }
            if !one_way || !outward {
                self.network.cut(other, victim);
            }
        }
        self.count("partitions");
        let delay = self.rng.range(50, 2_000) * MS;
        self.at(self.now + delay, Event::Heal);
        self.again(self.faults.partition_every_ms, Event::Partition);
    }

    fn pause(&mut self) {
        let victim = self.victim();
        let until = self.now + self.rng.range(10, 1_500) * MS;
        if let Some(node) = self.nodes.get_mut(&victim) {
            node.paused_until = until;
        }
        self.count("pauses");
        self.again(self.faults.pause_every_ms, Event::Pause);
    }

    fn worker_crash(&mut self) {
        let workers: Vec<usize> = self
            .inhabitants
            .iter()
            .enumerate()
            .filter(|(_, inhabitant)| matches!(inhabitant.actor, Actor::Worker(_)))
            .map(|(index, _)| index)
            .collect();
        let index = usize::try_from(self.rng.below(workers.len() as u64)).unwrap_or(0);
        let now = self.now;
        if let Some(actor) = workers.get(index).copied()
            && let Some(inhabitant) = self.inhabitants.get_mut(actor)
        {
            inhabitant.life += 1;
            let (clock, life) = (inhabitant.clock, inhabitant.life);
            if let Actor::Worker(worker) = &mut inhabitant.actor {
                worker.crash(now, &clock, &mut self.ledger);
            }
            let delay = self.rng.range(1, 500) * MS;
            self.at(
                now + delay,
                Event::Signal {
                    actor,
                    life,
                    signal: Signal::Start,
                },
            );
        }
        self.count("worker crashes");
        self.again(self.faults.worker_crash_every_ms, Event::WorkerCrash);
    }

    fn wall_jump(&mut self) {
        let victim = self.victim();
        let most = self.faults.wall_jump_ms;
        let jump = i64::try_from(self.rng.below(2 * most + 1)).unwrap_or(0)
            - i64::try_from(most).unwrap_or(0);
        if let Some(node) = self.nodes.get_mut(&victim) {
            node.clock.wall_ms += jump;
        }
        self.count("wall jumps");
        self.again(1_000, Event::WallJump);
    }

    /// Ends the faults and brings everything back.
    fn calm(&mut self) {
        self.faults = Faults {
            drift_permille: self.faults.drift_permille,
            ..Faults::NONE
        };
        self.winding_down = true;
        self.network.heal();
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in nodes {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.paused_until = 0;
            }
            self.restart(id);
        }
    }

    /// Whether every job and batch that was acknowledged has come good.
    fn is_over(&self) -> bool {
        !self.fatal.is_empty() || self.final_state().is_some_and(|state| state.is_over())
    }

    fn final_state(&self) -> Option<super::store::FinalState> {
        let (leader, _) = self
            .statuses
            .iter()
            .filter(|(_, status)| status.role == Role::Leader && status.ready)
            .max_by_key(|(_, status)| status.term)?;
        let life = self.nodes.get(leader)?.life.as_ref()?;
        Some(super::store::FinalState::of(life.replica.machine()))
    }

    fn finish(mut self) -> Report {
        let now = self.now;
        for inhabitant in &mut self.inhabitants {
            let clock = inhabitant.clock;
            if let Actor::Worker(worker) = &mut inhabitant.actor {
                worker.finish(now, &clock, &mut self.ledger);
            }
        }
        match self.final_state() {
            Some(state) => self.ledger.settle(&state.jobs, &state.joined),
            None => self
                .ledger
                .blame("P11", "no leader serves after all faults ended".to_owned()),
        }
        for fatal in std::mem::take(&mut self.fatal) {
            self.ledger.blame("P10", fatal);
        }
        Report {
            seed: self.seed,
            faults: Faults::draw(&mut Rng::new(self.seed)),
            trace: self.trace,
            steps: self.steps,
            enqueued: self.ledger.enqueued,
            granted: self.ledger.granted,
            completed: self.ledger.completed,
            counts: self.counts,
            violations: self.ledger.violations(),
        }
    }
}
