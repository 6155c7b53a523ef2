//! Places on the network.

use super::Value;
use std::net::{SocketAddr, ToSocketAddrs};

/// `host:port`, where the host may be a name. IPv6 addresses stand in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 lets the system choose one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks the resolver. Blocks; at least one address in a success.
    pub fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        if found.is_empty() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::NotFound,
                "the name has no address",
            ));
        }
        Ok(found)
    }
}

impl Value for Address {
    fn parse(text: &str) -> Result<Self, String> {
        let refusal = || format!("{text:?} is not host:port (IPv6 in brackets: [::1]:7072)");
        let (host, port) = text.rsplit_once(':').ok_or_else(refusal)?;
        let port = port.parse().map_err(|_| refusal())?;
        let bare = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or_else(refusal)?;
                inner.parse::<std::net::Ipv6Addr>().map_err(|_| refusal())?;
                inner
            }
            None => host,
        };
        let named = bare == host;
        let plausible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bare.is_empty() || bare.len() > 253 || (named && !bare.chars().all(plausible)) {
            return Err(refusal());
        }
        Ok(Self {
            host: bare.to_owned(),
            port,
        })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Host names, separated by commas, that requests may name in `Host`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts(pub Vec<String>);

impl Value for AllowedHosts {
    fn parse(text: &str) -> Result<Self, String> {
        let mut hosts = Vec::new();
        for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            if item.contains(['/', '*', '@', ' ']) || Address::parse(item).is_ok() {
                return Err(format!(
                    "{item:?} is not a host name: write names without port, scheme or wildcard, \
                     separated by commas"
                ));
            }
            hosts.push(item.trim_matches(['[', ']']).to_ascii_lowercase());
        }
        if hosts.is_empty() {
            return Err("it names no host".into());
        }
        Ok(Self(hosts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in [
            "127.0.0.1:7072",
            "[::1]:7072",
            "queue-0.queue:7272",
            "localhost:0",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "",
            ":7072",
            "host",
            "host:",
            "host:99999",
            "::1:7072",
            "[x]:1",
            "http://h:1",
            "a b:1",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_taken_for_an_address_reads_back_as_itself(text in ".{0,40}") {
            // Proves: no text panics, and no address changes its meaning by being shown.
            if let Ok(address) = Address::parse(&text) {
                proptest::prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
            }
            let _ = AllowedHosts::parse(&text);
        }
    }
}
