//! The network between replicas: raft messages and snapshots out ([`outgoing`]), everything in
//! ([`server`]), requests to the leader ([`forward`], by the [`line`] to each peer; answered by
//! [`answer`]), how a connection is made ([`links`]), and who is who ([`standing`]).
//!
//! Raft messages of one sender travel in one stream and keep their order; any may be lost. Snapshots
//! and forwarded requests use a second connection, so that a heartbeat never waits behind a slice.

mod answer;
mod forward;
mod line;
mod links;
mod outgoing;
mod server;
mod standing;

pub(super) use forward::{Forwarded, Peers};
pub(super) use links::{Links, why};
pub(super) use outgoing::{Outgoing, OutgoingEnds, send_messages, send_snapshots};
pub(super) use server::PeerServer;
pub(super) use standing::{Standing, cluster_from_wire, member_from_wire};

/// Version of the peer protocol; a peer of another is refused in words.
pub(super) const PROTOCOL: u32 = 1;

/// Longest message on the peer port: an entry of a few MiB, or a slice, with room to spare.
pub(super) const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Flow-control window: several messages of 256 KiB are on the way to a peer at any time.
pub(super) const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Streams of one connection at a time: raft's messages, forwarded requests, snapshots, some of each
/// left from before a break.
pub(super) const STREAMS_MAX: u32 = 64;
