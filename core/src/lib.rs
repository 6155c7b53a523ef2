//! What every Quorate pattern stands on: replicated state machines with bounded-time leases, and the
//! runtime of the containers that serve them.
//!
//! The crate is pure inside and does its effects at the rim. [`machine`], [`lease`], [`table`],
//! [`types`] and `replica` take time, ids and seeds as data and return what shall happen as data;
//! `log`, `node` and `runtime` act. See ARCHITECTURE.md for the map.
//!
//! Features: none (the default) gives the vocabulary; `client` adds the servers a client knows; `replica` adds consensus, the log on disk
//! and the peer transport; `server` adds the container runtime; `tls`, part of both, secures connections.

#[cfg(feature = "client")]
pub mod client;
pub mod clock;
pub mod codec;
pub mod error;
pub mod grpc_status;
pub mod grpc_timeout;
pub mod key;
pub mod lease;
#[cfg(feature = "replica")]
pub mod log;
pub mod machine;
#[cfg(feature = "replica")]
pub mod node;
pub mod planted;
#[cfg(feature = "replica")]
pub mod replica;
pub mod retry;
#[cfg(feature = "server")]
pub mod runtime;
pub mod service;
pub mod table;
#[cfg(feature = "tls")]
pub mod tls;
pub mod types;

pub use error::{Code, Error};
