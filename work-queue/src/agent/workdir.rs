//! Where an attempt works: a directory of its own, gone when it ends.
//!
//! An agent has one directory under the configured one and holds a lock on it, so that several agents
//! may share the configured directory and what a killed one left behind is swept by the next.

use super::StartError;
use crate::machine::Lease;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

const PREFIX: &str = "agent-";
const LOCK: &str = "lock";

/// The directory of one agent. Removed when it is dropped.
#[derive(Debug)]
pub(crate) struct AgentDir {
    path: PathBuf,
    _lock: File,
}

impl AgentDir {
    /// Makes one under `base` and removes those of dead agents.
    pub(crate) fn create(base: &Path) -> Result<Self, StartError> {
        let bad = |path: &Path, error| StartError::WorkDir {
            path: path.to_owned(),
            error,
        };
        std::fs::create_dir_all(base).map_err(|error| bad(base, error))?;
        let base = base.canonicalize().map_err(|error| bad(base, error))?;
        sweep(&base).map_err(|error| bad(&base, error))?;
        loop {
            let name = format!(
                "{PREFIX}{}-{:08x}",
                std::process::id(),
                rand::random::<u32>()
            );
            let path = base.join(name);
            if let Some(lock) = claim(&path).map_err(|error| bad(&path, error))? {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Makes the directory and locks it; nothing when the sweep of another agent, which starts in this
/// moment, took it for a dead one's before it was locked.
fn claim(path: &Path) -> io::Result<Option<File>> {
    std::fs::create_dir(path)?;
    let name = path.join(LOCK);
    let lock = match File::create(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        made => made?,
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(None),
        // A sweep holds the lock until everything is removed: who has it now sees what is left.
        locked => {
            locked?;
            Ok(name.try_exists()?.then_some(lock))
        }
    }
}

/// Removes the directories whose agents are gone.
fn sweep(base: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(base)? {
        let entry = entry?;
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !ours || !entry.file_type()?.is_dir() {
            continue;
        }
        // One without a lock file is being made at this moment, or is not worth the risk.
        let Ok(lock) = File::open(entry.path().join(LOCK)) else {
            continue;
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// The directory of one attempt. Removed when it is dropped.
#[derive(Debug)]
pub(crate) struct AttemptDir {
    path: PathBuf,
    item: &'static str,
}

impl AttemptDir {
    /// Makes it and writes the payload.
    pub(crate) fn create(agent: &Path, lease: &Lease) -> io::Result<Self> {
        let dir = Self {
            path: agent.join(format!("{}-{}", lease.job, lease.id)),
            item: if lease.payload_is_json {
                "item.json"
            } else {
                "item"
            },
        };
        std::fs::create_dir(&dir.path)?;
        for sub in [dir.input(), dir.output(), dir.checkpoint()] {
            std::fs::create_dir(sub)?;
        }
        std::fs::write(dir.item(), &lease.payload)?;
        Ok(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
    pub(crate) fn item(&self) -> PathBuf {
        self.path.join(self.item)
    }
    pub(crate) fn input(&self) -> PathBuf {
        self.path.join("input")
    }
    pub(crate) fn output(&self) -> PathBuf {
        self.path.join("output")
    }
    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint")
    }
    pub(crate) fn progress(&self) -> PathBuf {
        self.path.join("progress")
    }
    pub(crate) fn manifest(&self) -> PathBuf {
        self.path.join("manifest.jsonl")
    }

    /// The contract with the command, as its environment.
    pub(crate) fn env(&self, lease: &Lease) -> Vec<(&'static str, OsString)> {
        let text = |value: &dyn ToString| OsString::from(value.to_string());
        let mut env = vec![
            ("WORK_ITEM_FILE", self.item().into_os_string()),
            ("WORK_INPUT_DIR", self.input().into_os_string()),
            ("WORK_OUTPUT_DIR", self.output().into_os_string()),
            ("WORK_CHECKPOINT_DIR", self.checkpoint().into_os_string()),
            ("WORK_PROGRESS_FILE", self.progress().into_os_string()),
            ("WORK_FENCING_TOKEN", text(&lease.id.token())),
            ("WORK_JOB_ID", text(&lease.job)),
            ("WORK_ATTEMPT", text(&lease.attempt)),
            ("WORK_QUEUE", text(&lease.queue)),
        ];
        if let Some(traceparent) = &lease.traceparent {
            env.push(("TRACEPARENT", text(traceparent)));
        }
        if let Some((batch, index)) = lease.batch {
            env.push(("WORK_BATCH_ID", text(&batch)));
            env.push(("WORK_BATCH_INDEX", text(&index)));
        }
        if let Some(batch) = lease.joins {
            env.push(("WORK_BATCH_ID", text(&batch)));
            env.push(("WORK_MANIFEST_FILE", self.manifest().into_os_string()));
        }
        env
    }
}

impl Drop for AttemptDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "the directory of an attempt was not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_agent_left_is_swept_and_a_live_one_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let live = AgentDir::create(base.path()).unwrap();
        let dead = base.path().join("agent-1-00000000");
        std::fs::create_dir_all(dead.join("job")).unwrap();
        std::fs::write(dead.join(LOCK), "").unwrap();
        let other = base.path().join("mine");
        std::fs::create_dir(&other).unwrap();
        let second = AgentDir::create(base.path()).unwrap();
        assert!(!dead.exists() && other.exists());
        assert!(live.path().exists() && second.path().exists());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }
    /// Agents that start in one moment sweep each other's directories while these are being made.
    #[test]
    fn agents_that_start_together_keep_their_directories() {
        let base = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let dir = AgentDir::create(base.path()).unwrap();
                        std::fs::create_dir(dir.path().join("job")).unwrap();
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
