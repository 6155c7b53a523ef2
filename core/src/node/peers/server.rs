//! What peers send: raft messages, snapshots, forwarded requests. The sender is checked first, always.

use super::{PROTOCOL, Standing};
use crate::codec;
use crate::error::{Code, Error};
use crate::machine::{Machine, Op, Origin};
use crate::node::Node;
use crate::node::disk::SharedSnapshots;
use crate::node::driver::Letter;
use crate::replica::Input;
use crate::types::Principal;
use quorate_proto::peer::forward_request::Request;
use quorate_proto::peer::{
    ForwardRequest, ForwardResponse, HelloRequest, HelloResponse, RaftClosed, RaftFrame,
    SnapshotChunk, SnapshotClosed, peer_server,
};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Request as GrpcRequest, Response, Status, Streaming};

/// Longest a forwarded request is worked on, whatever its caller says.
const TIMEOUT_MAX: Duration = Duration::from_secs(120);

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

    fn deliver(&self, input: Input<M>) {
        // A full mailbox loses the message, as the network may.
        let _ = self.node.shared.mailbox.offer(Letter::Input(input));
    }

    async fn answer(
        &self,
        request: Request,
        wait: Duration,
        deadline: Instant,
    ) -> Result<ForwardResponse, Status> {
        Ok(match request {
            Request::Op(bytes) => {
                let op: Op<M::Command> =
                    codec::decode(&bytes).map_err(|error| unreadable(&error))?;
                if matches!(op.origin, Origin::Leader(_)) {
                    return Err(Status::permission_denied("only a leader speaks for itself"));
                }
                match self.node.propose_here(op, wait, deadline).await {
                    Ok((reply, replayed)) => ForwardResponse {
                        replayed,
                        ..encoded::<_>(&Ok::<_, Error>(reply))
                    },
                    Err(error) => refused::<M::Reply>(error),
                }
            }
            Request::OpenStream(principal) => {
                match self
                    .node
                    .open_stream_here(Principal(principal.into()), deadline)
                    .await
                {
                    Ok(stream) => encoded(&Ok::<_, Error>(stream)),
                    Err(error) => refused::<u64>(error),
                }
            }
            Request::Query(bytes) => {
                let query = codec::decode(&bytes).map_err(|error| unreadable(&error))?;
                match self.node.query_here(query, deadline).await {
                    Ok(answer) => encoded(&Ok::<_, Error>(answer)),
                    Err(error) => refused::<M::Answer>(error),
                }
            }
            Request::Renewal(bytes) => {
                let renewal = codec::decode(&bytes).map_err(|error| unreadable(&error))?;
                match self.node.renew_here(renewal, deadline).await {
                    Ok(renewed) => encoded(&Ok::<_, Error>(renewed)),
                    Err(error) => refused::<M::Renewed>(error),
                }
            }
        })
    }
}

fn unreadable(error: &codec::CodecError) -> Status {
    Status::invalid_argument(format!("the request cannot be read: {error}"))
}

fn encoded<T: Serialize>(result: &Result<T, Error>) -> ForwardResponse {
    ForwardResponse {
        result: codec::encode(result).into(),
        ..ForwardResponse::default()
    }
}

/// `no_quorum` means certainly not done, so the node that asked may look for the leader elsewhere.
fn refused<T: Serialize>(error: Error) -> ForwardResponse {
    if error.code == Code::NoQuorum {
        ForwardResponse {
            not_leader: true,
            ..ForwardResponse::default()
        }
    } else {
        encoded(&Err::<T, _>(error))
    }
}

#[tonic::async_trait]
impl<M: Machine> peer_server::Peer for PeerServer<M> {
    async fn hello(
        &self,
        request: GrpcRequest<HelloRequest>,
    ) -> Result<Response<HelloResponse>, Status> {
        let request = request.into_inner();
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
        let mut frames = request.into_inner();
        let mut sender = None;
        while let Some(frame) = frames.message().await? {
            let from = match sender {
                Some(from) => from,
                None => *sender.insert(
                    self.standing
                        .borrow()
                        .admit(frame.from.as_ref(), Some(frame.to))?,
                ),
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
        let mut chunks = request.into_inner();
        let head = chunks
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("the snapshot is empty"))?;
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

    async fn forward(
        &self,
        request: GrpcRequest<ForwardRequest>,
    ) -> Result<Response<ForwardResponse>, Status> {
        let request = request.into_inner();
        self.standing.borrow().admit(request.from.as_ref(), None)?;
        let inner = request
            .request
            .ok_or_else(|| Status::invalid_argument("the forwarded request is empty"))?;
        let timeout = Duration::from_millis(request.timeout_ms).min(TIMEOUT_MAX);
        let wait = Duration::from_millis(request.wait_ms).min(timeout);
        self.answer(inner, wait, Instant::now() + timeout)
            .await
            .map(Response::new)
    }
}
