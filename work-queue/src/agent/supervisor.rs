//! The hidden helper between the agent and a command: `quorate __exec -- COMMAND…`.
//!
//! It exists so that no process of an attempt outlives the agent, not even when the agent is killed
//! with SIGKILL. The kernel's parent-death signal would reach the command alone, not what the command
//! started, and depends on a thread of the agent; a pipe has neither flaw. The helper holds the read
//! end of the agent's pipe (its standard input) and the command runs in a process group of its own.
//! When the pipe closes, the whole group is killed.
//!
//! The two talk in lines on the helper's standard output: `pid N` once the command runs, `error TEXT`
//! when it cannot be started, then `exit N` or `signal N`. What the command prints goes to the
//! helper's standard error. The command stays a zombie until the agent has read its end and closed
//! the pipe, so that the number of its group names no other process while the agent may still signal
//! it.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "__exec";

/// Exit code of the helper when it could not do its own part.
const FAILED: u8 = 70;

/// Runs as the helper if the program was started as one: its first argument is [`SUBCOMMAND`]. Call
/// it first thing in `main`, before threads are started, and return what it gives.
pub fn intercept() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != SUBCOMMAND {
        return None;
    }
    Some(main(args))
}

/// The helper. `args` are what follows the subcommand: `--`, the command, its arguments.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut args = args.skip_while(|arg| arg == "--");
    let Some(command) = args.next() else {
        return fail("no command was given");
    };
    let child = match spawn(&command, args) {
        Ok(child) => child,
        Err(error) => return fail(&format!("{}: {error}", command.to_string_lossy())),
    };
    match supervise(child) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn spawn(command: &OsString, args: impl Iterator<Item = OsString>) -> io::Result<Child> {
    let log = io::stderr();
    let stdout = std::os::fd::AsFd::as_fd(&log).try_clone_to_owned()?;
    Command::new(command)
        .args(args)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::inherit())
        .spawn()
}

fn supervise(mut child: Child) -> io::Result<()> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("the command has no process id"))?;
    // The agent may be gone already: then the write fails, and the reader below sees it too.
    let _ = say(&format!("pid {}", pid.as_raw_nonzero()));
    let (gone_tx, gone) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Anything but bytes means that the agent has closed its end or is gone.
        let mut byte = [0];
        while matches!(io::stdin().read(&mut byte), Ok(1)) {}
        // The child is not reaped before this thread has sent, so the group is still its own.
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = gone_tx.send(());
    });
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let status = loop {
        match waitid(WaitId::Pid(pid), options) {
            Ok(Some(status)) => break status,
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    // What the command left running in its group ends with it.
    let _ = kill_process_group(pid, Signal::KILL);
    let line = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "signal 9".to_owned(),
    };
    let _ = say(&line);
    // Until the agent has read it and lets go.
    let _ = gone.recv();
    child.wait().map(drop)
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn fail(text: &str) -> ExitCode {
    let _ = say(&format!("error {}", text.replace('\n', " ")));
    ExitCode::from(FAILED)
}
