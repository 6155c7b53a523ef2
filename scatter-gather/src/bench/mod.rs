//! What scattering costs and does over real sockets. For `quorate bench scatter`.

mod cancels;
mod leaves;
mod lengths;
mod memory;
mod overhead;
mod overload;
mod tail;
mod wheel;

pub use cancels::{Cancels, cancels};
pub use leaves::{Leaves, Manner};
pub use memory::{Memory, memory};
pub use overhead::{Overhead, Ways, overhead};
pub use overload::{UnderLoad, overload, overload_takes};
pub use tail::{Hung, Load, head_to_head, hung, tail_at_scale};
