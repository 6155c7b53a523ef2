//! Log lines: one stream, text for eyes and JSON for machines.
//!
//! A container is a process whose logs go to stdout; a command's stdout holds its data, so its logs
//! go to stderr. Payloads, tokens and request bodies are never logged.

use super::settings::{ConfigErrors, LogFormat, Settings};
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// For containers.
    Stdout,
    /// For commands.
    Stderr,
}

impl Destination {
    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => std::io::stdout().is_terminal(),
            Self::Stderr => std::io::stderr().is_terminal(),
        }
    }
}

/// Starts logging for the process as `log_format` and `log` say. A second call in one process leaves
/// the first in force.
pub fn init(settings: &Settings, destination: Destination) -> Result<(), ConfigErrors> {
    let filter = EnvFilter::try_new(&settings.log)
        .map_err(|error| ConfigErrors::one(format!("log (RUST_LOG): {error}")))?;
    let format = settings.log_format.unwrap_or(if destination.is_terminal() {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    let colour =
        destination.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour);
    // An `Err` means that a subscriber is installed already, which is what a second call gets.
    let _installed_before = match (format, destination) {
        (LogFormat::Text, Destination::Stdout) => builder.finish().try_init(),
        (LogFormat::Text, Destination::Stderr) => {
            builder.with_writer(std::io::stderr).finish().try_init()
        }
        (LogFormat::Json, Destination::Stdout) => {
            builder.json().flatten_event(true).finish().try_init()
        }
        (LogFormat::Json, Destination::Stderr) => builder
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .finish()
            .try_init(),
    };
    if destination == Destination::Stdout {
        if std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("OTEL_")) {
            tracing::warn!(
                "OTEL_* is set and does nothing: this version exports no traces; metrics are at /metrics of ops_listen"
            );
        }
        log_panics();
    }
    Ok(())
}

/// A container's panics are log lines like everything else it says; the runtime's own text on stderr
/// would be lost where only stdout is collected.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let text = panic.payload();
        let message = (text.downcast_ref::<&str>().copied())
            .or_else(|| text.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no text");
        let backtrace = std::backtrace::Backtrace::capture();
        let captured = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
        let backtrace = captured.then(|| tracing::field::display(backtrace));
        tracing::error!(place, backtrace, "panic: {message}");
    }));
}
