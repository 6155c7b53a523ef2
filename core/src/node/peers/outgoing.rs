//! Raft messages and snapshots to peers. The driver never waits for the network: what does not fit in
//! a peer's queue is dropped, and raft sends it again.

use super::{Links, MESSAGE_BYTES_MAX, Standing, why};
use crate::node::disk::SharedSnapshots;
use crate::replica::SnapshotMeta;
use crate::types::NodeId;
use quorate_proto::peer::peer_client::PeerClient;
use quorate_proto::peer::{RaftFrame, RaftMessage, SnapshotChunk};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// Messages that wait for one peer. Raft itself has at most 16 appends of 256 KiB in flight.
const QUEUE_MAX: usize = 256;

/// Messages and bytes of one frame.
const FRAME_MESSAGES_MAX: usize = 64;
const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Pauses between attempts to reach a peer.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A snapshot to be sent.
#[derive(Debug)]
pub(in crate::node) struct SnapshotOrder {
    pub(in crate::node) to: NodeId,
    pub(in crate::node) message: RaftMessage,
    pub(in crate::node) meta: SnapshotMeta,
}

/// The driver's end of the queues to the peers.
#[derive(Debug)]
pub(in crate::node) struct Outgoing {
    queues: BTreeMap<NodeId, mpsc::Sender<RaftMessage>>,
    snapshots: mpsc::Sender<SnapshotOrder>,
}

/// The network's ends: one receiver a peer, one for snapshots.
pub(in crate::node) type OutgoingEnds = (
    BTreeMap<NodeId, mpsc::Receiver<RaftMessage>>,
    mpsc::Receiver<SnapshotOrder>,
);

impl Outgoing {
    pub(in crate::node) fn new(peers: impl Iterator<Item = NodeId>) -> (Self, OutgoingEnds) {
        let mut queues = BTreeMap::new();
        let mut ends = BTreeMap::new();
        for peer in peers {
            let (sender, receiver) = mpsc::channel(QUEUE_MAX);
            queues.insert(peer, sender);
            ends.insert(peer, receiver);
        }
        // Raft asks for one snapshot a peer at a time.
        let (snapshots, orders) = mpsc::channel(16);
        (Self { queues, snapshots }, (ends, orders))
    }

    pub(in crate::node) fn send(&self, to: NodeId, message: RaftMessage) {
        if let Some(queue) = self.queues.get(&to) {
            // Full or closed: lost, as messages may be.
            let _ = queue.try_send(message);
        }
    }

    pub(in crate::node) fn send_snapshot(
        &self,
        to: NodeId,
        message: RaftMessage,
        meta: SnapshotMeta,
    ) {
        // A dropped order shows as a transfer that never ends; raft asks again after a failure report,
        // which the sender of orders gives for each it takes. The queue holds one for every peer.
        let _ = self.snapshots.try_send(SnapshotOrder { to, message, meta });
    }
}

/// Sends one peer's messages until the queue closes, reconnecting for ever. `unreachable` is called
/// when a connection cannot be made or breaks.
pub(in crate::node) async fn send_messages(
    peer: NodeId,
    address: String,
    links: Links,
    mut queue: mpsc::Receiver<RaftMessage>,
    standing: watch::Receiver<Standing>,
    unreachable: impl Fn() + Send,
) {
    let channel = match links.channel(peer, &address) {
        Ok(channel) => channel,
        Err(error) => {
            tracing::error!(%peer, error, "peer cannot be reached");
            return;
        }
    };
    let mut pause = PAUSE_MIN;
    let mut told = false;
    while let Some(first) = queue.recv().await {
        let started = tokio::time::Instant::now();
        match stream(peer, channel.clone(), first, &mut queue, &standing).await {
            Ended::QueueClosed => return,
            Ended::Broken(status) => {
                unreachable();
                // One line when it breaks; the retries of a peer that is down would only drown the rest.
                if !told {
                    tracing::warn!(%peer, address, reason = why(&status), "peer is not reachable; retrying");
                }
                told = true;
            }
        }
        if started.elapsed() > PAUSE_MAX * 2 {
            pause = PAUSE_MIN;
            told = false;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        // What piled up meanwhile is stale.
        while queue.try_recv().is_ok() {}
    }
}

enum Ended {
    QueueClosed,
    Broken(tonic::Status),
}

async fn stream(
    peer: NodeId,
    channel: Channel,
    first: RaftMessage,
    queue: &mut mpsc::Receiver<RaftMessage>,
    standing: &watch::Receiver<Standing>,
) -> Ended {
    let mut client = PeerClient::new(channel).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (frames, frame_ends) = mpsc::channel::<RaftFrame>(4);
    let from = Some(standing.borrow().identity());
    let call = client.raft(tokio_stream::wrappers::ReceiverStream::new(frame_ends));
    tokio::pin!(call);
    let mut frame = gather(first, queue);
    frame.from = from;
    frame.to = peer.0;
    loop {
        tokio::select! {
            biased;
            ended = &mut call => {
                return Ended::Broken(ended.err().unwrap_or_else(|| tonic::Status::unavailable("the peer closed the stream")));
            }
            sent = frames.send(frame) => {
                if sent.is_err() {
                    // The call has dropped its end; its result says why.
                    return Ended::Broken(call.await.err().unwrap_or_else(|| tonic::Status::unavailable("the stream broke")));
                }
            }
        }
        tokio::select! {
            biased;
            ended = &mut call => {
                return Ended::Broken(ended.err().unwrap_or_else(|| tonic::Status::unavailable("the peer closed the stream")));
            }
            next = queue.recv() => match next {
                Some(first) => frame = gather(first, queue),
                None => return Ended::QueueClosed,
            }
        }
    }
}

fn gather(first: RaftMessage, queue: &mut mpsc::Receiver<RaftMessage>) -> RaftFrame {
    let mut bytes = size(&first);
    let mut messages = vec![first];
    while messages.len() < FRAME_MESSAGES_MAX && bytes < FRAME_BYTES_MAX {
        let Ok(next) = queue.try_recv() else { break };
        bytes += size(&next);
        messages.push(next);
    }
    RaftFrame {
        from: None,
        to: 0,
        messages,
    }
}

fn size(message: &RaftMessage) -> usize {
    message
        .entries
        .iter()
        .map(|entry| entry.data.len() + 32)
        .sum::<usize>()
        + 64
}

/// Sends snapshots as they are ordered, each in a task of its own, and reports how each ended.
pub(in crate::node) async fn send_snapshots(
    addresses: BTreeMap<NodeId, String>,
    links: Links,
    mut orders: mpsc::Receiver<SnapshotOrder>,
    standing: watch::Receiver<Standing>,
    source: SharedSnapshots,
    sent: impl Fn(NodeId, bool) + Clone + Send + 'static,
) {
    // Dropped with this task: a transfer that outlived the node would hold its data directory.
    let mut transfers = JoinSet::new();
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            Some(_) = transfers.join_next() => continue,
        };
        let Some(order) = order else { return };
        let Some(address) = addresses.get(&order.to).cloned() else {
            sent(order.to, false);
            continue;
        };
        let (standing, source, sent) = (standing.clone(), Arc::clone(&source), sent.clone());
        let links = links.clone();
        transfers.spawn(async move {
            let to = order.to;
            let result = send_snapshot(&address, &links, order, &standing, source).await;
            match &result {
                Ok(slices) => tracing::info!(%to, slices, "snapshot sent"),
                Err(error) => {
                    tracing::warn!(%to, error, "snapshot not sent; it will be tried again");
                }
            }
            sent(to, result.is_ok());
        });
    }
}

async fn send_snapshot(
    address: &str,
    links: &Links,
    order: SnapshotOrder,
    standing: &watch::Receiver<Standing>,
    source: SharedSnapshots,
) -> Result<u64, String> {
    let mut client = PeerClient::new(links.channel(order.to, address)?)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (chunks, chunk_ends) = mpsc::channel::<SnapshotChunk>(4);
    let from = standing.borrow().identity();
    let reading = tokio::task::spawn_blocking(move || -> Result<u64, String> {
        let mut slices = 0;
        let head = SnapshotChunk {
            from: Some(from),
            message: Some(order.message),
            ..SnapshotChunk::default()
        };
        chunks
            .blocking_send(head)
            .map_err(|_| "the transfer broke off".to_owned())?;
        source
            .read(&order.meta, &mut |slice: Vec<u8>| {
                slices += 1;
                let crc32 = crc32fast::hash(&slice);
                let chunk = SnapshotChunk {
                    slice: slice.into(),
                    crc32,
                    ..SnapshotChunk::default()
                };
                chunks.blocking_send(chunk).is_ok()
            })
            .map_err(|error| error.to_string())?;
        let tail = SnapshotChunk {
            slices_total: slices,
            ..SnapshotChunk::default()
        };
        chunks
            .blocking_send(tail)
            .map_err(|_| "the transfer broke off".to_owned())?;
        Ok(slices)
    });
    client
        .snapshot(tokio_stream::wrappers::ReceiverStream::new(chunk_ends))
        .await
        .map_err(|status| why(&status))?;
    reading.await.map_err(|error| error.to_string())?
}
