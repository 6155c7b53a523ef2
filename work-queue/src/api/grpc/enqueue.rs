//! `EnqueueStream`: numbered requests up, acknowledgements down in the order of completion.
//!
//! Several requests are under way at once, bounded in number and bytes; beyond that the client's
//! messages wait in its connection. Acknowledgements that are ready together go in one message.

use super::{Answers, stopping};
use crate::api::Api;
use crate::convert::{error_into, reply};
use crate::machine::Command;
use crate::service::Caller;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _};
use quorate_core::error::Error;
use quorate_core::key;
use quorate_proto::queue as pb;
use std::sync::Arc;
use tonic::{Status, Streaming};

/// Requests under way: enough to fill the log entries that are written while one is synced.
const IN_FLIGHT_MAX: usize = 64;
/// Their payloads in bytes.
const IN_FLIGHT_BYTES_MAX: usize = 16 << 20;
/// Acknowledgements in one message: each may hold a thousand ids.
const ACKS_MAX: usize = 64;

/// Stores a trace context with the jobs that name none.
pub(super) fn trace(jobs: &mut [pb::NewJob], context: &str) {
    for job in jobs {
        job.traceparent.get_or_insert_with(|| context.to_owned());
    }
}

/// The answers to a stream of requests.
pub(super) fn stream(
    api: Api,
    caller: Caller,
    context: Option<Arc<str>>,
    up: Streaming<pb::EnqueueStreamRequest>,
) -> Answers<pb::EnqueueStreamResponse> {
    let state = Enqueuing {
        api,
        caller,
        context,
        up: Some(up),
        in_flight: FuturesUnordered::new(),
        bytes: 0,
        last: None,
    };
    stream::unfold(state, |mut state| async move {
        let next = state.next().await?;
        Some((next, state))
    })
    .boxed()
}

/// An acknowledgement, and the bytes that are no longer under way.
type Acked = (pb::EnqueueAck, usize);

struct Enqueuing {
    api: Api,
    caller: Caller,
    context: Option<Arc<str>>,
    /// None once the client has sent its last.
    up: Option<Streaming<pb::EnqueueStreamRequest>>,
    in_flight: FuturesUnordered<BoxFuture<'static, Acked>>,
    bytes: usize,
    /// How the stream ends once everything under way is answered; None is well.
    last: Option<Status>,
}

impl Enqueuing {
    async fn next(&mut self) -> Option<Result<pb::EnqueueStreamResponse, Status>> {
        let drain = self.api.drain.clone();
        loop {
            let room = self.in_flight.len() < IN_FLIGHT_MAX && self.bytes < IN_FLIGHT_BYTES_MAX;
            let open = self.up.is_some();
            let up = self.up.as_mut();
            tokio::select! {
                biased;
                Some(acked) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    return Some(Ok(self.acks(acked)));
                }
                () = drain.cancelled(), if open => {
                    self.end(Some(stopping()));
                }
                message = read(up), if room && open => match message {
                    Ok(Some(request)) => self.begin(request),
                    Ok(None) => self.end(None),
                    Err(status) => self.end(Some(status)),
                },
                else => return self.last.take().map(Err),
            }
        }
    }

    /// Takes no more requests.
    fn end(&mut self, last: Option<Status>) {
        self.up = None;
        self.last = last;
    }

    fn begin(&mut self, mut request: pb::EnqueueStreamRequest) {
        if let Some(context) = &self.context {
            trace(&mut request.jobs, context);
        }
        let bytes = request.jobs.iter().map(|job| job.payload.len()).sum();
        self.bytes += bytes;
        let (api, caller) = (self.api.clone(), self.caller.clone());
        let enqueuing = async move {
            let number = request.number;
            let result = match enqueue(&api, caller, request).await {
                Ok(enqueued) => pb::enqueue_ack::Result::Enqueued(enqueued),
                Err(error) => pb::enqueue_ack::Result::Error(error_into(error)),
            };
            let result = Some(result);
            (pb::EnqueueAck { number, result }, bytes)
        };
        self.in_flight.push(enqueuing.boxed());
    }

    /// One acknowledgement and all others that are there already.
    fn acks(&mut self, first: Acked) -> pb::EnqueueStreamResponse {
        let mut acks = Vec::new();
        let mut next = Some(first);
        while let Some((ack, bytes)) = next {
            self.bytes -= bytes;
            acks.push(ack);
            next = if acks.len() < ACKS_MAX {
                self.in_flight.next().now_or_never().flatten()
            } else {
                None
            };
        }
        pb::EnqueueStreamResponse { acks }
    }
}

async fn read(
    up: Option<&mut Streaming<pb::EnqueueStreamRequest>>,
) -> Result<Option<pb::EnqueueStreamRequest>, Status> {
    match up {
        Some(up) => up.message().await,
        None => Ok(None),
    }
}

async fn enqueue(
    api: &Api,
    mut caller: Caller,
    request: pb::EnqueueStreamRequest,
) -> Result<pb::EnqueueResponse, Error> {
    if request.stream != 0 {
        let key = key::stream_key(request.stream, request.number, request.done_below)?;
        caller.key = Some(key);
    }
    let command = Command::try_from(pb::EnqueueRequest {
        queue: request.queue,
        jobs: request.jobs,
    })?;
    reply::enqueued_into(api.execute(&caller, command).await?)
}
