//! The container runtime every binary uses.
//!
//! A container is started by [`app::run`]: it binds its listeners, answers 503 until the pattern's
//! service is ready, serves REST and gRPC on one port behind one guard, tells its health on the ops
//! port, and drains on SIGTERM. What a pattern supplies is a router and its readiness; what an
//! operator supplies are the [`settings`].
//!
//! ```no_run
//! # use quorate_core::runtime::*;
//! # async fn start_my_service(_: Starting) -> Result<Service, Failure> { unimplemented!() }
//! # async fn start_beside_an_application(_: Starting) -> Result<Service, Failure> { unimplemented!() }
//! fn main() -> std::process::ExitCode {
//!     let program = Program {
//!         pattern: Pattern::WorkQueue,
//!         name: "my-queue",
//!         version: env!("CARGO_PKG_VERSION"),
//!         about: "A queue of my own",
//!         serve: "A replica of the queue, with its API",
//!         sidecar: "The API beside an application",
//!     };
//!     program.main(start_my_service, start_beside_an_application)
//! }
//! ```

pub mod app;
mod container;
pub mod exit;
pub mod extract;
pub mod front;
pub mod guard;
pub mod health;
pub mod healthcheck;
pub mod info;
pub mod listen;
pub mod metrics;
mod observe;
pub mod problem;
mod process;
mod program;
pub mod remote;
#[cfg(feature = "replica")]
pub mod replica;
pub mod serve;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod token;

pub use app::{Service, Spec, Starting, run};
pub use exit::{Exit, Failure};
pub use info::Status;
pub use program::Program;
pub use settings::{Pattern, Settings};
pub use shutdown::Shutdown;
