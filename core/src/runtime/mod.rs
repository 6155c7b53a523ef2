//! The container runtime every binary uses.
//!
//! A container is started by [`app::run`]: it binds its listeners, answers 503 until the pattern's
//! service is ready, serves REST and gRPC on one port behind one guard, tells its health on the ops
//! port, and drains on SIGTERM. What a pattern supplies is a router and its readiness; what an
//! operator supplies are the [`settings`].

pub mod app;
pub mod exit;
pub mod extract;
pub mod front;
pub mod guard;
pub mod health;
pub mod healthcheck;
pub mod info;
pub mod listen;
pub mod metrics;
pub mod problem;
mod process;
pub mod serve;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod token;

pub use app::{Service, Spec, Starting, run};
pub use exit::{Exit, Failure};
pub use info::Status;
pub use settings::{Pattern, Settings};
pub use shutdown::Shutdown;
