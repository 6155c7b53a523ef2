//! Answers to the requests that one peer forwards: each as soon as it is there, those that are ready
//! together in one message.

use crate::codec;
use crate::error::{Code, Error};
use crate::machine::{Machine, Op, Origin};
use crate::node::Node;
use crate::types::Principal;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{self, BoxStream, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _};
use quorate_proto::peer::forward_request::Request;
use quorate_proto::peer::{
    ForwardAnswer, ForwardAnswers, ForwardFrame, ForwardRefusal, ForwardRequest,
};
use serde::Serialize;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Status, Streaming};

/// Longest a forwarded request is worked on, whatever its caller says.
const TIMEOUT_MAX: Duration = Duration::from_secs(120);

/// Requests of one peer under way. Beyond that its frames wait in its connection.
const UNDER_WAY_MAX: usize = 65_536;

/// Answers and bytes of one message.
const ANSWERS_MAX: usize = 256;
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// What goes down to the peer.
pub(super) type Answering = BoxStream<'static, Result<ForwardAnswers, Status>>;

/// Answers what comes up in `frames` until the peer closes or the node stops.
pub(super) fn stream<M: Machine>(node: Node<M>, frames: Streaming<ForwardFrame>) -> Answering {
    let state = State {
        node,
        frames: Some(frames),
        under_way: FuturesUnordered::new(),
        aborts: HashMap::new(),
    };
    stream::unfold(state, |mut state| async move {
        let next = state.next().await?;
        Some((next, state))
    })
    .boxed()
}

/// The number of a request, and its answer unless it was forgotten.
type Answered = (u64, Option<ForwardAnswer>);

struct State<M: Machine> {
    node: Node<M>,
    /// None when the peer has closed.
    frames: Option<Streaming<ForwardFrame>>,
    under_way: FuturesUnordered<BoxFuture<'static, Answered>>,
    aborts: HashMap<u64, AbortHandle>,
}

impl<M: Machine> State<M> {
    async fn next(&mut self) -> Option<Result<ForwardAnswers, Status>> {
        let stopping = self.node.shared.stopping.clone();
        loop {
            let idle = self.under_way.is_empty();
            let open = self.aborts.len() < UNDER_WAY_MAX && !stopping.is_cancelled();
            let frames = self.frames.as_mut()?;
            tokio::select! {
                biased;
                Some(first) = self.under_way.next(), if !idle => {
                    let answers = self.gather(first);
                    if !answers.answers.is_empty() {
                        return Some(Ok(answers));
                    }
                }
                // With nothing under way: what was answered goes out first.
                () = stopping.cancelled(), if idle => self.frames = None,
                frame = frames.message(), if open => match frame {
                    Ok(Some(frame)) => self.take_in(frame),
                    // Nobody is left to hear an answer.
                    Ok(None) | Err(_) => self.frames = None,
                },
            }
        }
    }

    fn take_in(&mut self, frame: ForwardFrame) {
        // First, so that what is given up takes nothing from what comes now.
        for number in &frame.forgotten {
            if let Some(abort) = self.aborts.get(number) {
                abort.abort();
            }
        }
        for request in frame.requests {
            let number = request.number;
            if frame.forgotten.contains(&number) {
                continue;
            }
            let (abort, registration) = AbortHandle::new_pair();
            self.aborts.insert(number, abort);
            let answering = Abortable::new(answer(self.node.clone(), request), registration);
            self.under_way
                .push(answering.map(move |answer| (number, answer.ok())).boxed());
        }
    }

    /// One answer and all others that are there already.
    fn gather(&mut self, first: Answered) -> ForwardAnswers {
        let mut answers = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some((number, answer)) = next {
            self.aborts.remove(&number);
            if let Some(answer) = answer {
                bytes += answer.result.len();
                answers.push(answer);
            }
            next = if answers.len() < ANSWERS_MAX && bytes < ANSWER_BYTES_MAX {
                self.under_way.next().now_or_never().flatten()
            } else {
                None
            };
        }
        ForwardAnswers { answers }
    }
}

async fn answer<M: Machine>(node: Node<M>, request: ForwardRequest) -> ForwardAnswer {
    let timeout = Duration::from_millis(request.timeout_ms).min(TIMEOUT_MAX);
    let wait = Duration::from_millis(request.wait_ms).min(timeout);
    let deadline = Instant::now() + timeout;
    let mut answer = match request.request {
        Some(Request::Op(bytes)) => propose(&node, &bytes, wait, deadline).await,
        Some(Request::OpenStream(principal)) => encoded(
            node.open_stream_here(Principal(principal.into()), deadline)
                .await,
        ),
        Some(Request::Query(bytes)) => match codec::decode(&bytes) {
            Ok(query) => encoded(node.query_here(query, deadline).await),
            Err(error) => unreadable(&error),
        },
        Some(Request::Renewal(bytes)) => match codec::decode(&bytes) {
            Ok(renewal) => encoded(node.renew_here(renewal, deadline).await),
            Err(error) => unreadable(&error),
        },
        None => refusal("the forwarded request is of a kind this version does not know"),
    };
    answer.number = request.number;
    answer
}

async fn propose<M: Machine>(
    node: &Node<M>,
    bytes: &[u8],
    wait: Duration,
    deadline: Instant,
) -> ForwardAnswer {
    match codec::decode::<Op<M::Command>>(bytes) {
        Err(error) => unreadable(&error),
        Ok(op) if matches!(op.origin, Origin::Leader(_)) => {
            refusal("only a leader speaks for itself")
        }
        Ok(op) => {
            let result = node.propose_here(op, wait, deadline).await;
            let replayed = result.as_ref().is_ok_and(|(_, replayed)| *replayed);
            ForwardAnswer {
                replayed,
                ..encoded(result.map(|(reply, _)| reply))
            }
        }
    }
}

fn unreadable(error: &codec::CodecError) -> ForwardAnswer {
    refusal(&format!("the request cannot be read: {error}"))
}

fn refusal(reason: &str) -> ForwardAnswer {
    ForwardAnswer {
        refusal: Some(ForwardRefusal {
            reason: reason.to_owned(),
        }),
        ..ForwardAnswer::default()
    }
}

/// `no_quorum` means certainly not done, so the node that asked may look for the leader elsewhere.
fn encoded<T: Serialize>(result: Result<T, Error>) -> ForwardAnswer {
    match result {
        Err(error) if error.code == Code::NoQuorum => refusal(&error.detail),
        result => ForwardAnswer {
            result: codec::encode(&result).into(),
            ..ForwardAnswer::default()
        },
    }
}
