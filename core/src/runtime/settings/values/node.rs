//! Who a replica is and who the others are.

use super::{Address, Value};
use crate::types::NodeId;
use std::collections::BTreeMap;

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
            if address.port() == 0 {
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

#[cfg(test)]
mod tests {
    use super::*;

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

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-z=:,.\\[\\] -]{0,60}") {
            let _ = PeerAddresses::parse(&text);
            let _ = ordinal(&text);
        }
    }
}
