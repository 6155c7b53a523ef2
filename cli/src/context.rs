//! What every command is given: where its output goes, and a runtime to wait on servers with.

use crate::errors::{Exit, Failure, Outcome};
use crate::output::Output;
use std::future::Future;

/// See the module's text.
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
            .map_err(|error| Failure::new(Exit::Temporary, format!("cannot start: {error}")))?
            .block_on(future)
    }
}
