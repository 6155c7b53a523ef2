//! `Work`: a worker's conversation with the queue.
//!
//! Up come credits, heartbeats and settlements, down go leases, outcomes and what became of the
//! heartbeats. The conversation is a state machine (`Working`) with a few operations under way:
//!
//! - **Settlements** that arrive while `SETTLES_MAX` commands are under way gather and go together in
//!   the next one, so that the batch grows with the load. A command takes the free credits along and
//!   leases in the same step.
//! - **Credits** that no settlement takes along are asked for by one request that waits. Its wait is
//!   half the time between the worker's heartbeats: a grant that arrives is then never preceded by two
//!   heartbeats that could not list it, which would make the worker drop it.
//! - **Heartbeats** go out at once; when `RENEWALS_MAX` are under way the next ones overtake each
//!   other.
//!
//! `hello` begins it, `take` reads what the worker says, `operations` starts what can be started and
//! takes in what came of it.
//!
//! The end of the stream releases nothing: a broken connection does not prove that the worker is gone.

mod hello;
mod operations;
mod take;

use super::{Answers, stopping};
use crate::api::Api;
use crate::convert::error_from;
use crate::machine::{Renewal, Settle};
use crate::service::Caller;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered};
use hello::{Hello, greet};
use operations::Event;
use quorate_core::error::Error;
use quorate_proto::queue as pb;
use std::collections::VecDeque;
use std::time::Duration;
use take::PENDING_MAX;
use tonic::{Status, Streaming};

/// The answers to a worker.
pub(super) fn stream(
    api: Api,
    caller: Caller,
    up: Streaming<pb::WorkRequest>,
) -> Answers<pb::WorkResponse> {
    let opening = Conversation::Opening(Box::new((api, caller, up)));
    stream::unfold(opening, |state| async move {
        match state {
            Conversation::Opening(opening) => {
                let (api, caller, up) = *opening;
                match Working::open(api, caller, up).await {
                    Ok(working) => {
                        let answer = pb::WorkResponse {
                            session: Some(working.hello.session.0),
                            ..Default::default()
                        };
                        Some((Ok(answer), Conversation::Working(Box::new(working))))
                    }
                    Err(status) => Some((Err(status), Conversation::Over)),
                }
            }
            Conversation::Working(mut working) => match working.next().await? {
                Ok(answer) => Some((Ok(answer), Conversation::Working(working))),
                Err(status) => Some((Err(status), Conversation::Over)),
            },
            Conversation::Over => None,
        }
    })
    .boxed()
}

enum Conversation {
    Opening(Box<(Api, Caller, Streaming<pb::WorkRequest>)>),
    Working(Box<Working>),
    Over,
}

struct Working {
    api: Api,
    caller: Caller,
    hello: Hello,
    /// None once the worker has sent its last.
    up: Option<Streaming<pb::WorkRequest>>,
    in_flight: FuturesUnordered<BoxFuture<'static, Event>>,
    /// Leases that the worker takes and nobody has asked for yet.
    credits: u32,
    /// A request for work is under way.
    asking: bool,
    /// The last one failed; the next one pauses first.
    pause: Option<Duration>,
    settling: usize,
    pending: VecDeque<(u64, Vec<Settle>)>,
    pending_len: usize,
    renewing: usize,
    /// The heartbeat that goes out next, when too many are under way.
    overdue: Option<Renewal>,
    /// Number of the last heartbeat that came.
    heartbeat: u64,
    /// How the stream ends once everything under way is answered; None is well.
    last: Option<Status>,
}

impl Working {
    /// Reads the hello, and opens a session if it names none.
    async fn open(
        api: Api,
        caller: Caller,
        mut up: Streaming<pb::WorkRequest>,
    ) -> Result<Self, Status> {
        let mut first = up.message().await?.ok_or_else(|| {
            Error::invalid("hello: missing; the first message of a worker has it")
        })?;
        let hello = first.hello.take().ok_or_else(|| {
            Error::invalid("hello: missing; the first message of a worker has it")
        })?;
        let heartbeat = hello.heartbeat;
        let hello = greet(&api, &caller, hello).await?;
        let mut working = Self {
            api,
            caller,
            hello,
            up: Some(up),
            in_flight: FuturesUnordered::new(),
            credits: 0,
            asking: false,
            pause: None,
            settling: 0,
            pending: VecDeque::new(),
            pending_len: 0,
            renewing: 0,
            overdue: None,
            heartbeat,
            last: None,
        };
        let mut refused = pb::WorkResponse::default();
        working.take(first, &mut refused)?;
        match refused.settled.pop().and_then(|settled| settled.error) {
            Some(error) => Err(error_from(error).into()),
            None => Ok(working),
        }
    }

    /// The next message down.
    async fn next(&mut self) -> Option<Result<pb::WorkResponse, Status>> {
        let drain = self.api.drain.clone();
        loop {
            self.start();
            let room = self.pending_len < PENDING_MAX;
            let open = self.up.is_some();
            let up = self.up.as_mut();
            tokio::select! {
                biased;
                Some(event) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    let mut answer = pb::WorkResponse::default();
                    if let Err(status) = self.finish(event, &mut answer) {
                        return Some(Err(status));
                    }
                    if answer != pb::WorkResponse::default() {
                        return Some(Ok(answer));
                    }
                }
                () = drain.cancelled(), if open => {
                    self.up = None;
                    self.last = Some(stopping());
                }
                message = read(up), if room && open => match message {
                    Ok(Some(request)) => {
                        let mut answer = pb::WorkResponse::default();
                        if let Err(error) = self.take(request, &mut answer) {
                            return Some(Err(error.into()));
                        }
                        if answer != pb::WorkResponse::default() {
                            return Some(Ok(answer));
                        }
                    }
                    Ok(None) => self.up = None,
                    Err(status) => return Some(Err(status)),
                },
                else => return self.last.take().map(Err),
            }
        }
    }
}

async fn read(
    up: Option<&mut Streaming<pb::WorkRequest>>,
) -> Result<Option<pb::WorkRequest>, Status> {
    match up {
        Some(up) => up.message().await,
        None => Ok(None),
    }
}
