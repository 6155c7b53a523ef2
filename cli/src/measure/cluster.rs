//! Ports and directories of servers that live as long as one run.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// A directory that is removed with everything in it when this is dropped.
#[derive(Debug)]
pub struct TempDir(tempfile::TempDir);

impl TempDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A new directory below `base`, or below the system's directory for temporary files. Measurements
/// of synced writes belong on a real disk, so name one where that is memory.
pub fn temp_dir(base: Option<&Path>, prefix: &str) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    match base {
        Some(base) => builder.tempdir_in(base),
        None => builder.tempdir(),
    }
    .map(TempDir)
}

/// Where ports are looked for: below those that the system gives to outgoing connections (from 32,768 on
/// Linux), which could take one before its server does, or while that is restarted.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

/// `count` different loopback ports that were free a moment ago. No two calls of a process are answered the
/// same, and those of several processes begin at different places.
///
/// # Errors
/// So many are not free.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(rand::random_range(0..COUNT)));
    let found: Vec<u16> = (0..COUNT)
        .map(|_| FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT)
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .take(count)
        .collect();
    if found.len() < count {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("of the {COUNT} ports from {FIRST} on, {count} are not free"),
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_free() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, free_ports(1).unwrap()[0])).unwrap();
        let mut ports = free_ports(16).unwrap();
        ports.extend(free_ports(16).unwrap());
        ports.push(taken.local_addr().unwrap().port());
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 33);
        assert!(
            ports
                .iter()
                .all(|port| (FIRST..FIRST + COUNT).contains(port))
        );
        assert!(free_ports(COUNT.into()).is_err(), "one is taken");
    }
}
