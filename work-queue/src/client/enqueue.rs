//! The `EnqueueStream` call as a producer's carrier.

use super::Client;
use crate::convert::{new_job_into, reply};
use crate::queue::{Carrier, Heard, Sent};
use async_trait::async_trait;
use quorate_core::error::{Code, Error};
use quorate_proto::queue as pb;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

/// Requests that wait for the connection; the producer bounds what is under way.
const UP_MAX: usize = 64;
/// A server that does not open the stream within this time is left.
const OPEN_MAX: Duration = Duration::from_secs(5);
/// A stream that gives no answer for so long, with requests under way, is left.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// One stream at a time; opened with the first request and again after a break.
pub(crate) struct EnqueueStream {
    client: Client,
    open: Option<Open>,
    under_way: usize,
    /// The last answer, or the first request since nothing was under way. Kept here, because whoever waits for
    /// an answer starts to wait anew with every request.
    heard_at: Instant,
}

struct Open {
    server: usize,
    up: mpsc::Sender<pb::EnqueueStreamRequest>,
    down: Streaming<pb::EnqueueStreamResponse>,
}

impl EnqueueStream {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            open: None,
            under_way: 0,
            heard_at: Instant::now(),
        }
    }

    fn broken(&mut self, error: &Error) {
        self.under_way = 0;
        if let Some(open) = self.open.take() {
            self.client.servers.failed(open.server, error.code);
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        let (server, mut grpc) = self.client.servers.current();
        let (up, up_rx) = mpsc::channel(UP_MAX);
        let mut request = Request::new(ReceiverStream::new(up_rx));
        self.client.servers.authorize(&mut request);
        let opened = tokio::time::timeout(OPEN_MAX, grpc.enqueue_stream(request)).await;
        let down = match opened {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(quorate_core::client::failure(&status)),
            Err(_) => Err(Error::new(
                Code::NoQuorum,
                format!(
                    "{} did not open a stream in time",
                    self.client.servers.name(server)
                ),
            )),
        };
        match down {
            Ok(down) => {
                self.open = Some(Open { server, up, down });
                Ok(())
            }
            Err(error) => {
                self.client.servers.failed(server, error.code);
                Err(error)
            }
        }
    }
}

#[async_trait]
impl Carrier for EnqueueStream {
    async fn send(&mut self, sent: Sent) -> Result<(), Error> {
        if self.open.is_none() {
            self.open().await?;
        }
        let request = pb::EnqueueStreamRequest {
            number: sent.number,
            stream: sent.stream,
            done_below: sent.done_below,
            queue: sent.queue.to_string(),
            jobs: sent.jobs.into_iter().map(new_job_into).collect(),
        };
        let sent = match &self.open {
            // Never full: the producer has fewer requests under way than there is room.
            Some(open) => open.up.try_send(request).is_ok(),
            None => false,
        };
        if sent {
            if self.under_way == 0 {
                self.heard_at = Instant::now();
            }
            self.under_way += 1;
            return Ok(());
        }
        let error = Error::new(Code::OutcomeUnknown, "the stream to the server broke");
        self.broken(&error);
        Err(error)
    }

    async fn heard(&mut self) -> Heard {
        let under_way = self.under_way;
        let silent_at = self.heard_at + SILENCE_MAX;
        let Some(open) = &mut self.open else {
            return std::future::pending().await;
        };
        let error = tokio::select! {
            answer = open.down.message() => match answer {
                Ok(Some(answer)) => {
                    self.under_way = under_way.saturating_sub(answer.acks.len());
                    self.heard_at = Instant::now();
                    return Heard::Acks(answer.acks.into_iter().map(reply::ack_from).collect());
                }
                Ok(None) => Error::new(Code::OutcomeUnknown, "the server ended the stream"),
                Err(status) => quorate_core::client::failure(&status),
            },
            () = tokio::time::sleep_until(silent_at), if under_way > 0 => {
                Error::new(Code::OutcomeUnknown, "the server has not answered for long")
            }
        };
        self.broken(&error);
        Heard::Broken(error)
    }
}
