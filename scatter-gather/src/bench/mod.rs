//! What scattering costs over real sockets, beside the loop one would write by hand. For
//! `quorate bench scatter`.

mod leaves;
mod overhead;

pub use leaves::Leaves;
pub use overhead::{Overhead, Pair, overhead};
