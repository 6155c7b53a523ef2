//! When a stream of a sidecar must not leave standing what it told last.
//!
//! An application that only listens takes the last event for the truth. Behind a sidecar that is cut off
//! it would do so for ever, so the stream says `unknown` when the lease of the candidate is over that leads
//! as far as is known, or when the cluster has not been heard of for as long as an answer may take.

use crate::api::Api;
use crate::api::answer::LOCAL_ANSWER_MAX;
use crate::machine::ElectionView;
use crate::service::{Caller, Observation, Observed};
use futures::{Stream, StreamExt as _};
use quorate_core::clock;
use quorate_core::error::Error;
use quorate_core::types::Name;
use std::time::Duration;

/// What may stand changes with every renewal, so it is looked at again after so long at the latest.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a stream tells.
pub(super) enum Told {
    Observed(Observed),
    /// What was told may not stand any longer.
    Unknown,
    /// After `Unknown`: the state as it is now. Changes up to its revision may still come.
    Again(ElectionView),
}

struct Telling {
    api: Api,
    caller: Caller,
    election: Name,
    observed: Observation,
    doubted: bool,
}

/// What is observed, and when it must not be left standing.
pub(super) fn told(
    api: Api,
    caller: Caller,
    election: Name,
    observed: Observation,
) -> impl Stream<Item = Result<Told, Error>> + Send {
    let telling = Telling {
        api,
        caller,
        election,
        observed,
        doubted: false,
    };
    futures::stream::unfold(telling, |mut telling| async move {
        let told = telling.next().await?;
        Some((told, telling))
    })
}

impl Telling {
    async fn next(&mut self) -> Option<Result<Told, Error>> {
        loop {
            let Some(local) = &self.api.local else {
                return Some(self.observed.next().await?.map(Told::Observed));
            };
            let until = local.stands_until(&self.election, self.api.candidate.as_ref());
            let left = until.since(clock::boottime());
            if left.is_zero() && !self.doubted {
                self.doubted = true;
                return Some(Ok(Told::Unknown));
            }
            if !left.is_zero() && self.doubted {
                let asked = self.api.view(&self.caller, self.election.clone());
                let view = tokio::time::timeout(LOCAL_ANSWER_MAX, asked).await;
                if let Ok(Ok(view)) = view {
                    self.doubted = false;
                    return Some(Ok(Told::Again(view)));
                }
            }
            let pause = if left.is_zero() {
                LOOK_EVERY
            } else {
                left.min(LOOK_EVERY)
            };
            tokio::select! {
                observed = self.observed.next() => return Some(observed?.map(Told::Observed)),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
