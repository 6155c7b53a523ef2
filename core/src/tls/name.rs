//! The name of a replica in its certificate.

use crate::types::{Name, NodeId};
use std::fmt;

/// What the URIs of ours begin with.
pub(super) const SCHEME: &str = "quorate://";

/// `quorate://CLUSTER/node/N`, a URI among the alternative names of a certificate.
///
/// Exactly one of a certificate, matched as a whole: subject names and wildcards are what other systems were broken
/// by (NATS CVE-2026-33248, etcd CVE-2018-16886).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerName {
    /// Name of the cluster, given when its certificates were made.
    pub cluster: Name,
    /// The node.
    pub node: NodeId,
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/node/{}", self.cluster, self.node)
    }
}

impl PeerName {
    /// Reads a URI. Anything but the one spelling that [`fmt::Display`] writes is refused.
    pub fn parse(uri: &str) -> Option<Self> {
        let (cluster, rest) = uri.strip_prefix(SCHEME)?.split_once('/')?;
        let node = rest
            .strip_prefix("node/")?
            .parse()
            .ok()
            .filter(|n| *n > 0)?;
        let name = Self {
            cluster: Name::new(cluster).ok()?,
            node: NodeId(node),
        };
        // `007` and `7` would be two spellings of one node.
        (name.to_string() == uri).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One identity has one spelling, and nothing else passes for it.
    #[test]
    fn only_the_one_spelling_is_read() {
        let name = PeerName::parse("quorate://payments/node/3").unwrap();
        assert_eq!((name.cluster.as_str(), name.node), ("payments", NodeId(3)));
        assert_eq!(name.to_string(), "quorate://payments/node/3");
        for bad in [
            "",
            "quorate://",
            "quorate://payments",
            "quorate://payments/node/",
            "quorate://payments/node/0",
            "quorate://payments/node/03",
            "quorate://payments/node/+3",
            "quorate://payments/node/3/",
            "quorate://payments/node/3?x",
            "quorate://payments/node/-1",
            "quorate://Payments/node/3",
            "quorate:///node/3",
            "https://payments/node/3",
            "quorate://payments/node/99999999999999999999",
            "quorate://pay*/node/3",
        ] {
            assert_eq!(PeerName::parse(bad), None, "{bad}");
        }
    }
}
