//! An observation that outlives connections and servers: when one breaks, the next goes on after the
//! last revision that was told.

use super::Servers;
use crate::convert::{observe_into, observed_from};
use crate::service::{Observation, Observed};
use futures::StreamExt as _;
use quorate_core::client::failure;
use quorate_core::error::{Code, Error, Kind};
use quorate_core::retry::Backoff;
use quorate_core::types::Name;
use quorate_proto::election as pb;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Streaming};

/// A server that does not open the stream within this time is left.
const OPEN_MAX: Duration = Duration::from_secs(3);

struct Observing {
    servers: Arc<Servers>,
    election: Name,
    after: Option<u64>,
    open: Option<(usize, Streaming<pb::Observed>)>,
    backoff: Backoff,
}

/// Begins to observe. What is refused is refused here.
pub(super) async fn observe(
    servers: &Arc<Servers>,
    timeout: Duration,
    election: Name,
    after: Option<u64>,
) -> Result<Observation, Error> {
    let mut observing = Observing {
        servers: Arc::clone(servers),
        election,
        after,
        open: None,
        backoff: Backoff::default(),
    };
    let opened = async {
        while let Err(error) = observing.open().await {
            if error.code.kind() == Kind::Rejected {
                return Err(error);
            }
            tokio::time::sleep(observing.backoff.next(error.retry_after_ms)).await;
        }
        Ok(())
    };
    match tokio::time::timeout(timeout, opened).await {
        Ok(opened) => opened?,
        Err(_) => {
            return Err(Error::new(
                Code::DeadlineExceeded,
                "no server opened the stream in time; try again",
            ));
        }
    }
    let told = futures::stream::unfold(Some(observing), |observing| async move {
        let mut observing = observing?;
        match observing.next().await {
            Ok(observed) => Some((Ok(observed), Some(observing))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(told.boxed())
}

impl Observing {
    async fn open(&mut self) -> Result<(), Error> {
        let (server, mut grpc) = self.servers.current();
        let mut request = Request::new(observe_into(&self.election, self.after));
        self.servers.authorize(&mut request);
        let opened = tokio::time::timeout(OPEN_MAX, grpc.observe(request)).await;
        let result = match opened {
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
        match result {
            Ok(stream) => {
                self.open = Some((server, stream));
                Ok(())
            }
            Err(error) => {
                self.servers.failed(server, error.code);
                Err(error)
            }
        }
    }

    /// What happens next, at whichever server. Fails only when the observation is refused.
    async fn next(&mut self) -> Result<Observed, Error> {
        loop {
            let Some((server, stream)) = &mut self.open else {
                match self.open().await {
                    Ok(()) => continue,
                    Err(error) if error.code.kind() == Kind::Rejected => return Err(error),
                    Err(error) => {
                        tokio::time::sleep(self.backoff.next(error.retry_after_ms)).await;
                        continue;
                    }
                }
            };
            let server = *server;
            let error = match stream.message().await {
                Ok(Some(message)) => {
                    self.backoff.reset();
                    let observed = observed_from(message)?;
                    self.after = Some(match &observed {
                        Observed::State(view) => view.revision,
                        Observed::Change(change) => change.revision,
                    });
                    return Ok(observed);
                }
                Ok(None) => Error::new(Code::NoQuorum, "the server ended the stream"),
                Err(status) => failure(&status),
            };
            self.open = None;
            self.servers.failed(server, error.code);
            if error.code.kind() == Kind::Rejected {
                return Err(error);
            }
            tokio::time::sleep(self.backoff.next(error.retry_after_ms)).await;
        }
    }
}
