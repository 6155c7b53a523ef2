//! A server as a child process: started, killed, started again, and its CPU time and memory read from
//! `/proc` (proc(5)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Clock ticks a second in `/proc/PID/stat`: USER_HZ, which is 100 on every Linux that a binary meets.
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of a log that an error message quotes.
const LOG_QUOTED_BYTES: usize = 2_000;

/// A server that runs as long as this value lives; dropped, it is killed with SIGKILL.
#[derive(Debug)]
pub struct Server {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
    /// What earlier incarnations used up.
    spent: Duration,
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time since its first start, in seconds.
    pub cpu_seconds: f64,
    /// Memory held now (resident set), in bytes.
    pub rss_bytes: u64,
}

impl Server {
    /// Starts `program`. What it prints is appended to `log`. Of the environment only what is
    /// given here and `PATH` reach it, so that settings of the caller's shell do not.
    pub fn start(
        name: &str,
        program: &Path,
        args: Vec<String>,
        env: Vec<(String, String)>,
        log: PathBuf,
    ) -> io::Result<Self> {
        let mut server = Self {
            name: name.to_owned(),
            program: program.to_owned(),
            args,
            env,
            log,
            child: None,
            spent: Duration::ZERO,
        };
        server.restart()?;
        Ok(server)
    }

    /// Starts it again with the same arguments after [`Server::kill`].
    pub fn restart(&mut self) -> io::Result<()> {
        assert!(
            self.child.is_none(),
            "a running server is not started twice"
        );
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let child = Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot start {}: {error}", self.program.display()),
                )
            })?;
        self.child = Some(child);
        Ok(())
    }

    /// Its name in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends it at once (SIGKILL), as a power cut of one machine does to a process.
    pub fn kill(&mut self) -> io::Result<()> {
        let spent = Duration::from_secs_f64(self.usage().cpu_seconds);
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
            self.spent = spent;
        }
        Ok(())
    }

    /// Fails with the end of its log if it has ended by itself.
    pub fn check(&mut self) -> io::Result<()> {
        let ended = match &mut self.child {
            Some(child) => child.try_wait()?,
            None => return Ok(()),
        };
        match ended {
            None => Ok(()),
            Some(status) => Err(io::Error::other(format!(
                "{} ended by itself ({status}); it said:\n{}",
                self.name,
                self.log_tail()
            ))),
        }
    }

    /// The last lines it printed.
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(LOG_QUOTED_BYTES);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    /// What it uses; CPU time over all its incarnations. Zero where `/proc` does not tell.
    pub fn usage(&self) -> Usage {
        let before = self.spent.as_secs_f64();
        let Some(child) = &self.child else {
            return Usage {
                cpu_seconds: before,
                rss_bytes: 0,
            };
        };
        let mut usage = usage_of(child.id());
        usage.cpu_seconds += before;
        usage
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("cannot end {}: {error}", self.name);
        }
    }
}

impl Usage {
    /// What the calling process uses.
    pub fn own() -> Self {
        usage_of(std::process::id())
    }
}

fn usage_of(pid: u32) -> Usage {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    Usage {
        cpu_seconds: cpu_ticks(&stat).unwrap_or(0.0) / TICKS_PER_SECOND,
        rss_bytes: rss_kib(&status).unwrap_or(0) * 1024,
    }
}

/// User and system ticks: fields 14 and 15 of stat. Field 2, the name, may hold spaces and brackets,
/// so fields are counted from its last bracket.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let after = &stat[stat.rfind(')')? + 1..];
    let mut fields = after.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn rss_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_a_name_with_spaces_and_brackets() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 88 0 0 0 150 25 0 0 20 0 1 0 99 1 1";
        assert_eq!(cpu_ticks(stat), Some(175.0));
        assert_eq!(rss_kib("Name:\tx\nVmRSS:\t   2048 kB\n"), Some(2048));
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn a_dropped_server_is_gone_and_one_that_ends_by_itself_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let start = |args: &[&str]| {
            Server::start(
                "s",
                Path::new("sh"),
                args.iter().map(|&a| a.to_owned()).collect(),
                vec![],
                dir.path().join("log"),
            )
            .unwrap()
        };
        let mut server = start(&["-c", "echo disk on fire >&2; exit 3"]);
        let error = loop {
            if let Err(error) = server.check() {
                break error.to_string();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(
            error.contains("disk on fire") && error.contains('3'),
            "{error}"
        );

        let server = start(&["-c", "exec sleep 1000"]);
        let pid = server.child.as_ref().unwrap().id();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        drop(server);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
