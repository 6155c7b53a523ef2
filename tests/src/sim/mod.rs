//! Deterministic simulation of a whole cluster with its clients, on one thread, in simulated time.
//!
//! Three replicas of a pattern's machine run their production code (replica, machine, log) over a
//! simulated network, simulated disks and clocks of different rates; actors use them; faults strike; a
//! ledger checks the promises of `goals.md`. What a pattern brings along is its `play::Play`. A run is a function of its seed: the trace hash covers every
//! input and output, so the same seed twice must give the same hash.
//!
//! A run has two phases, as in TigerBeetle's simulator: first faults, then none, and by the end of the
//! second everything acknowledged must have come good (P11).

mod actors;
pub mod election;
mod faults;
mod ledger;
mod network;
mod node;
mod play;
mod queue;
mod report;
mod rng;
mod store;
mod world;

pub use faults::{Aim, Faults};
pub use ledger::Violation;
pub use report::Report;
pub use rng::Rng;
pub use world::Options;

/// A simulated run of one seed.
pub type Run = fn(u64, Options) -> Report;

/// Runs one seed of the work queue.
pub fn run(seed: u64, options: Options) -> Report {
    world::run::<queue::Queue>(seed, options)
}

/// Runs one seed of leader election.
pub fn run_election(seed: u64, options: Options) -> Report {
    world::run::<election::Elections>(seed, options)
}
