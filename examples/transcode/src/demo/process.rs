//! A child process of the demonstration: started with a log of its own, killed when it is dropped.
//!
//! Each runs in a process group of its own, so that Ctrl-C in the terminal reaches only the
//! demonstration, which then ends the others in order; and each is tethered, so that it dies even if
//! the demonstration is killed itself.

use crate::ffmpeg::tether;
use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

/// Bytes of a log that an error message quotes.
const LOG_TAIL_BYTES: u64 = 1500;
/// Between two looks at a process that shall end.
const INTERVAL: Duration = Duration::from_millis(20);

/// What to start.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// For people and for the name of the log.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment besides ours; settings of Quorate are never inherited.
    pub env: BTreeMap<String, String>,
    /// Where its log goes, appended.
    pub log: PathBuf,
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    recipe: Recipe,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Recipe {
    /// Starts it. Must be called on a thread that lives as long as the process shall.
    pub fn start(&self) -> anyhow::Result<Process> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let errors = log.try_clone().context("cannot share a log")?;
        let mut command = tether::command(tether::this_binary()?.as_os_str(), &self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("QUORATE_") {
                command.env_remove(name);
            }
        }
        let child = command
            .args(&self.args)
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        Ok(Process {
            recipe: self.clone(),
            child,
            ended: None,
        })
    }
}

impl Process {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.recipe.name
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.recipe.log
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().context("cannot wait for a process")?;
        }
        Ok(self.ended)
    }

    /// Fails with the end of its log if it is no longer running.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended by itself ({status}); the end of {}:\n{}",
                self.recipe.name,
                self.recipe.log.display(),
                self.log_tail()
            ),
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        while self.ended()?.is_none() {
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(())
    }

    /// Asks it to end, and kills it if it has not after `grace`.
    pub async fn stop(&mut self, grace: Duration) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let end = tokio::time::Instant::now() + grace;
        while self.ended()?.is_none() {
            if tokio::time::Instant::now() >= end {
                return self.kill().await;
            }
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(())
    }

    /// Starts it again, as it was started before.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        *self = self.recipe.start()?;
        Ok(())
    }

    /// The end of what it printed.
    pub fn log_tail(&self) -> String {
        log_tail(&self.recipe.log)
    }

    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        // A child that was not reaped keeps its id, so that no stranger can be hit.
        if self.ended()?.is_none() {
            let _gone_meanwhile = kill_process(self.pid()?, signal);
        }
        Ok(())
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("a process without an id")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let (Ok(None), Ok(pid)) = (self.ended(), self.pid()) {
            let _gone_meanwhile = kill_process_group(pid, Signal::KILL);
            let _reaped = self.child.wait();
        }
    }
}

fn log_tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    match read() {
        Ok(text) if text.is_empty() => "(nothing)".to_owned(),
        Ok(text) => text,
        Err(error) => format!("({error})"),
    }
}
