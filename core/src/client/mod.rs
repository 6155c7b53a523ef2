//! What the clients of all patterns have in common: how to reach a cluster, the servers it is made of, and
//! calls that are repeated as often as it takes and is safe.

mod repeat;
mod servers;

pub use repeat::{GivenUp, Repeat};
pub use servers::{Servers, failure};

use crate::tls::upstream::Upstream;
use std::fmt;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// How to reach a cluster.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// API addresses: `host:port`, `http://host:port` or `https://host:port`, in the order in which they are
    /// tried.
    pub servers: Vec<String>,
    /// The bearer token to present, if the servers want one.
    pub token: Option<String>,
    /// The certificates for servers whose address begins with `https://`.
    pub tls: Option<Upstream>,
}

impl Config {
    /// From addresses separated by commas, as `QUORATE_SERVERS` holds them.
    pub fn servers(list: &str) -> Self {
        let servers = list.split(',').map(str::trim);
        Self {
            servers: servers
                .filter(|server| !server.is_empty())
                .map(str::to_owned)
                .collect(),
            token: None,
            tls: None,
        }
    }
}

/// The gRPC API of a pattern.
pub trait Api {
    /// Bytes under way on one stream, where the default of the connection would make answers wait.
    const STREAM_WINDOW_BYTES: Option<u32> = None;
    /// Bytes under way on one connection, likewise.
    const CONNECTION_WINDOW_BYTES: Option<u32> = None;
    /// Its generated client.
    type Stub: Clone + fmt::Debug + Send + Sync + 'static;

    /// The client over this connection.
    fn over(channel: Channel) -> Self::Stub;

    /// The term in which the server says of itself that it leads; `None`, if it does not.
    fn term_led(
        stub: &mut Self::Stub,
        request: Request<()>,
    ) -> impl Future<Output = Result<Option<u64>, Status>> + Send;
}
