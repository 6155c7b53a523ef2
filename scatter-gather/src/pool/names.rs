//! Names into replicas: the addresses of a name, and the services behind one (SRV, RFC 2782).
//!
//! Addresses are asked of the system, so that its `/etc/hosts` counts. Services the system's library does not know
//! of, so they are asked of the name servers of `/etc/resolv.conf` themselves (feature `dns`).

use async_trait::async_trait;
use std::io;
use std::net::SocketAddr;

/// Resolves names. Implemented by [`SystemNames`], and by whoever knows better.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a host.
    ///
    /// # Errors
    /// No answer, or no such name.
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;

    /// Hosts and ports of a service, of the best priority alone: `_leaf._tcp.search.example`.
    ///
    /// # Errors
    /// As above.
    async fn services(&self, name: &str) -> io::Result<Vec<(String, u16)>>;
}

/// The names of this machine and of the servers that it asks.
#[derive(Debug, Default)]
pub struct SystemNames {
    #[cfg(feature = "dns")]
    servers: dns::Servers,
}

impl SystemNames {
    /// Asks this server of names for services, instead of those of the system.
    #[cfg(feature = "dns")]
    pub fn of_server(server: SocketAddr) -> Self {
        Self {
            servers: dns::Servers::of(server),
        }
    }
}

#[async_trait]
impl Resolve for SystemNames {
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }

    #[cfg(feature = "dns")]
    async fn services(&self, name: &str) -> io::Result<Vec<(String, u16)>> {
        self.servers.services(name).await
    }

    #[cfg(not(feature = "dns"))]
    async fn services(&self, _: &str) -> io::Result<Vec<(String, u16)>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this build asks no name servers: build it with the feature dns",
        ))
    }
}

#[cfg(feature = "dns")]
mod dns {
    use hickory_resolver::TokioResolver;
    use hickory_resolver::config::{
        ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig,
    };
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::rr::RData;
    use std::io;
    use std::net::SocketAddr;
    use tokio::sync::OnceCell;

    /// The name servers, known from the first question on.
    #[derive(Default)]
    pub(super) struct Servers {
        resolver: OnceCell<TokioResolver>,
        server: Option<SocketAddr>,
    }

    impl std::fmt::Debug for Servers {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Servers")
                .field("server", &self.server)
                .finish_non_exhaustive()
        }
    }

    impl Servers {
        pub(super) fn of(server: SocketAddr) -> Self {
            Self {
                server: Some(server),
                ..Self::default()
            }
        }

        fn resolver(&self) -> io::Result<TokioResolver> {
            let Some(server) = self.server else {
                let system = TokioResolver::builder_tokio().map_err(io::Error::other)?;
                return system.build().map_err(io::Error::other);
            };
            let over = |protocol| {
                let mut connection = ConnectionConfig::new(protocol);
                connection.port = server.port();
                connection
            };
            let connections = vec![over(ProtocolConfig::Udp), over(ProtocolConfig::Tcp)];
            let server = NameServerConfig::new(server.ip(), true, connections);
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            let builder =
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.build().map_err(io::Error::other)
        }

        pub(super) async fn services(&self, name: &str) -> io::Result<Vec<(String, u16)>> {
            let resolver = self
                .resolver
                .get_or_try_init(|| async { self.resolver() })
                .await?;
            let found = resolver.srv_lookup(name).await.map_err(io::Error::other)?;
            let records: Vec<_> = found
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::SRV(service) => Some(service),
                    _ => None,
                })
                // A lone dot says that there is no such service.
                .filter(|service| !service.target.is_root())
                .collect();
            let best = records.iter().map(|service| service.priority).min();
            let best = records
                .iter()
                .filter(|service| Some(service.priority) == best);
            Ok(best
                .map(|service| {
                    let host = service.target.to_utf8();
                    (host.trim_end_matches('.').to_owned(), service.port)
                })
                .collect())
        }
    }
}
