//! The line to one peer: forwarded requests of all callers in one stream, many a message.
//!
//! A stream a request would cost more than the request. What callers hand in while a message is on its
//! way goes into the next one, and the peer answers in the same manner. A request counts as sent once it
//! was handed to the stream: when that breaks, nobody knows what became of it.

use super::{MESSAGE_BYTES_MAX, Standing};
use crate::types::{GroupId, NodeId};
use futures::StreamExt as _;
use quorate_proto::peer::forward_request::Request;
use quorate_proto::peer::peer_client::PeerClient;
use quorate_proto::peer::{ForwardAnswer, ForwardFrame, ForwardRequest};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Requests that wait to be sent. Beyond that callers are told that nothing was sent, and try again.
const QUEUE_MAX: usize = 16_384;

/// Requests and bytes of one frame.
const FRAME_REQUESTS_MAX: usize = 256;
const FRAME_BYTES_MAX: usize = 256 * 1024;

/// What became of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    Answered(ForwardAnswer),
    NotSent(String),
    Lost(String),
}

#[derive(Debug)]
struct Errand {
    request: ForwardRequest,
    to: oneshot::Sender<Outcome>,
}

/// The callers' end.
#[derive(Debug)]
pub(super) struct Line {
    peer: NodeId,
    numbers: AtomicU64,
    errands: mpsc::Sender<Errand>,
    /// A caller that goes away is told about without waiting; each is one of at most as many requests
    /// as a node holds.
    forgotten: mpsc::UnboundedSender<u64>,
}

/// The network's end.
#[derive(Debug)]
pub(in crate::node) struct LineEnd {
    peer: NodeId,
    channel: Channel,
    standing: watch::Receiver<Standing>,
    errands: mpsc::Receiver<Errand>,
    forgotten: mpsc::UnboundedReceiver<u64>,
}

pub(super) fn new(
    peer: NodeId,
    channel: Channel,
    standing: watch::Receiver<Standing>,
) -> (Line, LineEnd) {
    let (errands, errand_ends) = mpsc::channel(QUEUE_MAX);
    let (forgotten, forgotten_ends) = mpsc::unbounded_channel();
    let line = Line {
        peer,
        numbers: AtomicU64::new(0),
        errands,
        forgotten,
    };
    let end = LineEnd {
        peer,
        channel,
        standing,
        errands: errand_ends,
        forgotten: forgotten_ends,
    };
    (line, end)
}

impl Line {
    /// Sends a request and waits for what becomes of it, until `deadline`.
    pub(super) async fn ask(&self, request: Request, wait: Duration, deadline: Instant) -> Outcome {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let request = ForwardRequest {
            number,
            group: GroupId(0).0,
            timeout_ms: millis(deadline.saturating_duration_since(Instant::now())),
            wait_ms: millis(wait),
            request: Some(request),
        };
        let (to, answer) = oneshot::channel();
        let errand = Errand { request, to };
        if self.errands.try_send(errand).is_err() {
            return Outcome::NotSent(format!(
                "too many requests wait to be sent to the leader, node {}",
                self.peer
            ));
        }
        let mut guard = ForgetOnDrop {
            line: self,
            number,
            armed: true,
        };
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(outcome)) => {
                guard.armed = false;
                outcome
            }
            Ok(Err(_)) => {
                guard.armed = false;
                Outcome::Lost("this node is stopping".to_owned())
            }
            Err(_) => Outcome::Lost(format!(
                "no answer from the leader, node {}, in time: it may or may not have been done; repeat it under the same key, or look first",
                self.peer
            )),
        }
    }
}

struct ForgetOnDrop<'a> {
    line: &'a Line,
    number: u64,
    armed: bool,
}

impl Drop for ForgetOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed {
            // Closed: the node is stopping, and nothing is remembered.
            let _ = self.line.forgotten.send(self.number);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A stream that the peer has accepted.
struct Open {
    frames: mpsc::Sender<ForwardFrame>,
    answers: Streaming<quorate_proto::peer::ForwardAnswers>,
}

impl LineEnd {
    /// Carries requests until the callers' end is dropped.
    pub(in crate::node) async fn run(mut self) {
        while let Some(first) = self.errands.recv().await {
            match self.open().await {
                Ok(open) => self.carry(open, first).await,
                Err(reason) => self.refuse(first, &reason),
            }
        }
    }

    /// Whoever waits hears that nothing was sent.
    fn refuse(&mut self, first: Errand, reason: &str) {
        let mut next = Some(first);
        while let Some(errand) = next {
            let _ = errand.to.send(Outcome::NotSent(reason.to_owned()));
            next = self.errands.try_recv().ok();
        }
        while self.forgotten.try_recv().is_ok() {}
    }

    async fn open(&self) -> Result<Open, String> {
        let mut client = PeerClient::new(self.channel.clone())
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        // Room for one: while it is on its way, the next gathers.
        let (frames, frame_ends) = mpsc::channel(1);
        let head = ForwardFrame {
            from: Some(self.standing.borrow().identity()),
            to: self.peer.0,
            ..ForwardFrame::default()
        };
        frames
            .send(head)
            .await
            .expect("the receiving end is held here");
        let answers = client
            .forward(ReceiverStream::new(frame_ends))
            .await
            .map_err(|status| {
                format!(
                    "the leader, node {}, cannot be reached: {}",
                    self.peer,
                    status.message()
                )
            })?
            .into_inner();
        Ok(Open { frames, answers })
    }

    /// Carries requests and answers until the stream breaks.
    async fn carry(&mut self, mut open: Open, first: Errand) {
        let mut waiting = HashMap::new();
        let mut frame = Some(self.gather(Some(first), None, &mut waiting));
        let reason = loop {
            tokio::select! {
                biased;
                answers = open.answers.next() => match answers {
                    Some(Ok(answers)) => {
                        for answer in answers.answers {
                            if let Some(to) = waiting.remove(&answer.number) {
                                let to: oneshot::Sender<Outcome> = to;
                                // The caller may have just gone.
                                let _ = to.send(Outcome::Answered(answer));
                            }
                        }
                    }
                    Some(Err(status)) => break status.message().to_owned(),
                    None => break "the peer closed it".to_owned(),
                },
                place = open.frames.reserve(), if frame.is_some() => match place {
                    Ok(place) => place.send(frame.take().unwrap_or_default()),
                    Err(_) => break "it broke".to_owned(),
                },
                errand = self.errands.recv(), if frame.is_none() => match errand {
                    Some(errand) => frame = Some(self.gather(Some(errand), None, &mut waiting)),
                    None => return,
                },
                Some(number) = self.forgotten.recv(), if frame.is_none() => {
                    frame = Some(self.gather(None, Some(number), &mut waiting));
                }
            }
        };
        for request in frame.into_iter().flat_map(|unsent| unsent.requests) {
            if let Some(to) = waiting.remove(&request.number) {
                let _ = to.send(Outcome::NotSent(format!(
                    "the connection to the leader broke before this was sent: {reason}"
                )));
            }
        }
        for (_, to) in waiting {
            let _ = to.send(Outcome::Lost(format!(
                "the connection to the leader broke: {reason}"
            )));
        }
    }

    /// One frame of what waits.
    fn gather(
        &mut self,
        mut next: Option<Errand>,
        forgotten: Option<u64>,
        waiting: &mut HashMap<u64, oneshot::Sender<Outcome>>,
    ) -> ForwardFrame {
        let mut frame = ForwardFrame::default();
        let mut bytes = 0;
        while frame.requests.len() < FRAME_REQUESTS_MAX && bytes < FRAME_BYTES_MAX {
            let next = next.take().or_else(|| self.errands.try_recv().ok());
            let Some(Errand { request, to }) = next else {
                break;
            };
            if to.is_closed() {
                continue;
            }
            bytes += size(&request);
            waiting.insert(request.number, to);
            frame.requests.push(request);
        }
        let mut next = forgotten.or_else(|| self.forgotten.try_recv().ok());
        while let Some(number) = next {
            // One that was answered meanwhile, or never sent on this stream, is no news to the peer.
            if waiting.remove(&number).is_some() {
                frame.forgotten.push(number);
            }
            next = self.forgotten.try_recv().ok();
        }
        frame
    }
}

fn size(request: &ForwardRequest) -> usize {
    match &request.request {
        Some(Request::Op(bytes) | Request::Query(bytes) | Request::Renewal(bytes)) => bytes.len(),
        Some(Request::OpenStream(principal)) => principal.len(),
        None => 0,
    }
}
