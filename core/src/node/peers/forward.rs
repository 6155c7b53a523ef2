//! Requests to the leader: any node answers by asking the one that leads.

use super::line::{self, Line, LineEnd, Outcome};
use super::{Links, Standing};
use crate::codec;
use crate::error::{Code, Error};
use crate::machine::{Machine, Op};
use crate::types::{NodeId, Principal};
use quorate_proto::peer::ForwardAnswer;
use quorate_proto::peer::forward_request::Request;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

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

/// The lines to the other nodes.
#[derive(Debug)]
pub(in crate::node) struct Peers {
    lines: BTreeMap<NodeId, Line>,
}

impl Peers {
    /// The lines, and what carries them: futures to be run for as long as the node lives.
    pub(in crate::node) fn new(
        addresses: &BTreeMap<NodeId, String>,
        links: &Links,
        standing: &watch::Receiver<Standing>,
    ) -> Result<(Self, Vec<LineEnd>), String> {
        let me = standing.borrow().me.node;
        let mut lines = BTreeMap::new();
        let mut ends = Vec::new();
        for (node, address) in addresses.iter().filter(|(node, _)| **node != me) {
            let (line, end) = line::new(*node, links.channel(*node, address)?, standing.clone());
            lines.insert(*node, line);
            ends.push(end);
        }
        Ok((Self { lines }, ends))
    }

    /// The other nodes.
    pub(in crate::node) fn others(&self) -> impl Iterator<Item = NodeId> {
        self.lines.keys().copied()
    }

    /// Logs an operation at the leader; true with the reply for a remembered one.
    pub(in crate::node) async fn execute<M: Machine>(
        &self,
        leader: NodeId,
        op: &Op<M::Command>,
        wait: Duration,
        deadline: Instant,
    ) -> Forwarded<(M::Reply, bool)> {
        let request = Request::Op(codec::encode(op).into());
        let answer = self.ask(leader, request, wait, deadline).await;
        let replayed = matches!(&answer, Outcome::Answered(answer) if answer.replayed);
        read(answer, leader, |reply: M::Reply| (reply, replayed))
    }

    /// Asks the leader a question.
    pub(in crate::node) async fn query<M: Machine>(
        &self,
        leader: NodeId,
        query: &M::Query,
        deadline: Instant,
    ) -> Forwarded<M::Answer> {
        let request = Request::Query(codec::encode(query).into());
        let answer = self.ask(leader, request, Duration::ZERO, deadline).await;
        read(answer, leader, std::convert::identity)
    }

    /// Renews leases at the leader.
    pub(in crate::node) async fn renew<M: Machine>(
        &self,
        leader: NodeId,
        renewal: &M::Renewal,
        deadline: Instant,
    ) -> Forwarded<M::Renewed> {
        let request = Request::Renewal(codec::encode(renewal).into());
        let answer = self.ask(leader, request, Duration::ZERO, deadline).await;
        read(answer, leader, std::convert::identity)
    }

    /// Opens a client stream at the leader.
    pub(in crate::node) async fn open_stream(
        &self,
        leader: NodeId,
        principal: &Principal,
        deadline: Instant,
    ) -> Forwarded<u64> {
        let request = Request::OpenStream(principal.0.to_string());
        let answer = self.ask(leader, request, Duration::ZERO, deadline).await;
        read(answer, leader, std::convert::identity)
    }

    async fn ask(
        &self,
        leader: NodeId,
        request: Request,
        wait: Duration,
        deadline: Instant,
    ) -> Outcome {
        match self.lines.get(&leader) {
            Some(line) => line.ask(request, wait, deadline).await,
            None => Outcome::NotSent(format!(
                "the leader is node {leader}, whose address is not in QUORATE_PEERS; add it"
            )),
        }
    }
}

fn read<T: DeserializeOwned, U>(
    outcome: Outcome,
    leader: NodeId,
    wrap: impl FnOnce(T) -> U,
) -> Forwarded<U> {
    match outcome {
        Outcome::Answered(ForwardAnswer {
            refusal: Some(refusal),
            ..
        }) => Forwarded::NotSent(format!("node {leader}: {}", refusal.reason)),
        Outcome::Answered(answer) => {
            Forwarded::Answered(match codec::decode::<Result<T, Error>>(&answer.result) {
                Ok(result) => result.map(wrap),
                Err(error) => Err(Error::new(
                    Code::Internal,
                    format!("the leader's answer cannot be read: {error}"),
                )),
            })
        }
        Outcome::NotSent(detail) => Forwarded::NotSent(detail),
        Outcome::Lost(detail) => Forwarded::Lost(detail),
    }
}
