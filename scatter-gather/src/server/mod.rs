//! The containers: [`root`] scatters and gathers, [`gate`] stands in front of a leaf.

mod gate;
mod root;
pub mod upstream;

pub use gate::gate;
pub use root::root;

/// Version of this build, as `/v1/info` tells it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
