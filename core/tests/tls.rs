//! Proves that replicas with certificates form a cluster and refuse everybody else: other authorities, other clusters,
//! other nodes, plain text; and that a rotated certificate takes effect without a restart.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "tls/api.rs"]
mod api;
#[path = "tls/machine.rs"]
mod machine;
#[path = "tls/peers.rs"]
mod peers;

use quorate_core::tls::certs::{Authority, Issued};
use quorate_core::types::Name;
use std::path::{Path, PathBuf};

fn authority(cluster: &str) -> Authority {
    Authority::create(&Name::new(cluster).unwrap()).unwrap()
}

/// Writes a certificate and its key as NAME.crt and NAME.key.
fn keep(dir: &Path, name: &str, issued: &Issued) -> (PathBuf, PathBuf) {
    let (cert, key) = (
        dir.join(format!("{name}.crt")),
        dir.join(format!("{name}.key")),
    );
    std::fs::write(&cert, &issued.cert).unwrap();
    std::fs::write(&key, &issued.key).unwrap();
    (cert, key)
}
