//! Ports and directories of servers that live as long as one run.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

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

/// `count` different loopback ports that were free a moment ago. All are held until the last is
/// found, so that none is answered twice.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<io::Result<_>>()?;
    held.iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ() {
        let mut ports = free_ports(16).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 16);
    }
}
