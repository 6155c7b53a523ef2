//! The network between replicas: raft messages and snapshots out ([`outgoing`]), everything in
//! ([`server`]), requests to the leader ([`forward`], by the [`line`] to each peer; answered by
//! [`answer`]), and who is who ([`standing`]).
//!
//! Raft messages of one sender travel in one stream and keep their order; any may be lost. Snapshots
//! and forwarded requests use a second connection, so that a heartbeat never waits behind a slice.

mod answer;
mod forward;
mod line;
mod outgoing;
mod server;
mod standing;

pub(super) use forward::{Forwarded, Peers};
pub(super) use outgoing::{Outgoing, OutgoingEnds, send_messages, send_snapshots};
pub(super) use server::PeerServer;
pub(super) use standing::{Standing, cluster_from_wire, member_from_wire};

use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// Version of the peer protocol; a peer of another is refused in words.
pub(super) const PROTOCOL: u32 = 1;

/// Longest message on the peer port: an entry of a few MiB, or a slice, with room to spare.
pub(super) const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Flow-control window: several messages of 256 KiB are on the way to a peer at any time.
pub(super) const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Streams of one connection at a time: raft's messages, forwarded requests, snapshots, some of each
/// left from before a break.
pub(super) const STREAMS_MAX: u32 = 64;

/// A lazily connecting channel to a peer, which notices a dead one within a few seconds.
pub(super) fn channel(address: &str) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
        format!("the peer address {address:?} is not usable: {error}; correct QUORATE_PEERS")
    })?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(1))
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(3))
        .keep_alive_while_idle(true)
        .connect_lazy())
}
