//! `sbom --package NAME --target TRIPLE --binary FILE`: the bill of materials of one binary, CycloneDX JSON on stdout.
#![allow(clippy::print_stdout, reason = "a command")]

use anyhow::{Context as _, bail};
use clap::Parser;
use quorate_deploy::bom::{self, Subject};
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::process::Command;

/// Writes the bill of materials of a binary: every crate that is compiled into it, by name, version, licence and hash.
#[derive(Parser)]
struct Arguments {
    /// The package that holds the binary.
    #[arg(long)]
    package: String,
    /// Its features beyond the default ones, separated by commas.
    #[arg(long, default_value = "")]
    features: String,
    /// What it is compiled for.
    #[arg(long)]
    target: String,
    /// The binary, for its hash.
    #[arg(long)]
    binary: PathBuf,
    /// The lock file, for the hashes of the crates.
    #[arg(long, default_value = "Cargo.lock")]
    lock: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = Command::new(cargo)
        .args([
            "tree",
            "--locked",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "depth",
        ])
        .args(["--format", "|{p}|{l}", "--package", &arguments.package])
        .args([
            "--features",
            &arguments.features,
            "--target",
            &arguments.target,
        ])
        .output()
        .context("cannot start cargo tree")?;
    if !tree.status.success() {
        bail!(
            "cargo tree failed: {}",
            String::from_utf8_lossy(&tree.stderr)
        );
    }
    let lock = std::fs::read_to_string(&arguments.lock)
        .with_context(|| format!("cannot read {}", arguments.lock.display()))?;
    let binary = std::fs::read(&arguments.binary)
        .with_context(|| format!("cannot read {}", arguments.binary.display()))?;
    let name = arguments
        .binary
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let subject = Subject {
        binary: name,
        sha256: hex(&Sha256::digest(&binary)),
    };
    let bom = bom::write(&subject, &String::from_utf8(tree.stdout)?, &lock)?;
    println!("{}", serde_json::to_string_pretty(&bom)?);
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
