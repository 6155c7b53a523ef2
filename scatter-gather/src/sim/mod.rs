//! The gather engine in simulated time.
//!
//! The engine is the one that production runs; only the leaves, the clock and the balancer are
//! simulated. What comes out is a matter of the policy and of arithmetic, not of the machine it runs
//! on: the same seed gives the same figures everywhere.

mod drive;
pub mod rng;

pub use drive::{Answer, Call, Leaves, Run, drive};
