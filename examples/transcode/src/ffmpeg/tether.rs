//! Ties a program to the process that started it: when the starter dies, even by SIGKILL, the program
//! is killed too.
//!
//! A worker that is killed must not leave an ffmpeg behind that eats the machine, and a demonstration
//! that is killed must leave nothing behind at all. Linux offers the parent-death signal for this. It
//! has to be set by the child itself, so this binary starts itself as `transcode tether PARENT --
//! PROGRAM ARGS…`, sets the signal, and becomes the program. The signal survives `exec`.

use anyhow::{Context as _, bail};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

/// The hidden subcommand that [`become_program`] serves.
pub const SUBCOMMAND: &str = "tether";

/// A command that runs `program` tied to this process.
///
/// `tether` is the `transcode` binary, usually [`this_binary`]. The thread that spawns the command must
/// outlive it, because the kernel watches the thread, not the process.
pub fn command(tether: &OsStr, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(tether);
    command
        .arg(SUBCOMMAND)
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(program);
    command
}

/// The program that a command will run in the end, behind a tether or not.
pub fn program(command: &Command) -> &OsStr {
    let mut args = command.get_args();
    if args.next() == Some(SUBCOMMAND.as_ref()) {
        args.nth(2).unwrap_or(command.get_program())
    } else {
        command.get_program()
    }
}

/// The path of the running binary.
pub fn this_binary() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot tell the path of the running program")
}

/// Sets the parent-death signal and becomes `program`. Returns only on failure.
///
/// `parent` is the process that asked; if it is gone already, nothing is started.
pub fn become_program(parent: i32, program: &[OsString]) -> anyhow::Error {
    match prepare(parent, program) {
        Ok(mut command) => anyhow::Error::new(command.exec()).context(format!(
            "cannot start {}",
            PathBuf::from(command.get_program()).display()
        )),
        Err(error) => error,
    }
}

fn prepare(parent: i32, program: &[OsString]) -> anyhow::Result<Command> {
    let Some((name, args)) = program.split_first() else {
        bail!("name a program to run after --");
    };
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot ask for the parent-death signal")?;
    // The parent may have died between its fork and the call above: then no signal will ever come.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if now != Some(parent) {
        bail!("the process that asked for this one is gone");
    }
    let mut command = Command::new(name);
    command.args(args);
    Ok(command)
}
