//! How a conversation begins: who works, and under which session.

use crate::api::Api;
use crate::api::poll::SLICE;
use crate::check;
use crate::convert::reply::misfit;
use crate::convert::within;
use crate::machine::{Command, LeaseRequest, Reply, SessionId};
use crate::service::Caller;
use quorate_core::error::Error;
use quorate_core::types::Name;
use quorate_proto::queue as pb;
use std::sync::Arc;
use std::time::Duration;

/// The shortest wait of a request for work, so that a worker with a quick heart does not poll.
const WAIT_MIN: Duration = Duration::from_millis(50);
/// The time between heartbeats of a worker that says neither that nor a lease length.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(5);

/// Who works, and how.
pub(super) struct Hello {
    pub(super) queue: Name,
    pub(super) worker: Arc<str>,
    pub(super) session: SessionId,
    pub(super) lease_ms: Option<u64>,
    /// How long a request for work waits.
    pub(super) wait: Duration,
}

/// Reads the hello and makes sure of a session.
pub(super) async fn greet(
    api: &Api,
    caller: &Caller,
    hello: pb::WorkHello,
) -> Result<Hello, Error> {
    let queue = Name::new(&hello.queue).map_err(|e| within("hello.queue", e.into()))?;
    let worker: Arc<str> = hello.worker.into();
    let heartbeat = hello
        .heartbeat_ms
        .or(hello.lease_ms.map(|ms| ms / 6))
        .map_or(HEARTBEAT_DEFAULT, Duration::from_millis);
    let mut probe = Command::Lease(LeaseRequest {
        queue: queue.clone(),
        worker: Arc::clone(&worker),
        session: None,
        max: 1,
        lease_ms: hello.lease_ms,
        heartbeat: 0,
    });
    check::command(&mut probe).map_err(|e| within("hello", e))?;
    let session = match hello.session {
        Some(session) if session != 0 => SessionId(session),
        _ => {
            let command = Command::OpenSession {
                worker: Arc::clone(&worker),
            };
            match api.execute(caller, command).await? {
                Reply::Session(session) => session,
                _ => return Err(misfit()),
            }
        }
    };
    Ok(Hello {
        queue,
        worker,
        session,
        lease_ms: hello.lease_ms,
        wait: (heartbeat / 2).clamp(WAIT_MIN, SLICE),
    })
}
