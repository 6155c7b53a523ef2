//! What the engine says to the queue and what it hears, as messages, so that the engine is the same
//! over a replica in this process, over single calls and over one long stream.
//!
//! [`over_calls`] turns each message into a call of a [`QueueService`]; the `Work` stream of
//! `crate::client` is the other implementation.

use crate::machine::{
    Command, Lease, LeaseId, LeaseRequest, Progress, Renewal, Renewed, Reply, SessionId, Settle,
    Settled,
};
use crate::service::{Caller, QueueService};
use quorate_core::error::{Code, Error};
use quorate_core::types::Name;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Messages between engine and link. The engine has at most one opening, a few heartbeats and a few
/// settlements under way, so this is never full; see `Engine`.
pub(crate) const LINK_QUEUE_MAX: usize = 256;

/// How long a request for work waits at the queue when there is none.
const LEASE_WAIT: Duration = Duration::from_secs(20);

/// Time for a call on top of what it waits by itself.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Who works, and where.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) queue: Name,
    pub(crate) worker: Arc<str>,
    pub(crate) lease_ms: Option<u64>,
}

/// A request for work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    /// Names the request.
    pub(crate) ask: u64,
    /// So many.
    pub(crate) max: u32,
    /// Number of the last heartbeat that was sent before.
    pub(crate) heartbeat: u64,
}

/// The engine's words.
#[derive(Clone, Debug)]
pub(crate) enum Up {
    /// Begin, or go on with a session.
    Open { session: Option<SessionId> },
    /// So many more leases are welcome.
    Ask(Asking),
    /// Record outcomes, and ask for more work in the same step if `ask` is set.
    Settle {
        number: u64,
        settle: Vec<Settle>,
        ask: Option<Asking>,
    },
    /// Keep these leases. `complete` is false for a report of progress alone.
    Renew {
        number: u64,
        leases: Vec<LeaseId>,
        progress: Vec<(LeaseId, Progress)>,
        complete: bool,
        timeout: Duration,
    },
    /// The worker stops: everything that it still holds goes back.
    Close,
}

/// The queue's words.
#[derive(Debug)]
pub(crate) enum Down {
    /// The session stands.
    Opened(SessionId),
    /// It could not be opened, or the connection broke: everything under way is lost.
    Broken(Error),
    /// Leases. `ask` tells which request they answer, when the link knows. With `closed` that request
    /// is over, whatever is left of it.
    Granted {
        ask: Option<u64>,
        /// Number of the last heartbeat that the queue had when they were asked for, when it says so.
        heartbeat: Option<u64>,
        leases: Vec<Lease>,
        closed: bool,
    },
    /// A request for work failed.
    Refused { ask: u64, error: Error },
    /// Outcomes, in the order of the request.
    Settled {
        number: u64,
        result: Result<Vec<Settled>, Error>,
    },
    /// The answer to a heartbeat.
    Renewed {
        number: u64,
        result: Result<Renewed, Error>,
    },
    /// The session is closed.
    Closed,
}

/// The engine's end.
pub(crate) struct Link {
    pub(crate) up: mpsc::Sender<Up>,
    pub(crate) down: mpsc::Receiver<Down>,
    /// Requests for work stand until they are used up, so that asking more often costs nothing. When
    /// false each is a call that waits, and one at a time is enough.
    pub(crate) standing: bool,
}

/// The link's end.
pub(crate) struct Peer {
    pub(crate) up: mpsc::Receiver<Up>,
    pub(crate) down: mpsc::Sender<Down>,
}

/// Both ends.
pub(crate) fn pair(standing: bool) -> (Link, Peer) {
    let (up, up_rx) = mpsc::channel(LINK_QUEUE_MAX);
    let (down_tx, down) = mpsc::channel(LINK_QUEUE_MAX);
    let link = Link { up, down, standing };
    (
        link,
        Peer {
            up: up_rx,
            down: down_tx,
        },
    )
}

/// A link that makes a call of `service` for each message. Ends when the engine drops its end.
pub(crate) fn over_calls(service: Arc<dyn QueueService>, identity: Identity) -> Link {
    let (link, mut peer) = pair(false);
    tokio::spawn(async move {
        let mut calls = Calls {
            service,
            identity: Arc::new(identity),
            session: None,
        };
        let mut under_way: JoinSet<Vec<Down>> = JoinSet::new();
        loop {
            let downs = tokio::select! {
                up = peer.up.recv() => match up {
                    None => return,
                    Some(up) => { calls.begin(&mut under_way, up); continue; }
                },
                Some(done) = under_way.join_next() => match done {
                    Ok(downs) => downs,
                    // A call panicked or was aborted with the runtime; its timeout is the engine's.
                    Err(_) => continue,
                },
            };
            for down in downs {
                if let Down::Opened(session) = &down {
                    calls.session = Some(*session);
                }
                if peer.down.send(down).await.is_err() {
                    return;
                }
            }
        }
    });
    link
}

struct Calls {
    service: Arc<dyn QueueService>,
    identity: Arc<Identity>,
    session: Option<SessionId>,
}

impl Calls {
    fn begin(&self, under_way: &mut JoinSet<Vec<Down>>, up: Up) {
        let service = Arc::clone(&self.service);
        let identity = Arc::clone(&self.identity);
        let session = self.session;
        match up {
            Up::Open {
                session: Some(session),
            } => {
                under_way.spawn(async move { vec![Down::Opened(session)] });
            }
            Up::Open { session: None } => {
                under_way.spawn(async move { vec![open(&*service, &identity).await] });
            }
            Up::Ask(asking) => {
                under_way.spawn(async move {
                    let request = request(&identity, session, asking);
                    vec![lease(&*service, asking.ask, request).await]
                });
            }
            Up::Settle {
                number,
                settle,
                ask,
            } => {
                under_way.spawn(async move {
                    let then = ask.map(|asking| request(&identity, session, asking));
                    settle_call(
                        &*service,
                        number,
                        settle,
                        ask.map(|asking| asking.ask),
                        then,
                    )
                    .await
                });
            }
            Up::Renew {
                number,
                leases,
                progress,
                complete,
                timeout,
            } => {
                let Some(session) = session else { return };
                under_way.spawn(async move {
                    let renewal = Renewal {
                        session,
                        number,
                        leases,
                        progress,
                        complete,
                    };
                    let result = service.renew(&caller(timeout), renewal).await;
                    vec![Down::Renewed { number, result }]
                });
            }
            Up::Close => {
                under_way.spawn(async move {
                    if let Some(session) = session {
                        let command = Command::CloseSession { session };
                        if let Err(error) = service.execute(&caller(CALL_TIMEOUT), command).await {
                            tracing::debug!(%error, "the session was not closed; it will expire");
                        }
                    }
                    vec![Down::Closed]
                });
            }
        }
    }
}

fn caller(timeout: Duration) -> Caller {
    Caller {
        timeout,
        ..Caller::default()
    }
}

fn request(identity: &Identity, session: Option<SessionId>, asking: Asking) -> LeaseRequest {
    LeaseRequest {
        queue: identity.queue.clone(),
        worker: Arc::clone(&identity.worker),
        session,
        max: asking.max,
        lease_ms: identity.lease_ms,
        heartbeat: asking.heartbeat,
    }
}

async fn open(service: &dyn QueueService, identity: &Identity) -> Down {
    let command = Command::OpenSession {
        worker: Arc::clone(&identity.worker),
    };
    match service.execute(&caller(CALL_TIMEOUT), command).await {
        Ok(Reply::Session(session)) => Down::Opened(session),
        Ok(other) => Down::Broken(unexpected(&other)),
        Err(error) => Down::Broken(error),
    }
}

async fn lease(service: &dyn QueueService, ask: u64, request: LeaseRequest) -> Down {
    let caller = Caller {
        timeout: LEASE_WAIT + CALL_TIMEOUT,
        wait: LEASE_WAIT,
        ..Caller::default()
    };
    match service.execute(&caller, Command::Lease(request)).await {
        Ok(Reply::Leased { leases, .. }) => Down::Granted {
            ask: Some(ask),
            heartbeat: None,
            leases,
            closed: true,
        },
        Ok(other) => Down::Refused {
            ask,
            error: unexpected(&other),
        },
        Err(error) => Down::Refused { ask, error },
    }
}

async fn settle_call(
    service: &dyn QueueService,
    number: u64,
    settle: Vec<Settle>,
    ask: Option<u64>,
    then: Option<LeaseRequest>,
) -> Vec<Down> {
    let command = Command::Settle { settle, then };
    let result = match service.execute(&caller(CALL_TIMEOUT), command).await {
        Ok(Reply::Settled { outcomes, leased }) => Ok((outcomes, leased)),
        Ok(other) => Err(unexpected(&other)),
        Err(error) => Err(error),
    };
    let mut downs = Vec::with_capacity(2);
    match result {
        Ok((outcomes, leased)) => {
            downs.push(Down::Settled {
                number,
                result: Ok(outcomes),
            });
            if ask.is_some() {
                let leases = leased.map(|(_, leases)| leases).unwrap_or_default();
                downs.push(Down::Granted {
                    ask,
                    heartbeat: None,
                    leases,
                    closed: true,
                });
            }
        }
        Err(error) => {
            if let Some(ask) = ask {
                downs.push(Down::Refused {
                    ask,
                    error: error.clone(),
                });
            }
            downs.push(Down::Settled {
                number,
                result: Err(error),
            });
        }
    }
    downs
}

fn unexpected(reply: &Reply) -> Error {
    let name = format!("{reply:?}");
    let name = name
        .split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default();
    Error::new(
        Code::Internal,
        format!(
            "the queue answered {name}, which does not belong to the request; use matching versions"
        ),
    )
}
