//! Free ports for the demonstration's processes.
//!
//! They are taken from below the range that the system uses for outgoing connections: a node that is
//! killed comes back on the same port, which must not have gone to somebody's connection meanwhile.

use anyhow::bail;
use rand::RngExt as _;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

/// Ports that are tried.
const RANGE: std::ops::Range<u16> = 15_000..32_000;
/// How many are tried before the machine counts as full.
const TRIES: usize = 2_000;

/// Ports of this host that are free now. Another process may still take one before it is used: then
/// the process that needs it says so, and new ones are picked.
#[derive(Debug, Default)]
pub struct Ports {
    given: BTreeSet<u16>,
}

impl Ports {
    /// One more, different from all before.
    pub fn pick(&mut self) -> anyhow::Result<u16> {
        let mut rng = rand::rng();
        for _ in 0..TRIES {
            let port = rng.random_range(RANGE);
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if free && self.given.insert(port) {
                return Ok(port);
            }
        }
        bail!(
            "no free port between {} and {}: end some servers of this machine",
            RANGE.start,
            RANGE.end
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_gives_a_port_twice_nor_one_in_use() {
        let mut ports = Ports::default();
        let mut seen = BTreeSet::new();
        for _ in 0..50 {
            let port = ports.pick().unwrap();
            assert!(seen.insert(port));
            assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
        }
    }
}
