//! The generic work queue: at-least-once execution, exactly one recorded outcome.
//!
//! `machine` (pure) → `service` (async domain trait) → `api` (REST and gRPC) → container.
//! [`service::QueueService`] is implemented by a replica in this process and by the client of a
//! cluster, so the same code runs embedded or remote.

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "server")]
pub mod api;
pub mod check;
#[cfg(feature = "client")]
pub mod client;
pub mod convert;
pub mod machine;
#[cfg(feature = "node")]
pub mod node;
pub mod queue;
#[cfg(feature = "server")]
pub mod server;
pub mod service;
pub mod worker;
