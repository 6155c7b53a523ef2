//! Protocol buffers of Quorate and the Rust code generated from them.
//!
//! The generated code is committed under `src/gen`; `cargo run -p quorate-codegen` writes it anew (with
//! `protox`, so that no protoc is needed), and a test there fails when it is stale.

/// Replicas of one cluster among themselves: package `quorate.peer.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
#[rustfmt::skip]
#[path = "gen/quorate.peer.v1.rs"]
pub mod peer;

/// Leader election: package `quorate.election.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
#[rustfmt::skip]
#[path = "gen/quorate.election.v1.rs"]
pub mod election;

/// The work queue: package `quorate.queue.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
#[rustfmt::skip]
#[path = "gen/quorate.queue.v1.rs"]
pub mod queue;

/// Scatter/gather: package `quorate.scatter.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
#[rustfmt::skip]
#[path = "gen/quorate.scatter.v1.rs"]
pub mod scatter;

/// The descriptors of all packages, as gRPC reflection serves them.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/descriptors.bin");
