//! The simulated users of the queue: producers that retry under a key, workers with leases and
//! heartbeats, a builder of batches, and a reader that looks for stale answers.
//!
//! Each is a small machine of its own: a signal comes in, [`Effects`] go out. They see their own clock
//! only, and lose answers and their lives as the faults of the run say.

mod batcher;
mod producer;
mod reader;
mod worker;

pub(crate) use batcher::Batcher;
pub(crate) use producer::Producer;
pub(crate) use reader::Reader;
pub(crate) use worker::Worker;

use crate::sim::ledger::{Ledger, True};
use crate::sim::node::Clock;
use crate::sim::queue::Queue;
use quorate_core::error::{Code, Error};
use quorate_core::lease::{Holder, Terms};
use quorate_core::machine::OpKey;
use quorate_core::types::{Mono, Name};
use quorate_work_queue::machine::{
    Answer, BatchId, Command, Lease, LeaseId, LeaseRequest, NewJob, OnDead, Query, QueueMachine,
    Renewal, Renewed, Reply, SessionId, Settings, Settle, Settlement, State,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A request, its answer, what an actor is told, and what it wants done.
pub(crate) type Call = crate::sim::play::Call<QueueMachine>;
/// The answer to a [`Call`].
pub(crate) type CallResult = crate::sim::play::CallResult<QueueMachine>;
/// What an actor is told.
pub(crate) type Signal = crate::sim::play::Signal<QueueMachine>;
/// What an actor wants done.
pub(crate) type Effects<'a> = crate::sim::play::Effects<'a, Queue>;

/// Patience of every actor with one call, before it is sent again.
const CALL_MS: u64 = 700;

/// Length of a lease in simulations.
const LEASE_MS: u64 = 600;

/// The queue of single jobs.
pub(crate) fn queue() -> Name {
    Name::new("work").expect("a valid literal")
}

/// The queue of batches; what is final in it is kept for a moment only.
pub(crate) fn batch_queue() -> Name {
    Name::new("batches").expect("a valid literal")
}

/// Retention in the queue of batches.
const BATCH_RETENTION_MS: u64 = 400;

/// Payload of a job that fails whenever it is tried, and how often it may be.
const POISON: &[u8] = b"poison";
const POISON_ATTEMPTS: u32 = 2;

/// An actor.
pub(crate) enum Actor {
    /// Enqueues jobs one by one.
    Producer(Producer),
    /// Takes leases and completes them.
    Worker(Worker),
    /// Builds batches.
    Batcher(Batcher),
    /// Reads completed jobs.
    Reader(Reader),
}

impl Actor {
    /// Reacts to a signal.
    pub(crate) fn signal(&mut self, signal: Signal, effects: &mut Effects<'_>) {
        match self {
            Self::Producer(producer) => producer.signal(signal, effects),
            Self::Worker(worker) => worker.signal(signal, effects),
            Self::Batcher(batcher) => batcher.signal(signal, effects),
            Self::Reader(reader) => reader.signal(signal, effects),
        }
    }
}

/// A request that is repeated until it is answered for certain: under its key a repetition is the same
/// operation.
#[derive(Debug)]
pub(super) struct Insisting {
    pub(super) call: Call,
    /// Numbers of the calls it was sent as.
    pub(super) number: u64,
}

impl Insisting {
    pub(super) fn start(call: Call, number: u64, effects: &mut Effects<'_>) -> Self {
        let insisting = Self { call, number };
        insisting.send(effects);
        insisting
    }

    pub(super) fn send(&self, effects: &mut Effects<'_>) {
        effects.calls.push((self.number, self.call.clone()));
        effects.timers.push((CALL_MS, self.number));
    }

    /// Whether this answer settles it; sends it again when it does not.
    pub(super) fn settled(&self, result: &CallResult, effects: &mut Effects<'_>) -> bool {
        let again = matches!(
            result,
            CallResult::Executed(Err(Error {
                code: Code::NoQuorum | Code::OutcomeUnknown | Code::OverQuota,
                ..
            }))
        );
        if again {
            effects
                .timers
                .push((20 + effects.rng.below(60), self.number));
        }
        !again
    }
}

pub(super) fn key(actor: u64, number: u64) -> OpKey {
    OpKey::Idempotency {
        key: (u128::from(actor) << 64) | u128::from(number),
        body: u128::from(number),
    }
}

/// Whether a state is final.
pub(crate) fn is_final(state: State) -> bool {
    matches!(state, State::Completed | State::Dead | State::Cancelled)
}
