//! The kinds of values a setting can have: how each is read from text and shown again.
//!
//! All sources meet in text, so there is one parser a kind, whichever source a value came from. A
//! refusal says what a good value looks like; the name of the setting is added by the caller.

use crate::types::NodeId;
use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// A kind of value.
pub trait Value: Sized {
    /// Reads it. The error completes the sentence "NAME: …".
    fn parse(text: &str) -> Result<Self, String>;

    /// What stands for a setting that no source names, if that is allowed.
    fn absent() -> Option<Self> {
        None
    }

    /// The text to show for this raw text; kinds that can hold a credential redact it.
    fn show(text: &str) -> String {
        text.to_owned()
    }

    /// Whether this is a switch, whose flag needs no value.
    const SWITCH: bool = false;
}

impl<T: Value> Value for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
    fn show(text: &str) -> String {
        T::show(text)
    }
    const SWITCH: bool = T::SWITCH;
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }
}

impl Value for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(0) | Err(_) => Err(format!(
                "{text:?} is not a whole number from 1 to {}",
                Self::MAX
            )),
            Ok(number) => Ok(number),
        }
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub u64);

impl Millis {
    /// The longest that makes sense for any setting: a day.
    pub const MAX: u64 = 86_400_000;

    /// As the standard library counts it.
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl Value for Millis {
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(ms) if ms <= Self::MAX => Ok(Self(ms)),
            _ => Err(format!(
                "{text:?} is not a whole number of milliseconds from 0 to {}",
                Self::MAX
            )),
        }
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch(pub bool);

impl Value for Switch {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "1" | "true" => Ok(Self(true)),
            "0" | "false" => Ok(Self(false)),
            _ => Err(format!("{text:?} is not 1, true, 0 or false")),
        }
    }
    const SWITCH: bool = true;
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For eyes.
    Text,
    /// One JSON object a line.
    Json,
}

impl Value for LogFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is not text or json")),
        }
    }
}

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

impl Value for NodeId {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "ordinal" {
            let system = rustix::system::uname();
            return ordinal(&system.nodename().to_string_lossy());
        }
        match text.parse() {
            Ok(0) | Err(_) => Err(format!("{text:?} is not 1, 2, 3, … or ordinal")),
            Ok(number) => Ok(Self(number)),
        }
    }
}

/// The node of a StatefulSet's pod: `queue-0` is node 1.
fn ordinal(host_name: &str) -> Result<NodeId, String> {
    let short = host_name.split('.').next().unwrap_or_default();
    short
        .rsplit_once('-')
        .and_then(|(_, suffix)| suffix.parse::<u64>().ok())
        .and_then(|suffix| suffix.checked_add(1))
        .map(NodeId)
        .ok_or_else(|| {
            format!(
                "ordinal needs a host name that ends in -0, -1, -2, …, as a StatefulSet gives it; \
                 this host is called {host_name:?}: give the number instead"
            )
        })
}

/// `1=host:port,2=host:port,…`: where each replica listens for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddresses(pub BTreeMap<NodeId, Address>);

impl PeerAddresses {
    /// More replicas than this never vote in one group.
    pub const MAX: usize = 64;
}

impl Value for PeerAddresses {
    fn parse(text: &str) -> Result<Self, String> {
        let mut peers = BTreeMap::new();
        for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            let (id, address) = item
                .split_once('=')
                .ok_or_else(|| format!("{item:?} is not ID=host:port"))?;
            let id = match id.trim().parse() {
                Ok(0) | Err(_) => return Err(format!("{id:?} in {item:?} is not 1, 2, 3, …")),
                Ok(id) => NodeId(id),
            };
            let address = Address::parse(address.trim())?;
            if address.port == 0 {
                return Err(format!(
                    "{item:?} needs a port that others can reach, not 0"
                ));
            }
            if let Some((other, _)) = peers.iter().find(|(_, known)| **known == address) {
                return Err(format!(
                    "nodes {other} and {id} have the same address {address}"
                ));
            }
            if peers.insert(id, address).is_some() {
                return Err(format!("node {id} is named twice"));
            }
        }
        if peers.is_empty() || peers.len() > Self::MAX {
            return Err(format!(
                "it names {} nodes: name 1 to {} as 1=host:port,2=host:port",
                peers.len(),
                Self::MAX
            ));
        }
        Ok(Self(peers))
    }
}

/// `http://host:port`, several separated by commas; the scheme may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints(pub Vec<String>);

impl Value for Endpoints {
    fn parse(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            all.push(endpoint(item)?);
        }
        if all.is_empty() {
            return Err("it names no server: give http://host:port, separated by commas".into());
        }
        Ok(Self(all))
    }
    fn show(text: &str) -> String {
        text.split(',').map(redact).collect::<Vec<_>>().join(",")
    }
}

fn endpoint(item: &str) -> Result<String, String> {
    let refusal = |why: &str| format!("{:?} {why}; write http://host:port", redact(item));
    let rest = match item.split_once("://") {
        Some(("http", rest)) => rest,
        Some(("https", _)) => {
            return Err(refusal("asks for TLS, which is not built yet"));
        }
        Some(_) => return Err(refusal("has a scheme other than http")),
        None => item,
    };
    if rest.contains('@') {
        return Err(refusal(
            "carries a credential: tokens are read from QUORATE_SERVERS_TOKEN_FILE",
        ));
    }
    let address = Address::parse(rest.trim_end_matches('/')).map_err(|e| refusal(&e))?;
    if address.port == 0 {
        return Err(refusal("has port 0"));
    }
    Ok(format!("http://{address}"))
}

/// Where blobs are kept: `file:///path` or `s3://bucket/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobsUrl(pub String);

impl Value for BlobsUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let shown = redact(text);
        if text.contains('@') {
            return Err(format!("{shown:?} carries a credential; leave it out"));
        }
        let good = text
            .strip_prefix("file://")
            .is_some_and(|path| path.starts_with('/'))
            || text
                .strip_prefix("s3://")
                .is_some_and(|rest| !rest.is_empty());
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{shown:?} is neither file:///absolute/path nor s3://bucket/prefix"
            ))
        }
    }
    fn show(text: &str) -> String {
        redact(text)
    }
}

/// Hides what stands before an `@` in a URL.
fn redact(url: &str) -> String {
    match url.rsplit_once('@') {
        None => url.to_owned(),
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            let joint = if scheme.is_empty() { "" } else { "://" };
            format!("{scheme}{joint}…@{host}")
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

    #[test]
    fn peers_refuse_what_would_split_a_cluster() {
        let good = PeerAddresses::parse("1=a:1, 2=b:1,").unwrap();
        assert_eq!(good.0.len(), 2);
        for bad in [
            "",
            "a:1",
            "0=a:1",
            "1=a:1,1=b:1",
            "1=a:1,2=a:1",
            "x=a:1",
            "1=a:0",
        ] {
            assert!(PeerAddresses::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pod_of_a_stateful_set_knows_its_number() {
        assert_eq!(ordinal("queue-0"), Ok(NodeId(1)));
        assert_eq!(ordinal("queue-2.queue.default.svc"), Ok(NodeId(3)));
        assert!(ordinal("laptop").is_err());
        assert!(ordinal("queue-18446744073709551615").is_err());
    }

    #[test]
    fn servers_get_a_scheme_and_never_show_a_credential() {
        assert_eq!(
            Endpoints::parse("http://a:1/,b:2").unwrap().0,
            ["http://a:1", "http://b:2"]
        );
        let error = Endpoints::parse("http://user:hunter2@a:1").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(!Endpoints::show("http://user:hunter2@a:1").contains("hunter2"));
        assert!(Endpoints::parse("https://a:1").is_err());
        assert!(Endpoints::parse(",").is_err());
    }

    #[test]
    fn blobs_are_a_directory_or_a_bucket() {
        assert!(BlobsUrl::parse("file:///var/blobs").is_ok());
        assert!(BlobsUrl::parse("s3://bucket/prefix").is_ok());
        for bad in ["", "file://relative", "s3://", "/var/blobs", "http://x"] {
            assert!(BlobsUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
