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
mod watch;

use crate::convert::info_from;
use crate::machine::{Answer, Command, Liveness, Query, Renewal, Renewed};
use crate::observe::Following;
use crate::service::{Caller, ClusterInfo, ElectionService, Executed, Observation};
use async_trait::async_trait;
use keep_alive::KeepAlive;
use quorate_core::client::{Api, Repeat, failure};
use quorate_core::error::{Code, Error};
use quorate_core::machine::OpKey;
use quorate_core::types::Name;
use quorate_proto::election as pb;
use quorate_proto::election::elections_client::ElectionsClient;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Status};
use watch::Watches;

pub use quorate_core::client::Config;

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
}

#[async_trait]
impl ElectionService for Client {
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Executed, Error> {
        let repeat = Self::repeat_of(caller, &command);
        let key = caller.key.as_ref();
        if matches!(key, Some(OpKey::Stream { .. })) {
            return Err(Error::unimplemented("numbering requests in a stream"));
        }
        let call = |grpc, most| call::command(&self.servers, grpc, command.clone(), most, key);
        let (timeout, wait) = (caller.timeout, Duration::ZERO);
        Ok(self.servers.repeat(timeout, wait, repeat, call).await?)
    }

    async fn query(&self, caller: &Caller, query: Query) -> Result<Answer, Error> {
        let call = |grpc, most| call::query(&self.servers, grpc, query.clone(), most);
        let (timeout, wait) = (caller.timeout, Duration::ZERO);
        let answer = self.servers.repeat(timeout, wait, Repeat::Freely, call);
        Ok(answer.await?)
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
        let watches = self.watches.clone();
        let begin = move |after| watches.clone().begin(election.clone(), after);
        let mut following = Following::new(begin, after);
        tokio::time::timeout(caller.timeout, following.open())
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    Code::DeadlineExceeded,
                    "no server began to tell of the election in time; try again",
                ))
            })?;
        Ok(following.stream())
    }

    async fn cluster(&self) -> Result<ClusterInfo, Error> {
        let call = |mut grpc: Grpc, most| async move {
            let request = self.servers.request(pb::GetInfoRequest {}, most, None)?;
            let response = grpc.get_info(request).await;
            let response = response.map_err(|status| failure(&status))?;
            Ok(info_from(response.into_inner()))
        };
        let (timeout, wait) = (Caller::default().timeout, Duration::ZERO);
        let info = self.servers.repeat(timeout, wait, Repeat::Freely, call);
        Ok(info.await?)
    }
}
