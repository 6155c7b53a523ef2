//! The helper between `quorate election exec` and its command: `quorate __lead SLACK_MS -- COMMAND…`.
//!
//! It holds the read end of a pipe (its standard input) on which the other side says, a line each,
//! `until N` (the lease's end, a reading of CLOCK_BOOTTIME in nanoseconds) and `term`. The command runs
//! in a process group of its own with the helper's standard output and error. The group is killed when
//! the pipe closes, whoever closed it, and the slack before the last deadline that was said, whether or
//! not the other side still runs. The helper ends as the command ended: with its exit code, or 128 + its
//! signal.

use quorate_core::clock;
use quorate_core::types::Mono;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::ffi::OsString;
use std::io::{self, BufRead as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

/// The hidden subcommand.
const SUBCOMMAND: &str = "__lead";
/// Exit codes of a command that cannot be run, as shells have them.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
/// Exit code of the helper when it could not do its own part.
const FAILED: u8 = 70;
/// A command that ended by a signal has this plus the signal's number.
const SIGNALLED: i32 = 128;

// ---- The side of `quorate election exec`

/// A running command.
pub(crate) struct Running {
    helper: tokio::process::Child,
    /// Dropped, the pipe closes and the group is killed.
    control: Option<mpsc::UnboundedSender<String>>,
    said: Mono,
}

impl Running {
    /// Starts the command; it may run until the slack before `until`.
    pub(crate) fn start<const N: usize>(
        command: &[OsString],
        env: [(&'static str, String); N],
        until: Mono,
        slack: Duration,
    ) -> io::Result<Self> {
        let mut helper = tokio::process::Command::new(std::env::current_exe()?)
            .arg(SUBCOMMAND)
            .arg(slack.as_millis().to_string())
            .arg("--")
            .args(command)
            .envs(env)
            // Away from the terminal's signals: how the command ends is decided here.
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()?;
        let mut pipe = helper
            .stdin
            .take()
            .ok_or_else(|| io::Error::other("the helper has no pipe"))?;
        let (control, mut lines) = mpsc::unbounded_channel::<String>();
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                // A helper that is gone reads nothing; its end is seen elsewhere.
                if pipe.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let mut running = Self {
            helper,
            control: Some(control),
            said: Mono(0),
        };
        running.may_run_until(until);
        Ok(running)
    }

    /// The lease goes on until here. Never brings a deadline forward.
    pub(crate) fn may_run_until(&mut self, until: Mono) {
        if until > self.said {
            self.said = until;
            self.say(format!("until {}\n", until.0));
        }
    }

    /// Asks the whole group to end.
    pub(crate) fn terminate(&self) {
        self.say("term\n".to_owned());
    }

    /// Kills the whole group.
    pub(crate) fn kill(&mut self) {
        self.control = None;
    }

    /// Waits for the end. Cancel-safe. Afterwards nothing of the group runs.
    pub(crate) async fn ended(&mut self) -> io::Result<i32> {
        let status = self.helper.wait().await?;
        match (status.code(), status.signal()) {
            (Some(code), _) => Ok(code),
            (None, signal) => Err(io::Error::other(format!(
                "the helper was killed by signal {}",
                signal.unwrap_or_default()
            ))),
        }
    }

    fn say(&self, line: String) {
        if let Some(control) = &self.control {
            let _ = control.send(line);
        }
    }
}

// ---- The helper itself

/// Runs as the helper if the program was started as one.
pub(crate) fn intercept() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != SUBCOMMAND {
        return None;
    }
    let slack = args.next().and_then(|text| text.to_str()?.parse().ok());
    Some(main(
        Duration::from_millis(slack.unwrap_or_default()),
        args.skip_while(|arg| arg == "--"),
    ))
}

fn main(slack: Duration, mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(command) = args.next() else {
        return fail("no command was given", FAILED);
    };
    // Nothing is started before the first deadline is known.
    let words = listen();
    let until = loop {
        match words.recv() {
            Ok(Word::Until(until)) => break until,
            Ok(Word::Term) => {}
            _ => return ExitCode::from(FAILED),
        }
    };
    let child = Command::new(&command)
        .args(args)
        .process_group(0)
        .stdin(Stdio::null())
        .spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => {
            let code = match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_EXECUTABLE,
            };
            return fail(&format!("{}: {error}", command.to_string_lossy()), code);
        }
    };
    match supervise(child, &words, until, slack) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&error.to_string(), FAILED),
    }
}

enum Word {
    Until(Mono),
    Term,
    /// The pipe is closed, or nobody can be understood on it.
    Closed,
    /// The command has ended, and is not reaped yet.
    Ended,
}

fn listen() -> Receiver<Word> {
    let (to, words) = channel();
    std::thread::spawn(move || read(&to));
    words
}

fn read(to: &Sender<Word>) {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let word = match line.split_once(' ') {
            None if line == "term" => Word::Term,
            Some(("until", number)) => match number.parse() {
                Ok(until) => Word::Until(Mono(until)),
                Err(_) => break,
            },
            _ => break,
        };
        if to.send(word).is_err() {
            return;
        }
    }
    let _ = to.send(Word::Closed);
}

fn supervise(
    mut child: Child,
    words: &Receiver<Word>,
    mut until: Mono,
    slack: Duration,
) -> io::Result<u8> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("the command has no process id"))?;
    let (ended_tx, ended) = channel();
    std::thread::spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(
            waitid(WaitId::Pid(pid), options),
            Ok(None) | Err(rustix::io::Errno::INTR)
        ) {}
        let _ = ended_tx.send(Word::Ended);
    });
    // The child is not reaped before the loop is left, so the group is its own until then.
    loop {
        if ended.try_recv().is_ok() {
            break;
        }
        let left = until.since(clock::boottime()).saturating_sub(slack);
        let word = if left.is_zero() {
            Word::Closed
        } else {
            match words.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(word) => word,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => Word::Closed,
            }
        };
        match word {
            Word::Until(later) => until = until.max(later),
            Word::Term => {
                let _ = kill_process_group(pid, Signal::TERM);
                // A stopped process is woken to hear it.
                let _ = kill_process_group(pid, Signal::CONT);
            }
            Word::Closed => {
                let _ = kill_process_group(pid, Signal::KILL);
                break;
            }
            Word::Ended => break,
        }
    }
    let _ = ended.recv();
    // What the command left running in its group ends with it.
    let _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait()?;
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, signal) => SIGNALLED + signal.unwrap_or_default(),
    };
    Ok(u8::try_from(code).unwrap_or(FAILED))
}

/// How soon the end of the command is noticed at the latest.
const LOOK_EVERY: Duration = Duration::from_millis(20);

fn fail(text: &str, code: u8) -> ExitCode {
    eprintln!("quorate: {text}");
    ExitCode::from(code)
}
