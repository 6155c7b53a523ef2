//! Requests to the leader: any node answers by asking the one that leads.

use super::{MESSAGE_BYTES_MAX, Standing, channel};
use crate::codec;
use crate::error::{Code, Error};
use crate::machine::{Machine, Op};
use crate::types::{GroupId, NodeId, Principal};
use quorate_proto::peer::forward_request::Request;
use quorate_proto::peer::peer_client::PeerClient;
use quorate_proto::peer::{ForwardRequest, ForwardResponse};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Channel;

/// What became of a forwarded request.
#[derive(Debug)]
pub(in crate::node) enum Forwarded<T> {
    /// The leader answered.
    Answered(Result<T, Error>),
    /// It certainly was not carried out.
    NotSent(String),
    /// It was sent and no answer came.
    Lost(String),
}

/// The ways to the other nodes.
#[derive(Debug)]
pub(in crate::node) struct Peers {
    channels: BTreeMap<NodeId, Channel>,
    standing: watch::Receiver<Standing>,
}

impl Peers {
    pub(in crate::node) fn new(
        addresses: &BTreeMap<NodeId, String>,
        standing: watch::Receiver<Standing>,
    ) -> Result<Self, String> {
        let me = standing.borrow().me.node;
        let channels = addresses
            .iter()
            .filter(|(node, _)| **node != me)
            .map(|(node, address)| Ok((*node, channel(address)?)))
            .collect::<Result<_, String>>()?;
        Ok(Self { channels, standing })
    }

    /// The other nodes.
    pub(in crate::node) fn others(&self) -> impl Iterator<Item = NodeId> {
        self.channels.keys().copied()
    }

    /// Logs an operation at the leader; true with the reply for a remembered one.
    pub(in crate::node) async fn execute<M: Machine>(
        &self,
        leader: NodeId,
        op: &Op<M::Command>,
        wait: Duration,
        deadline: Instant,
    ) -> Forwarded<(M::Reply, bool)> {
        let response = self
            .ask(
                leader,
                Request::Op(codec::encode(op).into()),
                wait,
                deadline,
            )
            .await;
        let replayed = matches!(&response, Forwarded::Answered(Ok(response)) if response.replayed);
        map(response, |reply: M::Reply| (reply, replayed))
    }

    /// Asks the leader a question.
    pub(in crate::node) async fn query<M: Machine>(
        &self,
        leader: NodeId,
        query: &M::Query,
        deadline: Instant,
    ) -> Forwarded<M::Answer> {
        map(
            self.ask(
                leader,
                Request::Query(codec::encode(query).into()),
                Duration::ZERO,
                deadline,
            )
            .await,
            |a| a,
        )
    }

    /// Renews leases at the leader.
    pub(in crate::node) async fn renew<M: Machine>(
        &self,
        leader: NodeId,
        renewal: &M::Renewal,
        deadline: Instant,
    ) -> Forwarded<M::Renewed> {
        map(
            self.ask(
                leader,
                Request::Renewal(codec::encode(renewal).into()),
                Duration::ZERO,
                deadline,
            )
            .await,
            |a| a,
        )
    }

    /// Opens a client stream at the leader.
    pub(in crate::node) async fn open_stream(
        &self,
        leader: NodeId,
        principal: &Principal,
        deadline: Instant,
    ) -> Forwarded<u64> {
        map(
            self.ask(
                leader,
                Request::OpenStream(principal.0.to_string()),
                Duration::ZERO,
                deadline,
            )
            .await,
            |id| id,
        )
    }

    async fn ask(
        &self,
        leader: NodeId,
        request: Request,
        wait: Duration,
        deadline: Instant,
    ) -> Forwarded<ForwardResponse> {
        let Some(channel) = self.channels.get(&leader) else {
            return Forwarded::NotSent(format!(
                "the leader is node {leader}, whose address is not in QUORATE_PEERS; add it"
            ));
        };
        let mut client = PeerClient::new(channel.clone())
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = ForwardRequest {
            from: Some(self.standing.borrow().identity()),
            group: GroupId(0).0,
            timeout_ms: millis(deadline.saturating_duration_since(Instant::now())),
            wait_ms: millis(wait),
            request: Some(request),
        };
        match tokio::time::timeout_at(deadline, client.forward(request)).await {
            Ok(Ok(response)) => {
                let response = response.into_inner();
                if response.not_leader {
                    Forwarded::NotSent(format!("node {leader} does not lead any more"))
                } else {
                    Forwarded::Answered(Ok(response))
                }
            }
            Ok(Err(status)) if never_sent(&status) => {
                Forwarded::NotSent(format!("the leader, node {leader}, cannot be reached"))
            }
            Ok(Err(status)) => Forwarded::Lost(format!(
                "the connection to the leader broke: {}",
                status.message()
            )),
            Err(_) => Forwarded::Lost(format!(
                "no answer from the leader, node {leader}, in time: it may or may not have been done; repeat it under the same key, or look first"
            )),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether the request never left this machine (the connection could not be made), or was refused
/// before anything was done with it.
fn never_sent(status: &tonic::Status) -> bool {
    if matches!(
        status.code(),
        tonic::Code::PermissionDenied | tonic::Code::InvalidArgument
    ) {
        return true;
    }
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn map<T: DeserializeOwned, U>(
    response: Forwarded<ForwardResponse>,
    wrap: impl FnOnce(T) -> U,
) -> Forwarded<U> {
    match response {
        Forwarded::Answered(Ok(response)) => {
            Forwarded::Answered(match codec::decode::<Result<T, Error>>(&response.result) {
                Ok(result) => result.map(wrap),
                Err(error) => Err(Error::new(
                    Code::Internal,
                    format!("the leader's answer cannot be read: {error}"),
                )),
            })
        }
        Forwarded::Answered(Err(error)) => Forwarded::Answered(Err(error)),
        Forwarded::NotSent(detail) => Forwarded::NotSent(detail),
        Forwarded::Lost(detail) => Forwarded::Lost(detail),
    }
}
