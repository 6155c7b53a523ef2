//! Proof that the application lives, of three kinds, and what each allows.
//!
//! | Kind | While it holds | When it is lost |
//! | --- | --- | --- |
//! | its process (`app_pid`), by pidfd | sessions are renewed | it *is* gone: its sessions end at once |
//! | its health URL | sessions are renewed | it may hang: renewals stop, its leaderships are revoked |
//! | an open stream of events | sessions are renewed | proves nothing: renewals stop, leases run out |
//!
//! With a process and a health URL both must hold. Streams count only when neither is configured.
//! Without any of the three the application renews by itself.

use super::http::{self, Target};
use quorate_core::runtime::{Failure, Settings};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between two health checks.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// For the answer to one.
const CHECK_TIMEOUT: Duration = Duration::from_millis(500);
/// So many in a row that fail are a failure: one is a hiccup.
const FAILURES_MAX: u32 = 3;

/// What is known of the application's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It lives.
    Proven,
    /// Nothing speaks for it at the moment, and nothing against it.
    Unproven,
    /// Its health check failed: it may hang.
    Failing,
    /// Its process has exited.
    Gone,
}

/// Watches the application.
#[derive(Debug)]
pub(super) struct Watch {
    life: watch::Sender<Life>,
    /// Nothing is configured: streams are the proof.
    by_streams: bool,
}

impl Watch {
    /// Begins to watch what the settings name.
    ///
    /// # Errors
    /// No such process; a URL that cannot be called.
    pub(super) fn start(settings: &Settings) -> Result<Arc<Self>, Failure> {
        let process = settings.app_pid.map(open).transpose()?;
        let target = settings.app_health_url.as_ref();
        let target = target.map(|url| Target::new("app_health_url", &url.0));
        let target = target.transpose()?;
        let first = match (&process, &target) {
            (_, Some(_)) | (None, None) => Life::Unproven,
            (Some(_), None) => Life::Proven,
        };
        let watching = Arc::new(Self {
            life: watch::Sender::new(first),
            by_streams: process.is_none() && target.is_none(),
        });
        if let Some(process) = process {
            let watching = Arc::clone(&watching);
            // A thread, because waiting for a foreign descriptor without one needs unsafe code.
            std::thread::Builder::new()
                .name("app-pid".to_owned())
                .spawn(move || match exited(&process) {
                    Ok(()) => watching.set(Life::Gone),
                    Err(error) => tracing::error!(%error, "the application is watched no more"),
                })
                .map_err(|error| Failure::unavailable(format!("no thread: {error}")))?;
        }
        if let Some(target) = target {
            let watching = Arc::clone(&watching);
            tokio::spawn(async move { watching.check(&target).await });
        }
        Ok(watching)
    }

    pub(super) fn life(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    pub(super) fn now(&self) -> Life {
        *self.life.borrow()
    }

    /// So many streams of the application are open.
    pub(super) fn streams(&self, open: usize) {
        if self.by_streams {
            self.set(if open > 0 {
                Life::Proven
            } else {
                Life::Unproven
            });
        }
    }

    pub(super) fn set(&self, next: Life) {
        self.life.send_if_modified(|life| {
            // A process that has exited does not come back.
            let changed = *life != Life::Gone && *life != next;
            if changed {
                tracing::info!(application = ?next, "what is known of the application's life has changed");
                *life = next;
            }
            changed
        });
    }

    async fn check(&self, target: &Target) {
        let mut failures = 0;
        let mut tick = tokio::time::interval(CHECK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.now() != Life::Gone {
            tick.tick().await;
            let answered = tokio::time::timeout(CHECK_TIMEOUT, http::get(target)).await;
            match answered {
                Ok(Ok(status)) if (200..300).contains(&status) => {
                    failures = 0;
                    self.set(Life::Proven);
                }
                failed => {
                    tracing::debug!(?failed, "the application's health check failed");
                    failures += 1;
                    if failures >= FAILURES_MAX {
                        self.set(Life::Failing);
                    }
                }
            }
        }
    }
}

/// Waits until the process of a pidfd has exited: it is readable then.
fn exited(process: &OwnedFd) -> rustix::io::Result<()> {
    loop {
        let mut descriptors = [PollFd::new(process, PollFlags::IN)];
        match poll(&mut descriptors, None) {
            Ok(1..) => return Ok(()),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn open(pid: u32) -> Result<OwnedFd, Failure> {
    let refusal = |why: &dyn std::fmt::Display| {
        Failure::config(format!(
            "app_pid {pid} cannot be watched: {why}; give the application's process id as this container sees it (in Kubernetes with shareProcessNamespace)"
        ))
    };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| refusal(&"it is no process id"))?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|error| refusal(&error))
}
