//! [`Queue`]: the queue as a Rust program uses it, the same over a cluster, over a replica in this
//! process and in memory.

use crate::service::QueueService;
use crate::worker::link::{self, Identity, Link};
use quorate_core::error::{Code, Error};
use std::sync::Arc;

/// A handle on a queue service. Cheap to clone; every clone uses the same connection.
#[derive(Clone)]
pub struct Queue {
    service: Arc<dyn QueueService>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    /// Over any implementation of the service.
    pub fn from_service(service: Arc<dyn QueueService>) -> Self {
        Self { service }
    }

    /// The service beneath, for operations that this type has no method for.
    pub fn service(&self) -> Arc<dyn QueueService> {
        Arc::clone(&self.service)
    }

    pub(crate) fn link(&self, identity: Identity) -> Link {
        link::over_calls(Arc::clone(&self.service), identity)
    }
}

/// An answer that does not belong to its question: versions that do not match.
pub(crate) fn misfit() -> Error {
    Error::new(
        Code::Internal,
        "the queue answered something else than was asked; use matching versions of client and server",
    )
}
