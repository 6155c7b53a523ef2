//! What a replicated state machine is, to the replica that drives it.
//!
//! A [`Machine`] holds all logic of a pattern and is a pure function of the log: no clock, randomness,
//! I/O, async or hash-ordered iteration. Every replica applies the same entries and reaches the same
//! state. A [`Duties`] is what only the leader keeps and may lose at any time: the counts of leases,
//! coalesced progress. Nothing in it is needed for correctness after a change of leader, because a new
//! leader starts every count when it takes office.

use crate::error::Error;
use crate::types::{FencingToken, LogIndex, LogTime, Mono, Name, Principal, Term};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// Identifies a retry as the same operation, so that it is executed once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OpKey {
    /// The `seq`-th operation of a client stream that was opened in the log. The client will never
    /// again ask for the answers of operations below `done_below`. An unknown stream is refused
    /// (`session_expired`), never executed.
    Stream {
        /// Id of the stream, as `OpenStream` answered it.
        stream: u64,
        /// Number of this operation, from 1.
        seq: u64,
        /// Answers below this number are no longer needed.
        done_below: u64,
    },
    /// An `Idempotency-Key`, scoped by principal and route.
    Idempotency {
        /// First 128 bits of SHA-256 over principal, route and key.
        key: u128,
        /// First 128 bits of SHA-256 over the body: another body under the same key is refused
        /// (`idempotency_mismatch`).
        body: u128,
    },
}

/// Where an operation comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A caller, with the key that makes a retry safe, if it gave one.
    Client {
        /// Who asked.
        principal: Principal,
        /// Retry identity.
        key: Option<OpKey>,
    },
    /// The leader of this term, on its own account (expiry, for example). Void in any other term.
    Leader(Term),
}

/// One operation of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op<C> {
    /// Who asks for it.
    pub origin: Origin,
    /// What is asked.
    pub command: C,
}

/// What the machine may know while it applies an entry, and where it leaves the effects.
#[derive(Debug)]
pub struct Context<'a, E> {
    /// Time of the entry.
    pub time: LogTime,
    /// Index of the entry.
    pub index: LogIndex,
    /// Machine level that is active: behaviour must follow it, not the newest the code knows.
    pub level: u16,
    /// Who asked for the operation that is being applied.
    pub principal: &'a Principal,
    /// The group's counter of fencing tokens: the last one handed out.
    pub token_last: &'a mut FencingToken,
    /// Effects, in order. On followers they only keep observers up to date.
    pub events: &'a mut Vec<E>,
}

impl<E> Context<'_, E> {
    /// The next fencing token of the group. Strictly increasing, also across restarts and restores.
    pub fn next_token(&mut self) -> FencingToken {
        assert!(
            self.token_last.0 < (1 << 53) - 1,
            "fencing tokens are below 2^53: 2^33 s x 2^20/s are not used up before the year 2242"
        );
        self.token_last.0 += 1;
        *self.token_last
    }
}

/// What a parked operation waits for, for example the name of a queue. Waiters of one key are served
/// first come, first served.
pub type WaitKey = Name;

/// A deterministic replicated state machine.
pub trait Machine: Sized + Send + 'static {
    /// What can be asked of it through the log. Encoded by [`crate::codec`]: no untagged, flattened or
    /// skipped fields.
    type Command: Serialize + DeserializeOwned + Clone + Debug + PartialEq + Send + 'static;
    /// The answer to a command; kept for the dedupe window, so it must be small.
    type Reply: Serialize + DeserializeOwned + Clone + Debug + PartialEq + Send + 'static;
    /// A question about the state, answered at the leader after a ReadIndex.
    type Query: Serialize + DeserializeOwned + Clone + Debug + Send + 'static;
    /// The answer to a query; bounded by pages.
    type Answer: Serialize + DeserializeOwned + Clone + Debug + Send + 'static;
    /// What keeps leases alive and is not logged: a heartbeat.
    type Renewal: Serialize + DeserializeOwned + Clone + Debug + Send + 'static;
    /// The acknowledgement of a renewal.
    type Renewed: Serialize + DeserializeOwned + Clone + Debug + Send + 'static;
    /// An effect of an applied entry.
    type Event: Clone + Debug + Send + 'static;
    /// What only the leader keeps.
    type Duties: Duties<Self>;

    /// Newest behaviour this build knows. Builds N and N-1 agree on `min`.
    const LEVEL: u16;

    /// The empty state.
    fn new() -> Self;

    /// Lets time pass up to `ctx.time`, before the operations of the entry are applied. Does a bounded
    /// amount of work; what is left stays due, so that [`Machine::next_deadline`] is not in the future.
    fn advance(&mut self, ctx: &mut Context<'_, Self::Event>);

    /// Applies one operation. Never panics on any input.
    fn apply(
        &mut self,
        ctx: &mut Context<'_, Self::Event>,
        command: Self::Command,
    ) -> Result<Self::Reply, Error>;

    /// When [`Machine::advance`] next has something to do. The leader then logs a tick.
    fn next_deadline(&self) -> Option<LogTime>;

    /// Answers a question. `duties` is the leader's, since questions are answered there.
    fn query(
        &self,
        duties: &Self::Duties,
        now: LogTime,
        query: Self::Query,
    ) -> Result<Self::Answer, Error>;

    /// The key to wait for when this command would find nothing now and the caller is willing to wait
    /// (a lease request on an empty queue). Nothing is logged for it while it is parked.
    fn parks(&self, command: &Self::Command) -> Option<WaitKey>;

    /// The keys for which an event means that parked commands may find something.
    fn wakes(event: &Self::Event) -> Option<WaitKey>;

    /// The answer to a parked command whose time is up.
    fn parked_reply(command: &Self::Command) -> Self::Reply;

    /// Begins a snapshot of the state as it is now. Later changes do not show in its slices: what they
    /// overwrite is copied first. At most one snapshot is in progress; a second call starts over.
    fn snapshot_begin(&mut self);

    /// The next slice of the snapshot, of about `bytes_max` bytes and at least one record, or `None`
    /// when it is complete.
    fn snapshot_slice(&mut self, bytes_max: usize) -> Option<Vec<u8>>;

    /// Restores one slice into a state that began as [`Machine::new`]. Slices come in order.
    fn restore_slice(&mut self, slice: &[u8]) -> Result<(), crate::codec::CodecError>;

    /// Called after the last slice: rebuilds what is derived (indexes) and checks invariants.
    fn restore_end(&mut self) -> Result<(), crate::codec::CodecError>;

    /// A cheap digest of the state (counters, next ids), folded into the hash that replicas compare.
    fn digest(&self) -> u64;
}

/// The leader's volatile bookkeeping of a machine.
pub trait Duties<M: Machine>: Send + 'static {
    /// Takes office at `now`: every count of every live lease starts here, never earlier.
    fn new(machine: &M, now: Mono) -> Self;

    /// A renewal arrived. Until it is [`Duties::confirmed`] or [`Duties::abandoned`] it defers the
    /// expiry of what it names.
    fn arrived(&mut self, machine: &M, renewal: &M::Renewal, receipt: Mono);

    /// A ReadIndex issued after the renewal's arrival was confirmed by a quorum and `machine` has
    /// applied at least that index. Acknowledges what is live in `machine` and has no end proposed, and
    /// counts it from `receipt`.
    fn confirmed(
        &mut self,
        machine: &M,
        renewal: M::Renewal,
        receipt: Mono,
    ) -> Result<M::Renewed, Error>;

    /// The quorum round failed or the caller is gone; the renewal no longer defers anything.
    fn abandoned(&mut self, machine: &M, renewal: &M::Renewal);

    /// An entry was applied with this event: a grant starts a count, an end stops one.
    fn applied(&mut self, machine: &M, event: &M::Event, now: Mono);

    /// The shell was late by `stall`: every count gets it added, because renewals may lie unread.
    fn stalled(&mut self, stall: std::time::Duration);

    /// Appends what must be proposed now (expiries, ends of revoked leases), a bounded number, each
    /// once: what was proposed is remembered until it is applied.
    fn due(&mut self, machine: &M, now: Mono, out: &mut Vec<M::Command>);

    /// When [`Duties::due`] next has something.
    fn next_due(&self) -> Option<Mono>;
}
