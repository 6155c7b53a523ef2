//! The leaf gate: stands in front of an unmodified leaf and keeps it from drowning.
//!
//! A leaf that takes more than it can do makes everything late. The gate lets through as many requests
//! as the leaf answers without queueing ([`Limit`] finds out how many those are), keeps a few more
//! waiting, and refuses the rest at once, so that the root asks another replica while there is time.
//! What waited until its deadline passed is dropped and never reaches the leaf: nobody waits for it.

mod door;
mod limit;
mod pace;

pub use door::{Door, Load, Pass, Refused};
pub use limit::Limit;

use crate::gather::Reason;
use crate::pool::{
    Admission, AdmissionCaps, Call, CallError, Host, Hosts, LeafUrl, Protocol, Reply,
};
use quorate_core::clock::monotonic;
use quorate_core::error::{Code, Error};
use std::sync::Arc;
use std::time::Duration;

/// A request without a deadline of its own gets this.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Requests that wait at the door.
pub const QUEUE_MAX: usize = 256;
/// Longest answer of a leaf.
pub const REPLY_BYTES_MAX: u64 = 64 << 20;
/// When a refused caller should ask again.
const RETRY_AFTER_MS: u64 = 50;

/// A gate in front of one leaf.
#[derive(Debug)]
pub struct Gate {
    url: LeafUrl,
    host: Arc<Host>,
    door: Arc<Door>,
}

impl Gate {
    /// In front of the leaf at this URL.
    pub fn new(url: LeafUrl) -> Self {
        Self::over(&Hosts::new(Admission::new(AdmissionCaps::default())), url)
    }

    /// The same over these connections.
    pub fn over(hosts: &Arc<Hosts>, url: LeafUrl) -> Self {
        Self {
            host: hosts.host(&url, Protocol::Auto),
            url,
            door: Arc::new(Door::new(QUEUE_MAX)),
        }
    }

    /// Where the leaf is.
    pub fn url(&self) -> &LeafUrl {
        &self.url
    }

    /// How much there is to do.
    pub fn load(&self) -> Load {
        self.door.load()
    }

    /// Passes a call on when its turn comes, within its time: the leaf is told what is left of it. Hedges
    /// do not wait.
    pub async fn call(&self, call: Call, within: Duration) -> Result<Reply, Error> {
        let deadline = tokio::time::Instant::now() + within;
        let mut pass = match self.door.enter(deadline, call.low_priority).await {
            Ok(pass) => pass,
            Err(Refused::Full) => {
                let told =
                    "the leaf has too much to do; nothing was passed on, ask another replica";
                return Err(Error::new(Code::OverQuota, told).retry_after_ms(RETRY_AFTER_MS));
            }
            Err(Refused::Expired) => {
                return Err(Error::new(
                    Code::DeadlineExceeded,
                    "its time passed before its turn came; it was not passed on",
                ));
            }
        };
        let begin = monotonic();
        let call = call.within(deadline.saturating_duration_since(tokio::time::Instant::now()));
        let outcome = tokio::time::timeout_at(deadline, self.host.call(&call)).await;
        let took = monotonic().since(begin);
        match outcome {
            Err(_) => {
                pass.overloaded();
                Err(Error::new(
                    Code::DeadlineExceeded,
                    "the leaf did not answer in time",
                ))
            }
            Ok(Ok(reply)) => {
                // A refusal says that there is too much, and its time says nothing.
                if matches!(reply.status.as_u16(), 429 | 503) {
                    pass.overloaded();
                } else {
                    pass.answered(took);
                }
                Ok(reply)
            }
            Ok(Err(error)) => Err(failed(&error)),
        }
    }
}

fn failed(error: &CallError) -> Error {
    let told = format!("the leaf failed: {error}");
    match error.reason {
        Reason::TooLarge | Reason::RequestBytes => Error::new(Code::TooLarge, told),
        _ => Error::new(Code::InsufficientShards, told),
    }
}
