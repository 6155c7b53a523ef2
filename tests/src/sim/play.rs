//! What a pattern brings into the simulated world: its machine, the actors that use it, and the ledger
//! that knows what they must not see.
//!
//! An actor is a small machine of its own: a [`Signal`] comes in, [`Effects`] go out. It sees its own
//! clock only, and loses answers and its life as the faults of the run say.

use super::faults::Faults;
use super::ledger::{True, Violation};
use super::node::Clock;
use super::rng::Rng;
use quorate_core::error::Error;
use quorate_core::machine::{Machine, OpKey};
use quorate_core::types::{Mono, NodeId};
use std::fmt::Debug;

/// A pattern in the simulated world.
pub(crate) trait Play: Sized + Debug {
    /// What is replicated.
    type Machine: Machine + Debug;
    /// Who uses it.
    type Actor;
    /// What they saw.
    type Ledger: Default;

    /// What `simulate` must be told besides the seed, to replay a run.
    const REPLAY: &'static str;

    /// Whether half of the actors stay with a node as long as that takes itself for the leader, like clients
    /// that keep their connection: so they may be on the wrong side of a partition.
    const CLINGS: bool = false;

    /// Changes the mixture of faults to what hurts this pattern.
    fn adjust(_faults: &mut Faults, _rng: &mut Rng) {}

    /// The record of a run with these faults.
    fn ledger(_faults: &Faults) -> Self::Ledger {
        Self::Ledger::default()
    }

    /// Everyone, at the beginning.
    fn actors() -> Vec<Self::Actor>;

    /// An actor reacts.
    fn signal(
        actor: &mut Self::Actor,
        signal: Signal<Self::Machine>,
        effects: &mut Effects<'_, Self>,
    );

    /// Whether this actor loses its life now and then.
    fn may_crash(actor: &Self::Actor) -> bool;

    /// Whether this actor stands still now and then: its timers and answers come late.
    fn may_pause(_actor: &Self::Actor) -> bool {
        false
    }

    /// Whether this actor believes that it holds something, so that it is worth to aim at.
    fn holds(_actor: &Self::Actor) -> bool {
        false
    }

    /// It loses its life.
    fn crash(actor: &mut Self::Actor, at: True, clock: &Clock, ledger: &mut Self::Ledger);

    /// The run is over.
    fn finish(actor: &mut Self::Actor, at: True, clock: &Clock, ledger: &mut Self::Ledger);

    /// A node applied an entry with this event.
    fn told(_ledger: &mut Self::Ledger, _node: NodeId, _event: &<Self::Machine as Machine>::Event) {
    }

    /// A node began anew or got a snapshot: it may have missed events.
    fn interrupted(_ledger: &mut Self::Ledger, _node: NodeId) {}

    /// Whether all that was begun has come good in this state.
    fn is_over(machine: &Self::Machine) -> bool;

    /// Compares what was seen with the state at the end.
    fn judge(ledger: &mut Self::Ledger, machine: &Self::Machine);

    /// Notes a broken promise that the world itself saw.
    fn blame(ledger: &mut Self::Ledger, promise: &'static str, what: String);

    /// What was done, to see that runs do something. The last one stands for the use of it all.
    fn summary(ledger: &Self::Ledger) -> Vec<(&'static str, u64)>;

    /// Broken promises.
    fn violations(ledger: &Self::Ledger) -> Vec<Violation>;
}

/// One request of an actor; answered once, or never if it or its answer is lost.
#[allow(clippy::large_enum_variant, reason = "a call lives for one event")]
#[derive(Debug)]
pub(crate) enum Call<M: Machine> {
    /// A command, perhaps under a key, willing to wait so many milliseconds.
    Execute {
        command: M::Command,
        key: Option<OpKey>,
        wait_ms: u64,
    },
    /// A question.
    Query(M::Query),
    /// A heartbeat.
    Renew(M::Renewal),
}

impl<M: Machine> Clone for Call<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Execute {
                command,
                key,
                wait_ms,
            } => Self::Execute {
                command: command.clone(),
                key: key.clone(),
                wait_ms: *wait_ms,
            },
            Self::Query(query) => Self::Query(query.clone()),
            Self::Renew(renewal) => Self::Renew(renewal.clone()),
        }
    }
}

/// The answer to a [`Call`].
#[derive(Debug)]
pub(crate) enum CallResult<M: Machine> {
    /// To a command; the flag says that the reply is a remembered one.
    Executed(Result<(M::Reply, bool), Error>),
    /// To a question.
    Answered(Result<M::Answer, Error>),
    /// To a heartbeat.
    Renewed(Result<M::Renewed, Error>),
}

/// What an actor is told.
#[derive(Debug)]
pub(crate) enum Signal<M: Machine> {
    /// It begins, or begins anew after a crash.
    Start,
    /// A timer it set.
    Timer(u64),
    /// An answer to the call of this number.
    Answer(u64, CallResult<M>),
}

/// What an actor wants done, and the world as it sees it.
pub(crate) struct Effects<'a, P: Play> {
    /// True time; for the ledger only.
    pub(crate) at: True,
    /// Its own clock's reading.
    pub(crate) mono: Mono,
    /// Its own clock.
    pub(crate) clock: Clock,
    /// Chance.
    pub(crate) rng: &'a mut Rng,
    /// The record.
    pub(crate) ledger: &'a mut P::Ledger,
    /// No new work is begun any more: the run is coming to its end.
    pub(crate) winding_down: bool,
    /// Calls to make, with their numbers.
    pub(crate) calls: Vec<(u64, Call<P::Machine>)>,
    /// Timers to set: delay in milliseconds, and their numbers.
    pub(crate) timers: Vec<(u64, u64)>,
}
