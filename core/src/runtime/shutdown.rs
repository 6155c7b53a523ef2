//! The order to stop: a first SIGTERM or SIGINT drains, a second one exits at once.

use super::exit::Exit;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A handle on the order to stop, shared by everything that runs in the process.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// An order that only [`Shutdown::order`] gives: for tests and embedders.
    pub fn manual() -> Self {
        Self::default()
    }

    /// An order given by SIGTERM or SIGINT. The second signal ends the process with
    /// [`Exit::Temporary`], without a word to anybody: that is what the sender asks for. Call once a
    /// process, inside a tokio runtime.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::default();
        let order = shutdown.clone();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                }
            };
            let name = next().await;
            tracing::info!(
                signal = name,
                "stopping: draining; a second signal exits at once"
            );
            order.order();
            let name = next().await;
            tracing::warn!(signal = name, "stopping at once");
            std::process::exit(i32::from(Exit::Temporary.code()));
        });
        Ok(shutdown)
    }

    /// Gives the order.
    pub fn order(&self) {
        self.token.cancel();
    }

    /// Whether it was given.
    pub fn ordered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until it is given.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// A token that is cancelled with the order.
    pub fn token(&self) -> CancellationToken {
        self.token.child_token()
    }
}
