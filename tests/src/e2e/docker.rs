//! The Docker engine of this host, by its command line: no API client is as stable as that.

use anyhow::{Context as _, bail};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output};

/// Label of everything a run makes; its value is the run.
const LABEL: &str = "dev.quorate.e2e";

/// Address ranges that are tried for a network.
const SUBNETS_MAX: u8 = 64;

/// A network of a run.
#[derive(Clone, Debug)]
pub(super) struct Network {
    /// Its name.
    pub(super) name: String,
    third: u8,
}

impl Network {
    /// An address of it; those from 10 on are free.
    pub(super) fn address(&self, host: u8) -> IpAddr {
        IpAddr::from([10, 213, self.third, host])
    }
}

/// Whether an engine answers, or why not.
///
/// # Errors
/// What `docker` said.
pub fn engine() -> Result<String, String> {
    let asked = Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .output();
    match asked {
        Err(error) => Err(format!("docker cannot be started: {error}")),
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Runs `docker` and gives what it printed.
///
/// # Errors
/// What it said when it failed.
pub(super) fn docker(arguments: &[&str]) -> anyhow::Result<String> {
    let output = run(arguments)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    bail!(
        "docker {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    )
}

/// The same, whatever comes of it.
///
/// # Errors
/// `docker` cannot be started.
pub(super) fn run(arguments: &[&str]) -> anyhow::Result<Output> {
    output(Command::new("docker").args(arguments)).context("docker cannot be started")
}

/// Runs a command to its end. Other tasks go on meanwhile: what waits on this thread, such as the load's own
/// connection, moves to another one.
///
/// # Errors
/// It cannot be started.
pub(super) fn output(command: &mut Command) -> std::io::Result<Output> {
    tokio::task::block_in_place(|| command.output())
}

/// What one run makes on the engine. Dropping it removes all of it, also after a failure.
#[derive(Debug)]
pub(super) struct Run {
    name: String,
}

impl Run {
    /// A run of this name, which must be unique on the engine. What an earlier one of the name left is removed.
    pub(super) fn new(name: impl Into<String>) -> Self {
        let run = Self { name: name.into() };
        run.clean();
        run
    }

    /// A name for something of this run.
    pub(super) fn named(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    /// The label, as `docker run` takes it.
    pub(super) fn label(&self) -> String {
        format!("{LABEL}={}", self.name)
    }

    /// A network of its own that nothing else is on and that leads nowhere; its addresses may be chosen.
    ///
    /// # Errors
    /// As [`docker`], for every range that was tried.
    pub(super) fn network(&self, what: &str) -> anyhow::Result<Network> {
        let name = self.named(what);
        let label = self.label();
        let mut refusal = None;
        // Ranges may be taken by others on this host; the engine refuses those.
        for third in 0..SUBNETS_MAX {
            let subnet = format!("10.213.{third}.0/24");
            match docker(&[
                "network",
                "create",
                "--internal",
                "--subnet",
                &subnet,
                "--label",
                &label,
                &name,
            ]) {
                Ok(_) => return Ok(Network { name, third }),
                Err(error) => refusal = Some(error),
            }
        }
        Err(refusal.unwrap_or_else(|| anyhow::anyhow!("no range to try")))
    }

    /// A volume; with `bytes` one in memory that holds no more than that and belongs to the images' user.
    ///
    /// # Errors
    /// As [`docker`].
    pub(super) fn volume(&self, what: &str, bytes: Option<u64>) -> anyhow::Result<String> {
        let name = self.named(what);
        let label = self.label();
        let options = bytes.map(|bytes| format!("o=size={bytes},uid=65532,gid=65532,mode=0700"));
        let mut arguments = vec!["volume", "create", "--label", &label];
        if let Some(options) = &options {
            arguments.extend([
                "--opt",
                "type=tmpfs",
                "--opt",
                "device=tmpfs",
                "--opt",
                options,
            ]);
        }
        arguments.push(&name);
        docker(&arguments)?;
        Ok(name)
    }

    fn clean(&self) {
        let filter = format!("label={}", self.label());
        for (list, remove) in [
            (
                ["ps", "--all", "--quiet", "--filter"].as_slice(),
                ["rm", "--force", "--volumes"].as_slice(),
            ),
            (
                &["network", "ls", "--quiet", "--filter"],
                &["network", "rm"],
            ),
            (
                &["volume", "ls", "--quiet", "--filter"],
                &["volume", "rm", "--force"],
            ),
        ] {
            let listed = docker(&[list, &[&filter]].concat()).unwrap_or_default();
            let found: Vec<&str> = listed.lines().collect();
            if !found.is_empty() {
                // Nothing can be done about a failure, and the next run tries again.
                let _ = run(&[remove, &found].concat());
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.clean();
    }
}

/// One field of `docker inspect`.
///
/// # Errors
/// As [`docker`].
pub(super) fn inspect(what: &str, format: &str) -> anyhow::Result<String> {
    docker(&["inspect", "--format", format, what])
}

/// The end of what a container printed.
pub(super) fn log_tail(container: &str) -> String {
    match run(&["logs", "--tail", "20", container]) {
        Ok(output) => format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => error.to_string(),
    }
}

/// All that a container printed.
///
/// # Errors
/// As [`docker`].
pub(super) fn logs(container: &str) -> anyhow::Result<String> {
    let output = run(&["logs", container])?;
    Ok(format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// `HOST:CONTAINER:ro`, for `--volume`.
pub(super) fn mounted(host: &Path, inside: &str) -> String {
    format!("{}:{inside}:ro", host.display())
}
