//! The `Work` stream as the engine's link: one long conversation instead of a call for everything.
//!
//! Requests for work stand at the server as credits, settlements carry the credit for the slot they
//! free, and heartbeats share the connection. When the stream breaks, the engine is told, opens it
//! anew with its session, and sends again what was not answered.

use super::Client;
use crate::convert::{
    error_from, lease_from, renewal_into, renewed_from, settle_into, settled_from,
};
use crate::machine::{Renewal, SessionId};
use crate::worker::link::{Asking, Down, Identity, Link, Peer, Up, pair};
use quorate_core::error::{Code, Error};
use quorate_proto::queue as pb;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

/// Messages that wait for the connection. The engine bounds what is under way.
const UP_MAX: usize = 64;
/// A stream whose first answer takes longer is tried at another server.
const OPEN_MAX: Duration = Duration::from_secs(5);
/// The end of the session at shutdown.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// A link over `client`. Ends when the engine drops its end.
pub(crate) fn over_stream(client: Client, identity: Identity) -> Link {
    let (link, peer) = pair(true);
    let conversation = Conversation {
        client,
        identity,
        session: None,
        stream: None,
        heartbeat: 0,
        peer,
    };
    tokio::spawn(conversation.run());
    link
}

struct Open {
    server: usize,
    up: mpsc::Sender<pb::WorkRequest>,
    down: Streaming<pb::WorkResponse>,
}

struct Conversation {
    client: Client,
    identity: Identity,
    session: Option<SessionId>,
    stream: Option<Open>,
    /// Number of the last heartbeat that was sent.
    heartbeat: u64,
    peer: Peer,
}

impl Conversation {
    async fn run(mut self) {
        loop {
            let downs = match &mut self.stream {
                None => match self.peer.up.recv().await {
                    None => return,
                    Some(up) => self.said(up).await,
                },
                Some(stream) => tokio::select! {
                    up = next(&stream.up, &mut self.peer.up) => match up {
                        None => return,
                        Some(up) => self.said(up).await,
                    },
                    answer = stream.down.message() => match answer {
                        Ok(Some(answer)) => heard(answer),
                        Ok(None) => self.broken(Error::new(
                            Code::OutcomeUnknown,
                            "the server ended the stream; opening it anew",
                        )),
                        Err(status) => self.broken(quorate_core::client::failure(&status)),
                    },
                },
            };
            for down in downs {
                if self.peer.down.send(down).await.is_err() {
                    return;
                }
            }
        }
    }

    fn broken(&mut self, error: Error) -> Vec<Down> {
        if let Some(stream) = self.stream.take() {
            self.client.servers.failed(stream.server, error.code);
        }
        vec![Down::Broken(error)]
    }

    /// Carries a word of the engine to the server.
    async fn said(&mut self, up: Up) -> Vec<Down> {
        let message = match up {
            Up::Open { session } => return self.open(session).await,
            Up::Close => return self.close().await,
            Up::Ask(Asking { max, .. }) => pb::WorkRequest {
                credits: max,
                ..Default::default()
            },
            Up::Settle {
                number,
                settle,
                ask,
            } => pb::WorkRequest {
                credits: ask.map_or(0, |asking| asking.max),
                settle: Some(pb::WorkSettle {
                    number,
                    settle: settle.into_iter().map(settle_into).collect(),
                }),
                ..Default::default()
            },
            Up::Renew {
                number,
                leases,
                progress,
                complete,
                ..
            } => {
                self.heartbeat = number;
                let renewal = Renewal {
                    session: self.session.unwrap_or_default(),
                    number,
                    leases,
                    progress,
                    complete: true,
                };
                let Ok(heartbeat) = renewal_into(renewal) else {
                    return Vec::new();
                };
                pb::WorkRequest {
                    heartbeat: Some(pb::WorkHeartbeat {
                        number,
                        leases: heartbeat.leases,
                        progress: heartbeat.progress,
                        progress_only: !complete,
                    }),
                    ..Default::default()
                }
            }
        };
        let Some(stream) = &self.stream else {
            // The engine hears of the break before it says more; what crossed it on the way is lost
            // like everything that was under way.
            return Vec::new();
        };
        // There is room, as `next` saw to; what fails is a stream that ended.
        if stream.up.try_send(message).is_err() {
            return self.broken(Error::new(
                Code::OutcomeUnknown,
                "the stream to the server broke; opening it anew",
            ));
        }
        Vec::new()
    }

    async fn open(&mut self, session: Option<SessionId>) -> Vec<Down> {
        if let Some(silent) = self.stream.take() {
            let code = Code::DeadlineExceeded;
            self.client.servers.failed(silent.server, code);
        }
        let (server, mut grpc) = self.client.servers.current();
        let (up, up_rx) = mpsc::channel(UP_MAX);
        let hello = pb::WorkRequest {
            hello: Some(pb::WorkHello {
                queue: self.identity.queue.to_string(),
                worker: self.identity.worker.to_string(),
                session: session.map(|session| session.0),
                lease_ms: self.identity.lease_ms,
                heartbeat_ms: None,
                heartbeat: self.heartbeat,
            }),
            ..Default::default()
        };
        let opening = async {
            // A fresh channel of this capacity takes one message.
            let _ = up.send(hello).await;
            let mut request = Request::new(ReceiverStream::new(up_rx));
            self.client.servers.authorize(&mut request);
            let response = grpc.work(request).await;
            let mut down = response
                .map_err(|status| quorate_core::client::failure(&status))?
                .into_inner();
            let first = down
                .message()
                .await
                .map_err(|status| quorate_core::client::failure(&status))?;
            let session = first
                .as_ref()
                .and_then(|first| first.session)
                .ok_or_else(|| {
                    Error::new(
                        Code::Internal,
                        "the server named no session; use matching versions",
                    )
                })?;
            Ok::<_, Error>((down, SessionId(session), first))
        };
        let opened = tokio::time::timeout(OPEN_MAX, opening)
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    Code::DeadlineExceeded,
                    format!(
                        "{} did not open a stream in time",
                        self.client.servers.name(server)
                    ),
                ))
            });
        match opened {
            Ok((down, session, first)) => {
                self.session = Some(session);
                self.stream = Some(Open { server, up, down });
                let mut downs = vec![Down::Opened(session)];
                downs.extend(first.into_iter().flat_map(heard));
                downs
            }
            Err(error) => {
                self.client.servers.failed(server, error.code);
                vec![Down::Broken(error)]
            }
        }
    }

    async fn close(&mut self) -> Vec<Down> {
        self.stream = None;
        if let Some(session) = self.session.take() {
            use crate::service::{Caller, QueueService};
            let caller = Caller {
                timeout: CLOSE_MAX,
                ..Caller::default()
            };
            let command = crate::machine::Command::CloseSession { session };
            if let Err(error) = self.client.execute(&caller, command).await {
                tracing::debug!(%error, "the session was not closed; it will expire");
            }
        }
        vec![Down::Closed]
    }
}

/// The engine's next word, once the connection has room for it: answers are read meanwhile, so that
/// neither side waits for the other.
async fn next(room: &mpsc::Sender<pb::WorkRequest>, up: &mut mpsc::Receiver<Up>) -> Option<Up> {
    // An error is a stream that ended, which the reader of answers hears of as well.
    let _room = room.reserve().await;
    up.recv().await
}

/// The parts of an answer, as the engine's words.
fn heard(answer: pb::WorkResponse) -> Vec<Down> {
    let mut downs = Vec::new();
    for settled in answer.settled {
        downs.push(Down::Settled {
            number: settled.number,
            result: match settled.error {
                Some(error) => Err(error_from(error)),
                None => Ok(settled_from(settled.outcomes)),
            },
        });
    }
    if let Some(leased) = answer.leased {
        let leases: Result<Vec<_>, Error> = leased.leases.into_iter().map(lease_from).collect();
        match leases {
            Ok(leases) => downs.push(Down::Granted {
                ask: None,
                heartbeat: Some(leased.heartbeat),
                leases,
                closed: false,
            }),
            // Not understood, hence not listed: they go back by themselves.
            Err(error) => {
                tracing::error!(%error, "leases that make no sense; use matching versions");
            }
        }
    }
    if let Some(renewed) = answer.renewed {
        let result = match (renewed.result, renewed.error) {
            (Some(result), None) => Ok(renewed_from(result)),
            (_, Some(error)) => Err(error_from(error)),
            (None, None) => Err(Error::new(Code::Internal, "an empty answer to a heartbeat")),
        };
        downs.push(Down::Renewed {
            number: renewed.number,
            result,
        });
    }
    downs
}
