//! What a way of talking to the queue offers to a load.

use super::ledger::Ledger;
use crate::measure::Latency;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

/// A place in the load: one job in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    /// Its connection, from 0.
    pub(super) connection: u32,
    /// Its place on the connection, from 0.
    pub(super) slot: u32,
}

/// Why a request of a load failed.
#[derive(Clone, Debug)]
pub(super) enum Failed {
    /// Retried to the end; whether it was done is not known.
    Unknown(String),
    /// The lease is no longer ours; its job comes again.
    Gone(String),
    /// Refused: the load is wrong or the queue is broken, and the run ends.
    Refused(String),
}

impl Failed {
    /// The run ends.
    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }
}

/// A transport under load. One value serves all lanes.
#[async_trait]
pub(super) trait Driver: Send + Sync + 'static {
    /// Puts the job of this number in; returns when that is acknowledged.
    async fn enqueue(&self, lane: Lane, number: u64) -> Result<(), Failed>;

    /// Takes jobs and completes them until told to stop, and tells the ledger of both. Gives the
    /// times that completions took. Called for every lane; a driver whose connection works for all
    /// its lanes at once does all in slot 0.
    async fn work(
        &self,
        lane: Lane,
        ledger: &Ledger,
        stop: &CancellationToken,
    ) -> Result<Latency, Failed>;
}
