//! The client of a cluster: [`ElectionService`] over gRPC.
//!
//! It knows several servers and keeps one connection to the one that works; any node forwards to the
//! leader. Every command but two means the same when it is repeated, so it is sent again when its answer
//! was lost; a release by force without a token, and a campaign that opens a session, are repeated only
//! under a key. Renewals of all sessions share one stream (`keep_alive`), as do
//! observations of all elections at one server (`watch`); what one has not told when its stream breaks is
//! told by the next server, after the last revision.

mod call;
mod keep_alive;
mod observe;
mod watch;

use crate::convert::info_from;
use crate::machine::{Answer, Command, Liveness, Query, Renewal, Renewed};
use crate::service::{Caller, ClusterInfo, ElectionService, Executed, Observation};
use async_trait::async_trait;
use keep_alive::KeepAlive;
use quorate_core::client::{Api, failure};
use quorate_core::error::{Code, Error, Kind};
use quorate_core::machine::OpKey;
use quorate_core::retry::Backoff;
use quorate_core::types::Name;
use quorate_proto::election as pb;
use quorate_proto::election::elections_client::ElectionsClient;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use tonic::{Request, Status};
use watch::Watches;

pub use quorate_core::client::Config;

/// An attempt that may be repeated is given up for another server after this long: long enough for a
/// change of leader, short enough to leave a server that hangs.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);

/// Longest answer: an election with all its candidates, and pages of them, stay below it.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The generated client over one connection.
type Grpc = ElectionsClient<Channel>;
type Servers = quorate_core::client::Servers<Elections>;

#[derive(Debug)]
struct Elections;

impl Api for Elections {
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

/// A client. Cheap to clone; clones share the connections, the stream of renewals and those
/// of observations.
#[derive(Clone, Debug)]
pub struct Client {
    servers: Arc<Servers>,
    keep_alive: KeepAlive,
    watches: Watches,
}

/// How often an operation may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// Again only after a failure that says "certainly not done".
    IfNotDone,
    /// Again also when the outcome is not known: twice is the same as once.
    Freely,
}

impl Client {
    /// A client of these servers. Connects when the first call is made. Must be called within a tokio
    /// runtime, which drives the connections.
    ///
    /// # Errors
    /// `invalid_argument`: no servers, or one that is no address.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let servers = Arc::new(Servers::new(config)?);
        servers.search(Duration::ZERO);
        Ok(Self {
            keep_alive: KeepAlive::new(&servers),
            watches: Watches::new(&servers),
            servers,
        })
    }

    fn repeat_of(caller: &Caller, command: &Command) -> Repeat {
        let once = match command {
            Command::ForceRelease { token: None, .. } | Command::Revoke { token: None, .. } => true,
            Command::Campaign(campaign) => matches!(campaign.liveness, Liveness::Ttl(_)),
            _ => false,
        };
        if once && caller.key.is_none() {
            Repeat::IfNotDone
        } else {
            Repeat::Freely
        }
    }

    /// Makes a call until it succeeds, is refused, or the time is over.
    async fn repeat<T, F>(
        &self,
        timeout: Duration,
        repeat: Repeat,
        mut call: impl FnMut(Grpc, Duration) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let end = Instant::now() + timeout;
        let mut backoff = Backoff::default();
        let mut unknown = None;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let most = match repeat {
                Repeat::IfNotDone => left,
                Repeat::Freely => left.min(ATTEMPT_MAX),
            };
            let (server, grpc) = self.servers.current();
            let error = match tokio::time::timeout(most, call(grpc, most)).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) if error.code.kind() == Kind::Unknown => Error {
                    detail: format!("{} says: {}", self.servers.name(server), error.detail),
                    ..error
                },
                Ok(Err(error)) => error,
                Err(_) => Error::new(
                    Code::OutcomeUnknown,
                    format!("no answer from {} in time", self.servers.name(server)),
                ),
            };
            let kind = error.code.kind();
            if kind == Kind::Rejected {
                return Err(error);
            }
            self.servers.failed(server, error.code);
            let again = kind == Kind::Retryable || repeat == Repeat::Freely;
            let delay = backoff.next(error.retry_after_ms);
            if kind == Kind::Unknown {
                unknown = Some(error.clone());
            }
            if !again || Instant::now() + delay >= end {
                return Err(unknown.unwrap_or(error));
            }
            tokio::time::sleep(delay).await;
        }
    }
}

#[async_trait]
impl ElectionService for Client {
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Executed, Error> {
        let repeat = Self::repeat_of(caller, &command);
        let key = caller.key.as_ref();
        if matches!(key, Some(OpKey::Stream { .. })) {
            return Err(Error::unimplemented("numbering requests in a stream"));
        }
        self.repeat(caller.timeout, repeat, |grpc, most| {
            call::command(&self.servers, grpc, command.clone(), most, key)
        })
        .await
    }

    async fn query(&self, caller: &Caller, query: Query) -> Result<Answer, Error> {
        self.repeat(caller.timeout, Repeat::Freely, |grpc, most| {
            call::query(&self.servers, grpc, query.clone(), most)
        })
        .await
    }

    async fn renew(&self, caller: &Caller, renewal: Renewal) -> Result<Renewed, Error> {
        self.keep_alive.renew(renewal, caller.timeout).await
    }

    async fn observe(
        &self,
        caller: &Caller,
        election: Name,
        after: Option<u64>,
    ) -> Result<Observation, Error> {
        observe::observe(&self.watches, caller.timeout, election, after).await
    }

    async fn cluster(&self) -> Result<ClusterInfo, Error> {
        let timeout = Caller::default().timeout;
        self.repeat(timeout, Repeat::Freely, |mut grpc, most| async move {
            let request = self.servers.request(pb::GetInfoRequest {}, most, None)?;
            let response = grpc.get_info(request).await;
            let response = response.map_err(|status| failure(&status))?;
            Ok(info_from(response.into_inner()))
        })
        .await
    }
}
