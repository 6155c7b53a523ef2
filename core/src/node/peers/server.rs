//! What peers send: raft messages, snapshots, forwarded requests. The sender is checked first, always.

use super::answer::{self, Answering};
use super::{PROTOCOL, Standing};
use crate::machine::Machine;
use crate::node::Node;
use crate::node::disk::SharedSnapshots;
use crate::node::driver::Letter;
use crate::node::incoming::Certified;
use crate::replica::Input;
use quorate_proto::peer::{
    ForwardFrame, HelloRequest, HelloResponse, RaftClosed, RaftFrame, SnapshotChunk,
    SnapshotClosed, peer_server,
};
use std::sync::Arc;
use tokio::sync::watch;
use tonic::{Request as GrpcRequest, Response, Status, Streaming};

/// The service behind the peer port.
pub(in crate::node) struct PeerServer<M: Machine> {
    node: Node<M>,
    standing: watch::Receiver<Standing>,
    sink: SharedSnapshots,
}

impl<M: Machine> PeerServer<M> {
    pub(in crate::node) fn new(
        node: Node<M>,
        standing: watch::Receiver<Standing>,
        sink: SharedSnapshots,
    ) -> Self {
        Self {
            node,
            standing,
            sink,
        }
    }

    /// A snapshot: its header, its slices, their number.
    async fn receive(
        &self,
        request: GrpcRequest<Streaming<SnapshotChunk>>,
    ) -> Result<Response<SnapshotClosed>, Status> {
        let certified = certified(&request);
        let mut chunks = request.into_inner();
        let head = chunks
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("the snapshot is empty"))?;
        certified.check(head.from.as_ref())?;
        let from = self.standing.borrow().admit(head.from.as_ref(), None)?;
        let message = head
            .message
            .ok_or_else(|| Status::invalid_argument("the snapshot has no header"))?;
        let mut slices = Vec::new();
        loop {
            let chunk = chunks
                .message()
                .await?
                .ok_or_else(|| Status::data_loss("the snapshot broke off"))?;
            if chunk.slices_total > 0 || chunk.slice.is_empty() {
                if chunk.slices_total != slices.len() as u64 {
                    return Err(Status::data_loss("the snapshot is incomplete"));
                }
                break;
            }
            if crc32fast::hash(&chunk.slice) != chunk.crc32 {
                return Err(Status::data_loss("a slice of the snapshot is damaged"));
            }
            slices.push(chunk.slice.to_vec());
        }
        let header = message
            .snapshot
            .clone()
            .ok_or_else(|| Status::invalid_argument("the snapshot has no header"))?;
        let meta = crate::replica::snapshot_meta(&header)
            .ok_or_else(|| Status::invalid_argument("the snapshot's header is malformed"))?;
        let sink = Arc::clone(&self.sink);
        let slices =
            tokio::task::spawn_blocking(move || sink.store(&meta, &slices).map(|()| slices))
                .await
                .map_err(|error| Status::internal(error.to_string()))?
                .map_err(|error| {
                    Status::resource_exhausted(format!("the snapshot cannot be stored: {error}"))
                })?;
        self.node
            .shared
            .mailbox
            .push(Letter::Input(Input::SnapshotReceived {
                from,
                message,
                slices,
            }));
        Ok(Response::new(SnapshotClosed {}))
    }

    fn deliver(&self, input: Input<M>) {
        // A full mailbox loses the message, as the network may.
        let _ = self.node.shared.mailbox.offer(Letter::Input(input));
    }
}

/// Whom the connection's certificate names. Without one there is no TLS here, and nobody is certified.
fn certified<T>(request: &GrpcRequest<T>) -> Certified {
    request
        .extensions()
        .get::<Certified>()
        .copied()
        .unwrap_or_default()
}

#[tonic::async_trait]
impl<M: Machine> peer_server::Peer for PeerServer<M> {
    async fn hello(
        &self,
        request: GrpcRequest<HelloRequest>,
    ) -> Result<Response<HelloResponse>, Status> {
        let certified = certified(&request);
        let request = request.into_inner();
        certified.check(request.from.as_ref())?;
        if request.protocol != PROTOCOL {
            return Err(Status::failed_precondition(format!(
                "this node speaks peer protocol {PROTOCOL}, the sender {}; run the same or neighbouring versions",
                request.protocol
            )));
        }
        let standing = self.standing.borrow();
        let me = standing.me;
        if let Some(from) = &request.from
            && from.node_id == me.node.0
        {
            return Err(Status::already_exists(format!(
                "this node is node {} already; give each its own QUORATE_NODE_ID",
                me.node
            )));
        }
        Ok(Response::new(standing.hello_response()))
    }

    async fn raft(
        &self,
        request: GrpcRequest<Streaming<RaftFrame>>,
    ) -> Result<Response<RaftClosed>, Status> {
        let certified = certified(&request);
        let mut frames = request.into_inner();
        let mut sender = None;
        let stopping = self.node.shared.stopping.clone();
        loop {
            // A stream that outlived the node would hold its data directory.
            let frame = tokio::select! {
                biased;
                () = stopping.cancelled() => {
                    return Err(Status::unavailable("this node is stopping"));
                }
                frame = frames.message() => frame?,
            };
            let Some(frame) = frame else { break };
            let from = match sender {
                Some(from) => from,
                None => {
                    certified.check(frame.from.as_ref())?;
                    *sender.insert(
                        self.standing
                            .borrow()
                            .admit(frame.from.as_ref(), Some(frame.to))?,
                    )
                }
            };
            for message in frame.messages {
                self.deliver(Input::Message { from, message });
            }
        }
        Ok(Response::new(RaftClosed {}))
    }

    async fn snapshot(
        &self,
        request: GrpcRequest<Streaming<SnapshotChunk>>,
    ) -> Result<Response<SnapshotClosed>, Status> {
        let stopping = &self.node.shared.stopping;
        let received = stopping.run_until_cancelled(self.receive(request)).await;
        received.unwrap_or_else(|| Err(Status::unavailable("this node is stopping")))
    }

    type ForwardStream = Answering;

    async fn forward(
        &self,
        request: GrpcRequest<Streaming<ForwardFrame>>,
    ) -> Result<Response<Answering>, Status> {
        let certified = certified(&request);
        let mut frames = request.into_inner();
        let head = frames
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("the stream is empty"))?;
        certified.check(head.from.as_ref())?;
        self.standing
            .borrow()
            .admit(head.from.as_ref(), Some(head.to))?;
        Ok(Response::new(answer::stream(self.node.clone(), frames)))
    }
}
