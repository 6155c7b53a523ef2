//! The stream of renewals: those of all sessions of a client share it.
//!
//! Renewals that come while the connection has no room travel together. One whose stream breaks fails
//! with the stream, and its holder sends the next, which opens another stream at the next server: a
//! renewal is never repeated here, because its holder counts from before it sent this one.

use super::Servers;
use crate::convert::{keep_alive_into, renewed_from};
use crate::machine::{Renewal, Renewed};
use quorate_core::client::failure;
use quorate_core::error::{Code, Error};
use quorate_proto::election as pb;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

/// Renewals that wait for the connection.
const UP_MAX: usize = 256;
/// A server that does not open the stream within this time is left. Below the trust of the shortest
/// session, so that one that hangs costs no leadership.
const OPEN_MAX: Duration = Duration::from_millis(400);
/// Renewals without any answer for so long: the server hangs and is left.
const SILENCE_MAX: Duration = Duration::from_millis(1_500);

type Answer = oneshot::Sender<Result<Renewed, Error>>;

/// A handle on the stream. The task behind it ends with the last handle.
#[derive(Clone, Debug)]
pub(super) struct KeepAlive {
    asked: mpsc::Sender<(Renewal, Answer)>,
}

impl KeepAlive {
    pub(super) fn new(servers: &Arc<Servers>) -> Self {
        let (asked, renewals) = mpsc::channel(UP_MAX);
        let conversation = Conversation {
            servers: Arc::clone(servers),
            waiting: BTreeMap::new(),
            number: 0,
            heard: Instant::now(),
            open: None,
        };
        tokio::spawn(conversation.run(renewals));
        Self { asked }
    }

    pub(super) async fn renew(
        &self,
        renewal: Renewal,
        timeout: Duration,
    ) -> Result<Renewed, Error> {
        let (to, answer) = oneshot::channel();
        let asked = async {
            let gone = || Error::new(Code::OutcomeUnknown, "the stream of renewals broke");
            self.asked.send((renewal, to)).await.map_err(|_| gone())?;
            answer.await.unwrap_or_else(|_| Err(gone()))
        };
        tokio::time::timeout(timeout, asked)
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    Code::DeadlineExceeded,
                    "the renewal was not answered in time",
                ))
            })
    }
}

struct Open {
    server: usize,
    up: mpsc::Sender<pb::KeepAliveRequest>,
    down: Streaming<pb::KeepAliveResponse>,
}

struct Conversation {
    servers: Arc<Servers>,
    waiting: BTreeMap<u64, Answer>,
    number: u64,
    /// When the server last answered, or was first asked after it had answered everything.
    heard: Instant,
    open: Option<Open>,
}

impl Conversation {
    async fn run(mut self, mut renewals: mpsc::Receiver<(Renewal, Answer)>) {
        loop {
            let Some(open) = &mut self.open else {
                let Some(first) = renewals.recv().await else {
                    return;
                };
                match self.open().await {
                    Ok(()) => self.send(first).await,
                    Err(error) => {
                        // Whoever waits is told and sends again; nobody is held up by a dead server.
                        let _ = first.1.send(Err(error.clone()));
                        while let Ok((_, answer)) = renewals.try_recv() {
                            let _ = answer.send(Err(error.clone()));
                        }
                    }
                }
                continue;
            };
            let silent = !self.waiting.is_empty();
            tokio::select! {
                renewal = renewals.recv() => match renewal {
                    Some(renewal) => self.send(renewal).await,
                    None => return,
                },
                answer = open.down.message() => match answer {
                    Ok(Some(answer)) => {
                        let (number, result) = renewed_from(answer);
                        if let Err(error) = &result {
                            // A server without a leader: the next one may know one.
                            let server = open.server;
                            self.servers.failed(server, error.code);
                            if self.servers.current().0 != server {
                                self.answer(number, result);
                                self.broken(&Error::new(Code::NoQuorum, "changing servers"));
                                continue;
                            }
                        }
                        self.answer(number, result);
                    }
                    Ok(None) => self.broken(&Error::new(Code::NoQuorum, "the server ended the stream")),
                    Err(status) => self.broken(&failure(&status)),
                },
                () = tokio::time::sleep_until(self.heard + SILENCE_MAX), if silent => {
                    self.broken(&Error::new(Code::DeadlineExceeded, "the server has not answered for long"));
                }
            }
        }
    }

    fn answer(&mut self, number: u64, result: Result<Renewed, Error>) {
        self.heard = Instant::now();
        if let Some(answer) = self.waiting.remove(&number) {
            // Whoever asked may have stopped waiting.
            let _ = answer.send(result);
        }
    }

    async fn send(&mut self, (renewal, answer): (Renewal, Answer)) {
        if answer.is_closed() {
            return;
        }
        if self.waiting.is_empty() {
            self.heard = Instant::now();
        }
        self.number += 1;
        let message = keep_alive_into(self.number, renewal);
        self.waiting.insert(self.number, answer);
        let sent = match &self.open {
            Some(open) => tokio::time::timeout(SILENCE_MAX, open.up.send(message)).await,
            None => return,
        };
        if !matches!(sent, Ok(Ok(()))) {
            self.broken(&Error::new(
                Code::OutcomeUnknown,
                "the stream to the server broke",
            ));
        }
    }

    fn broken(&mut self, error: &Error) {
        if let Some(open) = self.open.take() {
            self.servers.failed(open.server, error.code);
        }
        for (_, answer) in std::mem::take(&mut self.waiting) {
            let _ = answer.send(Err(error.clone()));
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        let (server, mut grpc) = self.servers.current();
        let (up, requests) = mpsc::channel(UP_MAX);
        let mut request = Request::new(ReceiverStream::new(requests));
        self.servers.authorize(&mut request);
        let opened = match tokio::time::timeout(OPEN_MAX, grpc.keep_alive(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(failure(&status)),
            Err(_) => Err(Error::new(
                Code::NoQuorum,
                format!(
                    "{} did not open a stream in time",
                    self.servers.name(server)
                ),
            )),
        };
        match opened {
            Ok(down) => {
                self.open = Some(Open { server, up, down });
                Ok(())
            }
            Err(error) => {
                self.servers.failed(server, error.code);
                Err(error)
            }
        }
    }
}
