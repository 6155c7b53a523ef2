//! The client of a cluster: [`QueueService`] over gRPC.
//!
//! It knows several servers and keeps one connection to the one that works; any node forwards to the
//! leader. Commands that change something are numbered in a client stream that is opened in the log,
//! so that one whose answer was lost is sent again and executed once. What could neither be known nor
//! repeated is reported as `outcome_unknown`, never guessed.

mod call;
pub(crate) mod enqueue;
mod numbers;
pub(crate) mod work;

use crate::convert::{Call, info_from, renewal_into, renewed_from};
use crate::machine::{Answer, Command, Query, Renewal, Renewed, Reply};
use crate::service::{Caller, ClusterInfo, QueueService};
use async_trait::async_trait;
use call::Attempt;
use numbers::{Number, Numbers};
use quorate_core::client::{Api, GivenUp, Repeat, failure};
use quorate_core::error::{Code, Error};
use quorate_core::machine::OpKey;
use quorate_proto::queue as pb;
use quorate_proto::queue::queues_client::QueuesClient;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use tonic::{Request, Status};

pub use quorate_core::client::Config;

/// Longest answer: pages and grants are bounded by the server well below it.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The generated client over one connection.
type Grpc = QueuesClient<Channel>;
type Servers = quorate_core::client::Servers<Queues>;

#[derive(Debug)]
struct Queues;

impl Api for Queues {
    /// A batch of jobs must not wait for windows.
    const STREAM_WINDOW_BYTES: Option<u32> = Some(4 << 20);
    const CONNECTION_WINDOW_BYTES: Option<u32> = Some(16 << 20);
    type Stub = Grpc;

    fn over(channel: Channel) -> Grpc {
        Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    async fn term_led(grpc: &mut Grpc, request: Request<()>) -> Result<Option<u64>, Status> {
        let request = request.map(|()| pb::GetInfoRequest {});
        let info = info_from(grpc.get_info(request).await?.into_inner());
        Ok(info.leads().then_some(info.term))
    }
}

/// A client. Cheap to clone; clones share the connection and the numbering.
#[derive(Clone, Debug)]
pub struct Client {
    servers: Arc<Servers>,
    numbers: Arc<Numbers>,
}

impl Client {
    /// A client of these servers. Connects when the first call is made. Must be called within a tokio
    /// runtime, which drives the connections.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let servers = Arc::new(Servers::new(config)?);
        servers.search(Duration::ZERO);
        Ok(Self {
            servers,
            numbers: Arc::new(Numbers::default()),
        })
    }

    /// Whether twice is the same as once for this command, by its nature.
    fn is_idempotent(command: &Command) -> bool {
        match command {
            // The first settlement of a lease counts; but a request for work leases twice.
            Command::Settle { then, .. } => then.is_none(),
            Command::Checkpoint { .. } | Command::CloseSession { .. } => true,
            _ => false,
        }
    }

    /// Whether the command is sent under a number. Not the answers with leases in them: they hold
    /// payloads, which the dedupe window is not made for, and a lost grant comes back by itself.
    fn is_numbered(command: &Command) -> bool {
        !matches!(
            command,
            Command::Lease(_)
                | Command::Settle { .. }
                | Command::Checkpoint { .. }
                | Command::CloseSession { .. }
                | Command::OpenSession { .. }
        )
    }

    /// Makes a call until it succeeds, is refused, or the time is over.
    async fn repeat<T, F>(
        &self,
        timeout: Duration,
        wait: Duration,
        repeat: Repeat,
        call: impl FnMut(Grpc, Duration) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let done = self.servers.repeat(timeout, wait, repeat, call).await;
        done.map_err(|given_up| match given_up {
            // What an earlier attempt did is not told by a later one that finds the session over.
            GivenUp {
                last,
                unknown: Some(unknown),
            } if last.code == Code::SessionExpired => unknown,
            given_up => given_up.into(),
        })
    }

    async fn open_stream_now(&self, timeout: Duration) -> Result<u64, Error> {
        // A stream that was opened and not heard of costs the cluster a few bytes until it expires.
        self.repeat(
            timeout,
            Duration::ZERO,
            Repeat::Freely,
            |mut grpc, most| async move {
                let request = self.servers.request(pb::OpenStreamRequest {}, most, None)?;
                let response = grpc.open_stream(request).await;
                let response = response.map_err(|status| failure(&status))?;
                crate::convert::reply::stream_from(&response.into_inner())
            },
        )
        .await
    }

    /// A command under a number of this client's stream.
    async fn numbered(&self, caller: &Caller, call: &Call) -> Result<Reply, Error> {
        let end = Instant::now() + caller.timeout;
        // A stream that expired before the first attempt is no failure; twice in a row is one.
        let mut expired = 0;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Some(number) = self.numbers.next(|| self.open_stream_now(left)).await? else {
                return self.once(caller, call, Repeat::IfNotDone, None).await;
            };
            let result = self
                .repeat(left, Duration::ZERO, Repeat::Freely, |grpc, most| {
                    self.attempt(grpc, call.clone(), most, Some(number.key()))
                })
                .await;
            match result {
                // Certainly not done: after an attempt whose outcome is not known, `repeat` says that.
                Err(error) if error.code == Code::SessionExpired && expired == 0 => {
                    expired += 1;
                    self.numbers.expired(number.stream());
                }
                result => return result?.reply(),
            }
        }
    }

    async fn once(
        &self,
        caller: &Caller,
        call: &Call,
        repeat: Repeat,
        key: Option<OpKey>,
    ) -> Result<Reply, Error> {
        self.repeat(caller.timeout, caller.wait, repeat, |grpc, most| {
            self.attempt(grpc, call.clone(), most, key.clone())
        })
        .await?
        .reply()
    }

    async fn attempt(
        &self,
        grpc: Grpc,
        call: Call,
        timeout: Duration,
        key: Option<OpKey>,
    ) -> Result<call::Outcome, Error> {
        let attempt = Attempt {
            servers: &self.servers,
            timeout,
            key,
        };
        attempt.make(grpc, call).await
    }
}

#[async_trait]
impl QueueService for Client {
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Reply, Error> {
        let numbered = Self::is_numbered(&command);
        let idempotent = Self::is_idempotent(&command);
        let wait_ms = u64::try_from(caller.wait.as_millis()).unwrap_or(u64::MAX);
        let call = Call::command(command, wait_ms)?;
        if caller.key.is_some() {
            return self
                .once(caller, &call, Repeat::Freely, caller.key.clone())
                .await;
        }
        if numbered {
            return self.numbered(caller, &call).await;
        }
        let repeat = if idempotent {
            Repeat::Freely
        } else {
            Repeat::IfNotDone
        };
        self.once(caller, &call, repeat, None).await
    }

    async fn query(&self, caller: &Caller, query: Query) -> Result<Answer, Error> {
        let call = Call::query(query);
        self.repeat(
            caller.timeout,
            Duration::ZERO,
            Repeat::Freely,
            |grpc, most| self.attempt(grpc, call.clone(), most, None),
        )
        .await?
        .answer()
    }

    async fn renew(&self, caller: &Caller, renewal: Renewal) -> Result<Renewed, Error> {
        // Once only: the holder counts its trust from before it sent this one, and sends the next
        // itself.
        let (server, mut grpc) = self.servers.current();
        let servers = &self.servers;
        let sent = async {
            match renewal_into(renewal) {
                Ok(heartbeat) => {
                    let request = servers.request(heartbeat, caller.timeout, None)?;
                    Ok(grpc.heartbeat(request).await)
                }
                Err(progress) => {
                    let request = servers.request(progress, caller.timeout, None)?;
                    Ok(grpc.progress(request).await)
                }
            }
        };
        let late = || {
            Error::new(
                Code::DeadlineExceeded,
                "the heartbeat was not answered in time",
            )
        };
        let result = match tokio::time::timeout(caller.timeout, sent).await {
            Err(_) => Err(late()),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Err(status))) => Err(failure(&status)),
            Ok(Ok(Ok(response))) => Ok(renewed_from(response.into_inner())),
        };
        if let Err(error) = &result {
            self.servers.failed(server, error.code);
        }
        result
    }

    async fn open_stream(&self, caller: &Caller) -> Result<u64, Error> {
        self.open_stream_now(caller.timeout).await
    }

    async fn cluster(&self) -> Result<ClusterInfo, Error> {
        let timeout = Caller::default().timeout;
        self.repeat(
            timeout,
            Duration::ZERO,
            Repeat::Freely,
            |mut grpc, most| async move {
                let request = self.servers.request(pb::GetInfoRequest {}, most, None)?;
                let response = grpc.get_info(request).await;
                let response = response.map_err(|status| failure(&status))?;
                Ok(info_from(response.into_inner()))
            },
        )
        .await
    }
}

impl Number<'_> {
    fn key(&self) -> OpKey {
        OpKey::Stream {
            stream: self.stream(),
            seq: self.seq(),
            done_below: self.done_below(),
        }
    }
}
