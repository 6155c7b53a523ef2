//! What commands run on: where output goes, and a runtime, small for clients and large for containers.

use crate::errors::{Exit, Failure, Outcome};
use crate::output::Output;
use quorate_core::runtime::telemetry::{self, Destination};
use quorate_core::runtime::{self, Settings, Shutdown};
use std::future::Future;

/// What every client command is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// Where words go.
    pub(crate) output: Output,
}

impl Context {
    /// Runs a future of a client command to its end, on this thread. Ctrl-C ends it: nothing that a
    /// client command does needs cleaning up.
    pub(crate) fn block_on<T>(self, future: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| cannot_start(&error))?
            .block_on(future)
    }
}

/// Runs a container until it is told to stop. Its logs go to stdout, as containers do it.
pub(crate) fn container<F>(
    settings: Settings,
    role: impl FnOnce(Settings, Shutdown) -> F,
) -> Outcome
where
    F: Future<Output = runtime::Exit>,
{
    telemetry::init(&settings, Destination::Stdout)?;
    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| cannot_start(&error))?;
    let exit = threads.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(|error| cannot_start(&error))?;
        Ok::<_, Failure>(role(settings, shutdown).await)
    })?;
    match exit {
        runtime::Exit::Ok => Ok(()),
        // The container has logged why.
        exit => Err(Failure::silent(exit.into())),
    }
}

pub(crate) fn cannot_start(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Unavailable, format!("cannot start: {error}"))
}
