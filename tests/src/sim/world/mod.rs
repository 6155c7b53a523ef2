//! The simulated universe: one queue of events in true time.

mod aim;
mod clients;
mod cluster;
mod strike;

use crate::sim::faults::Faults;
use crate::sim::ledger::True;
use crate::sim::network::Network;
use crate::sim::node::{CLUSTER, Clock, DiskWork, SimNode};
use crate::sim::play::{Call, CallResult, Effects, Play, Signal};
use crate::sim::report::Report;
use crate::sim::rng::Rng;
use crate::sim::store::Store;
use quorate_core::log::SimDisk;
use quorate_core::machine::{Machine, Op, Origin};
use quorate_core::replica::{
    Input, Member, Output, Proposal, RequestId, Role, SnapshotMeta, Status,
};
use quorate_core::types::{DiskId, NodeId, Principal};
use quorate_proto::peer::RaftMessage;
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

#[allow(clippy::large_enum_variant, reason = "an event lives for one step")]
#[derive(Debug)]
enum Event<M: Machine> {
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
        call: Call<M>,
    },
    /// Something reaches an actor.
    Signal {
        actor: usize,
        life: u64,
        signal: Signal<M>,
    },
    /// What came while a node stood still.
    Late {
        node: NodeId,
        incarnation: u64,
        input: Input<M>,
    },
    /// Faults strike.
    Crash,
    Partition,
    Heal,
    Pause,
    ActorCrash,
    ActorPause,
    WallJump,
    /// A fault is placed, or the next part of one.
    Aim,
    CutLeader,
    /// The faulty phase is over.
    Calm,
}

struct Scheduled<M: Machine>(True, u64, Event<M>);

impl<M: Machine> PartialEq for Scheduled<M> {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl<M: Machine> Eq for Scheduled<M> {}
impl<M: Machine> PartialOrd for Scheduled<M> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<M: Machine> Ord for Scheduled<M> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

struct Inhabitant<P: Play> {
    actor: P::Actor,
    clock: Clock,
    life: u64,
    paused_until: True,
    /// Its requests arrive after that.
    held_until: True,
    /// The node that it turned to last.
    home: NodeId,
}

struct World<P: Play> {
    seed: u64,
    now: True,
    sequence: u64,
    events: BinaryHeap<Reverse<Scheduled<P::Machine>>>,
    rng: Rng,
    network: Network,
    faults: Faults,
    drawn: Faults,
    nodes: BTreeMap<NodeId, SimNode<P::Machine>>,
    statuses: BTreeMap<NodeId, Status>,
    inhabitants: Vec<Inhabitant<P>>,
    ledger: P::Ledger,
    requests: BTreeMap<(NodeId, RequestId), (usize, u64, u64)>,
    request_last: u64,
    winding_down: bool,
    /// The next renewal that reaches a leader makes it stand still.
    armed: bool,
    trace: u64,
    steps: u64,
    counts: BTreeMap<&'static str, u64>,
    fatal: Vec<String>,
}

/// Runs one seed.
pub(super) fn run<P: Play>(seed: u64, options: Options) -> Report {
    let mut world = World::<P>::new(seed);
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

impl<P: Play> World<P> {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut faults = Faults::draw(&mut rng);
        P::adjust(&mut faults, &mut rng);
        let network = Network::new(rng.fork());
        Self {
            seed,
            now: 0,
            sequence: 0,
            events: BinaryHeap::new(),
            network,
            faults,
            drawn: faults,
            nodes: BTreeMap::new(),
            statuses: BTreeMap::new(),
            inhabitants: Vec::new(),
            ledger: P::ledger(&faults),
            requests: BTreeMap::new(),
            request_last: 0,
            winding_down: false,
            armed: false,
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
                clients_first: false,
                ruined: None,
            };
            node.start(self.seed, 0);
            self.nodes.insert(member.node, node);
            self.turn(member.node);
        }
        for actor in P::actors() {
            self.settle_in(actor);
        }
        self.schedule_faults();
        self.at(options.faulty_ms * MS, Event::Calm);
    }

    fn at(&mut self, at: True, event: Event<P::Machine>) {
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

    fn carry_out(&mut self, event: Event<P::Machine>) {
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
            Event::Late {
                node,
                incarnation,
                input,
            } => {
                if self.is_current(node, incarnation) {
                    self.input(node, input);
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
            Event::ActorCrash => self.actor_crash(),
            Event::ActorPause => self.actor_pause(),
            Event::WallJump => self.wall_jump(),
            Event::Aim => self.aim(),
            Event::CutLeader => self.cut_leader(),
            Event::Calm => self.calm(),
        }
    }

    /// Whether all that was begun has come good.
    fn is_over(&self) -> bool {
        !self.fatal.is_empty() || self.leading().is_some_and(P::is_over)
    }

    /// The machine of the node that leads and serves.
    fn leading(&self) -> Option<&P::Machine> {
        let (leader, _) = self
            .statuses
            .iter()
            .filter(|(_, status)| status.role == Role::Leader && status.ready)
            .max_by_key(|(_, status)| status.term)?;
        let life = self.nodes.get(leader)?.life.as_ref()?;
        Some(life.replica.machine())
    }

    fn finish(mut self) -> Report {
        let now = self.now;
        for inhabitant in &mut self.inhabitants {
            let clock = inhabitant.clock;
            P::finish(&mut inhabitant.actor, now, &clock, &mut self.ledger);
        }
        let mut ledger = std::mem::take(&mut self.ledger);
        match self.leading() {
            Some(machine) => P::judge(&mut ledger, machine),
            None => P::blame(
                &mut ledger,
                "P11",
                "no leader serves after all faults ended".to_owned(),
            ),
        }
        for fatal in std::mem::take(&mut self.fatal) {
            P::blame(&mut ledger, "P10", fatal);
        }
        Report {
            seed: self.seed,
            replay: P::REPLAY,
            faults: self.drawn,
            trace: self.trace,
            steps: self.steps,
            summary: P::summary(&ledger),
            counts: self.counts,
            violations: P::violations(&ledger),
        }
    }
}
