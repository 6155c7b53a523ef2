//! Being process 1 of a container whose command starts other programs (`work`, `run`).
//!
//! The kernel gives process 1 two duties: orphans of the whole container become its children, and stay zombies until it
//! waits for them; and a signal that it does not handle is ignored instead of ending it. So in that place this program
//! starts itself once more, as an ordinary process, passes signals on to it, waits for whoever ends, and exits as the
//! other one does. Servers start no programs and do without.

use crate::errors::Exit;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use std::process::{Command, ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// Commands that start programs.
const STARTERS: &[&str] = &["work", "run"];

/// A signal as tokio and as rustix call it.
type Passed = (fn() -> SignalKind, Signal);

/// Signals that are passed on.
const PASSED: &[Passed] = &[
    (SignalKind::terminate, Signal::TERM),
    (SignalKind::interrupt, Signal::INT),
    (SignalKind::hangup, Signal::HUP),
    (SignalKind::quit, Signal::QUIT),
    (SignalKind::user_defined1, Signal::USR1),
    (SignalKind::user_defined2, Signal::USR2),
];

/// Runs as process 1, if this is it and its command starts programs. Call first in `main`.
pub(crate) fn intercept() -> Option<ExitCode> {
    let starts = std::env::args().any(|argument| STARTERS.contains(&argument.as_str()));
    if std::process::id() != 1 || !starts {
        return None;
    }
    Some(match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("quorate: cannot run as process 1 of this container: {error}");
            Exit::Temporary.into()
        }
    })
}

fn run() -> std::io::Result<u8> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(supervise())
}

async fn supervise() -> std::io::Result<u8> {
    // Before the child is there, so that no signal is missed.
    let mut ended = signal(SignalKind::child())?;
    let (passed, mut to_pass) = tokio::sync::mpsc::unbounded_channel();
    for (kind, number) in PASSED {
        let mut arrived = signal(kind())?;
        let passed = passed.clone();
        tokio::spawn(async move {
            while arrived.recv().await.is_some() && passed.send(*number).is_ok() {}
        });
    }
    let child = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .spawn()?;
    let child = Pid::from_raw(child.id().cast_signed())
        .ok_or_else(|| std::io::Error::other("the child has no process id"))?;
    loop {
        // All that ended: signals of one kind that arrive together are one.
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == child => return Ok(code(status)),
                Ok(Some(_)) => {}
                Ok(None) | Err(rustix::io::Errno::CHILD) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        tokio::select! {
            _ = ended.recv() => {}
            Some(number) = to_pass.recv() => {
                // It may be gone; the next turn sees that.
                let _ = kill_process(child, number);
            }
        }
    }
}

/// The code that a shell would give.
fn code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}
