//! Asking the application to drain before leadership is handed over: by an HTTP call, whose 2xx says that
//! it has stopped acting as leader, or by a signal, after which its exit says so.

use super::http::{self, Target};
use super::proof::{Life, Watch};
use quorate_core::runtime::{Failure, Settings};
use quorate_core::types::{FencingToken, Name};
use rustix::process::{Pid, Signal, kill_process};
use std::sync::Arc;
use std::time::Duration;

/// How the application is asked.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    how: Option<How>,
}

#[derive(Clone, Debug)]
enum How {
    Call(Target),
    Signal(Pid, Signal),
}

impl Hook {
    /// # Errors
    /// Both ways at once, a signal that is none or has no process to go to.
    pub(super) fn new(settings: &Settings) -> Result<Self, Failure> {
        let how = match (&settings.app_drain_url, &settings.app_drain_signal) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                return Err(Failure::config(
                    "app_drain_url, app_drain_signal: both are set; the application is asked in one way, unset the other",
                ));
            }
            (Some(url), None) => Some(How::Call(Target::new("app_drain_url", &url.0)?)),
            (None, Some(name)) => {
                let pid = settings.app_pid.and_then(|pid| i32::try_from(pid).ok());
                let pid = pid.and_then(Pid::from_raw).ok_or_else(|| {
                    Failure::config("app_drain_signal needs app_pid: whom to send it to")
                })?;
                Some(How::Signal(pid, signal(name)?))
            }
        };
        Ok(Self { how })
    }

    /// Asks the application to stop acting as leader, and waits up to `within` for its word. True when it
    /// has stopped.
    pub(super) async fn drain(
        &self,
        watch: &Arc<Watch>,
        election: &Name,
        token: FencingToken,
        within: Duration,
    ) -> bool {
        let Some(how) = &self.how else {
            return false;
        };
        let asked = async {
            match how {
                How::Call(target) => {
                    let body = serde_json::json!({
                        "election": election.as_str(),
                        "fencing_token": token.0,
                        "drain_ms": u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
                    });
                    match http::post(target, body.to_string()).await {
                        Ok(status) if (200..300).contains(&status) => true,
                        failed => {
                            tracing::warn!(?failed, %election, "the application did not say that it has drained");
                            false
                        }
                    }
                }
                How::Signal(pid, signal) => {
                    if let Err(error) = kill_process(*pid, *signal) {
                        tracing::warn!(%error, "the application could not be told to drain");
                    }
                    let mut life = watch.life();
                    life.wait_for(|life| *life == Life::Gone).await.is_ok()
                }
            }
        };
        tokio::time::timeout(within, asked).await.unwrap_or(false)
    }
}

fn signal(name: &str) -> Result<Signal, Failure> {
    match name.strip_prefix("SIG").unwrap_or(name) {
        "TERM" => Ok(Signal::TERM),
        "INT" => Ok(Signal::INT),
        "HUP" => Ok(Signal::HUP),
        "USR1" => Ok(Signal::USR1),
        "USR2" => Ok(Signal::USR2),
        _ => Err(Failure::config(format!(
            "app_drain_signal: {name:?} is not TERM, INT, HUP, USR1 or USR2"
        ))),
    }
}
