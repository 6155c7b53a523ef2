//! Scatter/gather: one request goes to every shard at once, one truthful answer comes back in time.
//!
//! `gather` (pure, one machine a request) → `drive` (the engine on tokio) → library and containers.
//! The same [`gather::Gather`] runs in all of them and in the simulator, so a policy is tested once.

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod application;
#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "client")]
pub mod definition;
#[cfg(feature = "client")]
pub mod drive;
#[cfg(feature = "server")]
pub mod gate;
pub mod gather;
#[cfg(feature = "client")]
pub mod merge;
#[cfg(feature = "client")]
pub mod pool;
#[cfg(feature = "client")]
pub mod root;
#[cfg(feature = "client")]
pub mod scatter;
#[cfg(feature = "server")]
pub mod server;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

#[cfg(feature = "client")]
pub use scatter::Scatter;
