//! Leader election: answers bounded in time, fencing tokens, ordered hand-over.
//!
//! `machine` (pure) → `service` (async domain trait) → `api` (REST and gRPC) → container.
//! [`service::ElectionService`] is implemented by a replica in this process and by the client of a
//! cluster, so the same code runs embedded or remote. `docs/leases.md` holds the rule by which two
//! processes never both believe that they lead, with its proof and its limits; [`guard`] holds what a
//! protected resource does with the fencing token.

#[cfg(feature = "server")]
pub mod api;
pub mod check;
#[cfg(feature = "client")]
pub mod client;
pub mod convert;
pub mod election;
pub mod guard;
pub mod machine;
#[cfg(feature = "node")]
pub mod node;
mod observe;
#[cfg(feature = "server")]
pub mod server;
pub mod service;
