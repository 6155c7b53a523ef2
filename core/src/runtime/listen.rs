//! Binding listeners, and the rules where that is allowed.
//!
//! Everything binds to loopback unless told otherwise. What would let strangers change something is
//! refused at start, with the reason: an API beyond loopback without a token, replicas that talk in
//! the clear beyond loopback.

use super::exit::Failure;
use super::settings::{Address, Membership, Settings};
use crate::tls::CertFiles;
use crate::types::NodeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A connection backlog as large as the kernel allows by default.
const BACKLOG: i32 = 4096;

/// Whether a breach of the bind rules stops the start or is only told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// For containers: refuse.
    Refuse,
    /// For `quorate dev`: warn.
    Warn,
}

/// A replica's place, with its peer listener resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    /// This replica.
    pub node: NodeId,
    /// Peer addresses of all replicas as `host:port`, this one included.
    pub peers: BTreeMap<NodeId, String>,
    /// Where this one listens for the others; `None` when it is alone.
    pub peer_listen: Option<SocketAddr>,
    /// The certificates between replicas; without them they talk in the clear.
    pub peer_tls: Option<CertFiles>,
}

/// Who this replica is and where it meets the others, with the bind rule for peers checked.
pub fn peering(settings: &Settings, strictness: Strictness) -> Result<Peering, Failure> {
    let Membership {
        node,
        peers,
        peer_listen,
    } = settings.membership()?;
    let peer_listen = match peer_listen {
        None => None,
        Some(address) => {
            let address = resolve("peer_listen", &address)?;
            check_peer(address, settings, strictness)?;
            Some(address)
        }
    };
    Ok(Peering {
        node,
        peers,
        peer_listen,
        peer_tls: settings.peer_tls(),
    })
}

/// Resolves the setting `name`. A host name with several addresses gives the first.
pub fn resolve(name: &str, address: &Address) -> Result<SocketAddr, Failure> {
    let found = address.resolve().map_err(|error| {
        Failure::unavailable(format!(
            "{name}: cannot resolve {address}: {error}; give an IP address, or 0.0.0.0 for all"
        ))
    })?;
    found
        .first()
        .copied()
        .ok_or_else(|| Failure::unavailable(format!("{name}: {address} has no address")))
}

/// Checks the rule for the API listener.
pub fn check_api(
    api: SocketAddr,
    settings: &Settings,
    strictness: Strictness,
) -> Result<(), Failure> {
    if api.ip().is_loopback() || settings.tls_ca.is_some() {
        return Ok(());
    }
    if settings.token_file.is_some() {
        if settings.tls_cert.is_none() {
            tracing::warn!(
                %api,
                "tokens travel in the clear: set QUORATE_TLS_CERT and QUORATE_TLS_KEY, unless only trusted hosts are on that network"
            );
        }
        return Ok(());
    }
    breach(
        strictness,
        format!(
            "listen is {api}, beyond loopback, where anybody could change anything: set \
             QUORATE_TOKEN_FILE (--token-file) to a file with a secret token or QUORATE_TLS_CA to the \
             authority of your clients' certificates, or listen on 127.0.0.1"
        ),
    )
}

/// Checks the rule for the listener between replicas.
pub fn check_peer(
    peer: SocketAddr,
    settings: &Settings,
    strictness: Strictness,
) -> Result<(), Failure> {
    if peer.ip().is_loopback() || settings.insecure_peers.0 || settings.peer_tls().is_some() {
        return Ok(());
    }
    breach(
        strictness,
        format!(
            "peer_listen is {peer}, beyond loopback, without TLS between replicas: set \
             QUORATE_PEER_TLS_CERT, _KEY and _CA (`quorate cluster certs` makes a set), or \
             QUORATE_INSECURE_PEERS=1 if only the replicas can reach that network, or listen on \
             127.0.0.1"
        ),
    )
}

fn breach(strictness: Strictness, why: String) -> Result<(), Failure> {
    match strictness {
        Strictness::Refuse => Err(Failure::config(why)),
        Strictness::Warn => {
            tracing::warn!("{why}");
            Ok(())
        }
    }
}

/// Binds a listener for the setting `name`.
pub fn bind(name: &str, address: SocketAddr) -> Result<std::net::TcpListener, Failure> {
    let bound = || {
        let domain = socket2::Domain::for_address(address);
        let socket =
            socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        // A port in TIME_WAIT after a restart is free; a port somebody listens on is not.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok::<_, std::io::Error>(socket.into())
    };
    bound().map_err(|error| {
        let variable = super::settings::Definition::of(name).map_or(name, |row| row.env);
        let flag = super::settings::Definition::of(name).map_or(name, |row| row.flag);
        let port = address.port();
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "port {port} is in use by another process (`ss -ltnp 'sport = :{port}'` names it)"
            ),
            std::io::ErrorKind::PermissionDenied => {
                format!("this user may not bind port {port}; ports from 1024 need no privilege")
            }
            std::io::ErrorKind::AddrNotAvailable => {
                format!("{} is not an address of this host", address.ip())
            }
            _ => error.to_string(),
        };
        Failure::unavailable(format!(
            "cannot listen on {address}: {why}; set {variable} (--{flag}) to another address"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Environment, FlagValues, Pattern};
    use super::*;
    use crate::runtime::exit::Exit;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let environment = Environment::of(variables.iter().copied());
        Settings::load_from(Pattern::WorkQueue, &FlagValues::none(), &environment).unwrap()
    }

    #[test]
    fn an_open_api_is_refused_with_the_reason() {
        let open: SocketAddr = "0.0.0.0:7072".parse().unwrap();
        let local: SocketAddr = "127.0.0.1:7072".parse().unwrap();
        let plain = settings(&[]);
        let refusal = check_api(open, &plain, Strictness::Refuse).unwrap_err();
        assert_eq!(refusal.exit, Exit::Config);
        assert!(refusal.message.contains("QUORATE_TOKEN_FILE"), "{refusal}");
        assert!(check_api(open, &plain, Strictness::Warn).is_ok());
        assert!(check_api(local, &plain, Strictness::Refuse).is_ok());
        let token = settings(&[("QUORATE_TOKEN_FILE", "/run/token")]);
        assert!(check_api(open, &token, Strictness::Refuse).is_ok());
    }

    #[test]
    fn open_peers_need_an_explicit_word() {
        let open: SocketAddr = "10.0.0.1:7272".parse().unwrap();
        assert!(check_peer(open, &settings(&[]), Strictness::Refuse).is_err());
        let insecure = settings(&[("QUORATE_INSECURE_PEERS", "1")]);
        assert!(check_peer(open, &insecure, Strictness::Refuse).is_ok());
    }

    #[test]
    fn a_port_in_use_names_the_setting_to_change() {
        let first = bind("listen", "127.0.0.1:0".parse().unwrap()).unwrap();
        let refusal = bind("listen", first.local_addr().unwrap()).unwrap_err();
        assert_eq!(refusal.exit, Exit::Unavailable);
        assert!(refusal.message.contains("in use"), "{refusal}");
        assert!(
            refusal.message.contains("QUORATE_LISTEN (--listen)"),
            "{refusal}"
        );
    }
}
