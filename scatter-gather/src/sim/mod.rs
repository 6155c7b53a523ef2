//! The gather engine in simulated time.
//!
//! The engine is the one that production runs; only the leaves, the clock and the balancer are
//! simulated. What comes out is a matter of the policy and of arithmetic, not of the machine it runs
//! on: the same seed gives the same figures everywhere.

mod drive;
mod experiment;
mod policies;
mod report;
pub mod rng;
mod tail;

pub use drive::{Answer, Call, Leaves, Run, drive};
pub use experiment::{Found, Setting, run};
pub use policies::Policy;
pub use report::{Line, Overload, Row, Table, all_slower, head_to_head, quantile, tail_at_scale};
pub use tail::Latency;
