//! The Rust client: its producer over `EnqueueStream`, and a worker over `Work` that completes at once.
//!
//! One connection carries all its lanes. Jobs that are ready together go in one message, and a
//! settlement goes with the credit for the slot that it frees. What breaks off is sent again under the
//! same numbers, to the next node.

mod work;

use super::Plan;
use super::driver::{Driver, Failed, Lane};
use super::ledger::Ledger;
use crate::errors::Outcome;
use crate::measure::Latency;
use async_trait::async_trait;
use quorate_core::error::{Error, Kind};
use quorate_proto::queue::queues_client::QueuesClient;
use quorate_work_queue::client::{Client, Config};
use quorate_work_queue::machine::NewJob;
use quorate_work_queue::queue::{Producer, Queue};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// For a connection on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// For one call that opens something.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Before a try again.
const RETRY_DELAY: Duration = Duration::from_millis(5);
/// Failures in a row before the run is given up: with the delay, half a minute at the least.
const FAILURES_MAX: u32 = 6_000;
/// What a server may send before it is read. The default of 64 KiB holds less than one group of jobs.
const WINDOW_BYTES: u32 = 4 << 20;

/// The nodes and the next one to try.
#[derive(Clone, Debug)]
struct Addresses {
    all: Arc<[SocketAddr]>,
    at: usize,
}

impl Addresses {
    async fn connect(&self) -> Result<QueuesClient<Channel>, Error> {
        let address = self.all[self.at % self.all.len()];
        let failed = |error: tonic::transport::Error| {
            Error::new(
                quorate_core::error::Code::NoQuorum,
                format!("{address}: {error}"),
            )
        };
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .map_err(failed)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .connect()
            .await
            .map_err(failed)?;
        Ok(QueuesClient::new(channel))
    }

    fn next(&mut self) {
        self.at += 1;
    }
}

/// Counts failures in a row and says when it is enough.
#[derive(Debug, Default)]
struct Failures(u32);

impl Failures {
    fn reset(&mut self) {
        self.0 = 0;
    }

    /// One more. Fails for good when the error is a refusal, or after too many.
    async fn another(&mut self, error: &Error) -> Result<(), Failed> {
        self.0 += 1;
        if error.code.kind() == Kind::Rejected || self.0 > FAILURES_MAX {
            return Err(Failed::refused(error.to_string()));
        }
        tokio::time::sleep(RETRY_DELAY).await;
        Ok(())
    }
}

/// All connections of a load: one producer and one worker stream each.
pub(super) struct Stream {
    queue: String,
    payload: usize,
    inflight: u32,
    addresses: Arc<[SocketAddr]>,
    producers: Vec<Producer>,
}

impl Stream {
    /// One connection for each of the plan's, spread over the nodes; opened when first used.
    pub(super) async fn connect(
        addresses: &[SocketAddr],
        queue: &str,
        plan: &Plan,
    ) -> Outcome<Self> {
        let mut producers = Vec::new();
        for connection in 0..plan.connections {
            let mut servers: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            servers.rotate_left(connection as usize % addresses.len());
            let client = Client::new(&Config {
                servers,
                ..Config::default()
            })?;
            producers.push(Queue::over(client).producer(queue)?);
        }
        Ok(Self {
            queue: queue.to_owned(),
            payload: plan.payload as usize,
            inflight: plan.inflight,
            producers,
            addresses: addresses.into(),
        })
    }
}

#[async_trait]
impl Driver for Stream {
    async fn enqueue(&self, lane: Lane, number: u64) -> Result<(), Failed> {
        let job = NewJob {
            payload: super::body::make(number, self.payload),
            payload_is_json: true,
            ..NewJob::default()
        };
        let sent = self.producers[lane.connection as usize].send_job(job).await;
        let receipt = match sent {
            Ok(receipt) => receipt.await,
            Err(error) => Err(error),
        };
        match receipt {
            Ok(_) => Ok(()),
            Err(error) if error.code.kind() == Kind::Unknown => {
                Err(Failed::Unknown(error.to_string()))
            }
            Err(error) => Err(Failed::refused(error.to_string())),
        }
    }

    async fn work(
        &self,
        lane: Lane,
        ledger: &Ledger,
        stop: &CancellationToken,
    ) -> Result<Latency, Failed> {
        if lane.slot != 0 {
            return Ok(Latency::default());
        }
        let addresses = Addresses {
            all: Arc::clone(&self.addresses),
            at: lane.connection as usize,
        };
        work::run(
            addresses,
            &self.queue,
            lane.connection,
            self.inflight,
            ledger,
            stop,
        )
        .await
    }
}
