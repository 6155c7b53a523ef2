//! An observation that outlives connections and servers: when one breaks, the next goes on after the
//! last revision that was told.

use super::watch::{Watch, Watches};
use crate::service::{Observation, Observed};
use futures::StreamExt as _;
use quorate_core::error::{Code, Error, Kind};
use quorate_core::retry::Backoff;
use quorate_core::types::Name;
use std::time::Duration;

struct Observing {
    watches: Watches,
    election: Name,
    after: Option<u64>,
    open: Option<Watch>,
    backoff: Backoff,
}

/// Begins to observe. What is refused is refused here.
pub(super) async fn observe(
    watches: &Watches,
    timeout: Duration,
    election: Name,
    after: Option<u64>,
) -> Result<Observation, Error> {
    let mut observing = Observing {
        watches: watches.clone(),
        election,
        after,
        open: None,
        backoff: Backoff::default(),
    };
    tokio::time::timeout(timeout, observing.open())
        .await
        .unwrap_or_else(|_| {
            Err(Error::new(
                Code::DeadlineExceeded,
                "no server began to tell of the election in time; try again",
            ))
        })?;
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
    /// Opens a watch at whichever server. Fails only when it is refused.
    async fn open(&mut self) -> Result<(), Error> {
        loop {
            let error = match self.watches.begin(&self.election, self.after).await {
                Ok(watch) => {
                    self.open = Some(watch);
                    return Ok(());
                }
                Err(error) if error.code.kind() == Kind::Rejected => return Err(error),
                Err(error) => error,
            };
            tokio::time::sleep(self.backoff.next(error.retry_after_ms)).await;
        }
    }

    /// What happens next, at whichever server. Fails only when the observation is refused.
    async fn next(&mut self) -> Result<Observed, Error> {
        loop {
            let Some(watch) = &mut self.open else {
                self.open().await?;
                continue;
            };
            match watch.next().await {
                Some(Ok(observed)) => {
                    self.backoff.reset();
                    self.after = Some(match &observed {
                        Observed::State(view) => view.revision,
                        Observed::Change(change) => change.revision,
                    });
                    return Ok(observed);
                }
                Some(Err(error)) if error.code.kind() == Kind::Rejected => return Err(error),
                Some(Err(error)) => {
                    self.watches.failed(watch, &error);
                    self.open = None;
                    tokio::time::sleep(self.backoff.next(error.retry_after_ms)).await;
                }
                // It read too slowly; what it has not read is told again.
                None => self.open = None,
            }
        }
    }
}
