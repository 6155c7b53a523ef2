//! The order to stop, for programs that must end their servers before they end themselves.

use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// Returns when SIGINT, SIGTERM or SIGHUP comes. Without it those would end the process at once and
/// leave its servers behind.
///
/// # Errors
/// When the signals cannot be watched for.
pub async fn told_to_stop() -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
