//! Deterministic simulation of a whole cluster with its clients, on one thread, in simulated time.
//!
//! Three replicas of the queue run their production code (replica, machine, log) over a simulated
//! network, simulated disks and clocks of different rates; actors use them; faults strike; a ledger
//! checks the promises of `goals.md`. A run is a function of its seed: the trace hash covers every
//! input and output, so the same seed twice must give the same hash.
//!
//! A run has two phases, as in TigerBeetle's simulator: first faults, then none, and by the end of the
//! second everything acknowledged must have come good (P11).

mod actors;
mod faults;
mod ledger;
mod network;
mod node;
mod report;
mod rng;
mod store;
mod world;

pub use faults::Faults;
pub use ledger::Violation;
pub use report::Report;
pub use rng::Rng;
pub use world::{Options, run};
