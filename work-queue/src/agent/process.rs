//! One command under the supervisor: started, listened to, ended with all of its group.

use super::supervisor;
use crate::machine::limits;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

/// A process that left the group may hold the log open; no one waits longer for it.
const LOG_END_MAX: Duration = Duration::from_millis(500);

/// How the supervisor is started: a program and the arguments before `--`.
#[derive(Clone, Debug)]
pub struct Helper {
    /// The program.
    pub program: PathBuf,
    /// Its first arguments.
    pub args: Vec<OsString>,
}

impl Helper {
    /// This very program, which calls [`supervisor::intercept`] in its `main`.
    pub fn own() -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            args: vec![OsString::from(supervisor::SUBCOMMAND)],
        })
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// A running command. Dropping it kills its whole group at once.
#[derive(Debug)]
pub(crate) struct Process {
    group: Option<Pid>,
    exit: Option<Exit>,
    report: Lines<BufReader<ChildStdout>>,
    /// Closing it tells the supervisor to kill what is left and to go.
    control: Option<ChildStdin>,
    supervisor: Child,
    log: Log,
    log_reader: JoinHandle<()>,
}

impl Process {
    /// Starts `argv` in `dir` with `env` on top of this process's own environment.
    pub(crate) async fn start(
        helper: &Helper,
        argv: &[OsString],
        dir: &Path,
        env: Vec<(&'static str, OsString)>,
    ) -> io::Result<Self> {
        let mut supervisor = Command::new(&helper.program)
            .args(&helper.args)
            .arg("--")
            .args(argv)
            .current_dir(dir)
            .envs(env)
            // Away from the terminal's signals: how a job ends is the agent's to decide.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("the supervisor has no pipes");
        let control = supervisor.stdin.take().ok_or_else(missing)?;
        let report = supervisor.stdout.take().ok_or_else(missing)?;
        let stderr = supervisor.stderr.take().ok_or_else(missing)?;
        let log = Log::default();
        let mut process = Self {
            group: None,
            exit: None,
            report: BufReader::new(report).lines(),
            control: Some(control),
            supervisor,
            log_reader: tokio::spawn(log.clone().read(stderr)),
            log,
        };
        match process.line().await? {
            Line::Pid(pid) => process.group = Some(pid),
            Line::Error(text) => return Err(io::Error::other(text)),
            Line::Exit(_) => return Err(io::Error::other("it ended before it began")),
        }
        Ok(process)
    }

    /// Waits for the command to end. Cancel-safe. Afterwards nothing of its group runs.
    pub(crate) async fn ended(&mut self) -> io::Result<Exit> {
        // What was read stays read when this future is dropped at a later await.
        let exit = match self.exit {
            Some(exit) => exit,
            None => match self.line().await? {
                Line::Exit(exit) => exit,
                Line::Pid(_) | Line::Error(_) => {
                    return Err(io::Error::other("the supervisor is confused"));
                }
            },
        };
        self.exit = Some(exit);
        self.group = None;
        self.control = None;
        let _ = self.supervisor.wait().await;
        if !self.log_reader.is_finished() {
            let _ = tokio::time::timeout(LOG_END_MAX, &mut self.log_reader).await;
        }
        Ok(exit)
    }

    /// Asks the whole group to end. A stopped process is woken to hear it.
    pub(crate) fn terminate(&self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::TERM);
            let _ = kill_process_group(group, Signal::CONT);
        }
    }

    /// Kills the whole group.
    pub(crate) fn kill(&self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Asks, waits for `grace`, kills.
    pub(crate) async fn stop(&mut self, grace: Duration) -> io::Result<Exit> {
        self.terminate();
        if let Ok(exit) = tokio::time::timeout(grace, self.ended()).await {
            return exit;
        }
        self.kill();
        self.ended().await
    }

    /// The last output.
    pub(crate) fn log_tail(&self) -> String {
        self.log.tail()
    }

    async fn line(&mut self) -> io::Result<Line> {
        let line = self.report.next_line().await?.ok_or_else(|| {
            io::Error::other("the supervisor of the command was killed; so is its group")
        })?;
        Line::parse(&line).ok_or_else(|| io::Error::other(format!("the supervisor said {line:?}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // At once here, and again by the supervisor when it sees `control` closed: between the two,
        // no child of the command escapes by being started just now.
        self.kill();
        self.log_reader.abort();
    }
}

enum Line {
    Pid(Pid),
    Error(String),
    Exit(Exit),
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "pid" => rest.parse().ok().and_then(Pid::from_raw).map(Self::Pid),
            "error" => Some(Self::Error(rest.to_owned())),
            "exit" => rest.parse().ok().map(|code| Self::Exit(Exit::Code(code))),
            "signal" => rest
                .parse()
                .ok()
                .map(|signal| Self::Exit(Exit::Signal(signal))),
            _ => None,
        }
    }
}

/// The last few KiB that a command printed.
#[derive(Clone, Debug, Default)]
struct Log {
    tail: Arc<Mutex<VecDeque<u8>>>,
}

impl Log {
    async fn read(self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 8 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let bytes = buffer.get(..read).unwrap_or_default();
            let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.extend(bytes);
            let over = tail.len().saturating_sub(limits::LOG_TAIL_BYTES_MAX);
            tail.drain(..over);
        }
    }

    /// As text of at most [`limits::LOG_TAIL_BYTES_MAX`] bytes, beginning at a whole character.
    fn tail(&self) -> String {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = tail.make_contiguous();
        // A cut inside a character leaves up to three continuation bytes in front.
        let start = bytes
            .iter()
            .take(3)
            .take_while(|byte| (**byte & 0xC0) == 0x80)
            .count();
        let text = String::from_utf8_lossy(bytes.get(start..).unwrap_or_default());
        // Replacement characters are longer than what they replace.
        let mut from = text.len().saturating_sub(limits::LOG_TAIL_BYTES_MAX);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text.get(from..).unwrap_or_default().to_owned()
    }
}
