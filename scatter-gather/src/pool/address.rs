//! Addresses of leaves, and those that are never called.
//!
//! A definition is data that may come over an API, so it must not turn the container into a way to
//! reach what only the container can reach: link-local addresses, where clouds keep their metadata and
//! credentials, are refused when a definition is read and again after each resolution of a name.

use http::uri::PathAndQuery;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Longest URL in bytes.
const BYTES_MAX: usize = 2_048;

/// Names under which clouds answer with credentials.
const METADATA_NAMES: &[&str] = &[
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
];

/// `http://host:port/base` or `https://…`, checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafUrl {
    tls: bool,
    host: Arc<str>,
    port: u16,
    /// Empty, or beginning with a slash.
    path: Arc<str>,
}

/// Why a URL was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} {problem}")]
pub struct UrlError {
    /// The URL, without a credential, cut to 100 characters.
    pub url: String,
    /// Completes the sentence.
    pub problem: String,
}

impl LeafUrl {
    /// Reads and checks a URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let refuse = |problem: &str| {
            let shown = match text.rsplit_once('@') {
                Some((_, rest)) => format!("…@{rest}"),
                None => text.to_owned(),
            };
            Err(UrlError {
                url: shown.chars().take(100).collect(),
                problem: problem.to_owned(),
            })
        };
        if text.len() > BYTES_MAX {
            return refuse("is longer than 2048 bytes");
        }
        let (rest, tls) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (rest, false),
            (None, Some(rest)) => (rest, true),
            (None, None) => {
                return refuse("is no http:// or https:// URL: write http://host:port/path");
            }
        };
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(end) => rest.split_at(end),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return refuse("carries a credential: leave it out");
        }
        if path.contains(['?', '#']) {
            return refuse("has a query or a fragment: put queries into request.path");
        }
        if !path.is_empty() && path.parse::<PathAndQuery>().is_err() {
            return refuse("has characters that a path cannot have: escape them as %XX");
        }
        let Ok(parsed) = authority.parse::<http::uri::Authority>() else {
            return refuse("has no valid host: write http://host:port/path");
        };
        let after_host = authority.rsplit(']').next().unwrap_or_default();
        let port = match after_host.rsplit_once(':') {
            None => Some(if tls { 443 } else { 80 }),
            Some((_, digits)) => digits.parse::<u16>().ok().filter(|port| *port > 0),
        };
        let Some(port) = port else {
            return refuse("has no valid port: write http://host:port/path");
        };
        if parsed.host().is_empty() {
            return refuse("has no valid host: write http://host:port/path");
        }
        let host = parsed.host().trim_start_matches('[').trim_end_matches(']');
        let host = host.to_ascii_lowercase();
        if let Some(why) = refused_host(&host) {
            return refuse(why);
        }
        Ok(Self {
            tls,
            host: host.into(),
            port,
            path: path.trim_end_matches('/').into(),
        })
    }

    /// It is called over TLS.
    pub fn is_secure(&self) -> bool {
        self.tls
    }

    /// The host's name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What paths of requests are appended to: empty, or a path without a slash at its end.
    pub fn base(&self) -> &str {
        &self.path
    }

    /// The same as the path of a request: `/` if it is empty.
    pub fn path(&self) -> PathAndQuery {
        let path = if self.path.is_empty() {
            "/"
        } else {
            &self.path
        };
        // It was read as one when the URL was.
        path.parse()
            .unwrap_or_else(|_| PathAndQuery::from_static("/"))
    }

    /// `host:port`, with brackets where needed.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The same place at another host, as discovery found it.
    #[must_use]
    pub fn at(&self, host: &str, port: u16) -> Self {
        Self {
            tls: self.tls,
            host: host.into(),
            port,
            path: Arc::clone(&self.path),
        }
    }
}

impl fmt::Display for LeafUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// Why a host of a URL is never called, if so.
fn refused_host(host: &str) -> Option<&'static str> {
    let name = host.trim_end_matches('.');
    if METADATA_NAMES.contains(&name) {
        return Some("is a metadata service: name a leaf");
    }
    // Numbers that resolvers take for addresses and parsers do not: 0xa9fea9fe, 2852039166, 169.254.1.
    let numeric = name
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x"));
    match name.parse::<IpAddr>() {
        Ok(address) => refused_address(address),
        Err(_) if numeric => Some("is not a valid IP address: write it as 10.0.0.1"),
        Err(_) => None,
    }
}

/// Why an address is never called, if so. Loopback and private networks are where leaves live.
pub(super) fn refused_address(address: IpAddr) -> Option<&'static str> {
    const LINK_LOCAL: &str =
        "is link-local, where metadata services are: use an address of the leaf's network";
    match address {
        IpAddr::V4(address) => {
            if address.is_link_local() || address == Ipv4Addr::new(100, 100, 100, 200) {
                Some(LINK_LOCAL)
            } else if address.is_unspecified() || address.is_broadcast() || address.is_multicast() {
                Some("is no address of one host: use the leaf's own")
            } else {
                None
            }
        }
        IpAddr::V6(address) => {
            if let Some(inner) = address.to_ipv4_mapped().or_else(|| embedded(address)) {
                return refused_address(IpAddr::V4(inner));
            }
            let metadata = address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            if (address.segments()[0] & 0xffc0) == 0xfe80 || metadata {
                Some(LINK_LOCAL)
            } else if address.is_unspecified() || address.is_multicast() {
                Some("is no address of one host: use the leaf's own")
            } else {
                None
            }
        }
    }
}

/// The IPv4 address within one of the NAT64 prefix 64:ff9b::/96.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    (s[..6] == [0x64, 0xff9b, 0, 0, 0, 0]).then(|| {
        let [a, b] = s[6].to_be_bytes();
        let [c, d] = s[7].to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves' URLs read and print as written.
    #[test]
    fn urls_of_leaves() {
        for (text, want) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            (
                "http://leaf-0.leaf:80/search/",
                "http://leaf-0.leaf:80/search",
            ),
            ("http://Leaf", "http://leaf:80"),
            ("http://[::1]:9/x", "http://[::1]:9/x"),
            ("http://10.1.2.3:1", "http://10.1.2.3:1"),
            ("https://leaf/x", "https://leaf:443/x"),
            ("https://leaf:8443", "https://leaf:8443"),
        ] {
            assert_eq!(LeafUrl::parse(text).unwrap().to_string(), want);
        }
    }

    /// What must not be called is refused, however it is spelt, and credentials are not repeated.
    #[test]
    fn refused_urls() {
        for bad in [
            "",
            "leaf:80",
            "https://",
            "https://169.254.169.254/",
            "ftp://leaf/",
            "http://",
            "http://:80",
            "http://leaf:0",
            "http://leaf:99999",
            "http://user:hunter2@leaf/",
            "http://leaf/?q=1",
            "http://leaf/#x",
            "http://169.254.169.254/latest",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[fd00:ec2::254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://metadata.google.internal/",
            "http://METADATA/",
            "http://metadata.google.internal./",
            "http://100.100.100.200/",
            "http://0.0.0.0:80",
            "http://[::]:80",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://169.254.43518/",
            "http://leaf/a b",
        ] {
            let error = LeafUrl::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
