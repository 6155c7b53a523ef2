//! The container runtime every binary uses.
//!
//! A container is started by [`app::run`]: it binds its listeners, answers 503 until the pattern's
//! service is ready, serves REST and gRPC on one port behind one guard, tells its health on the ops
//! port, and drains on SIGTERM. What a pattern supplies is a router and its readiness; what an
//! operator supplies are the [`settings`].
//!
//! ```no_run
//! # use quorate_core::runtime::{*, settings::{FlagValues, ServeFlags}, telemetry::{self, Destination}};
//! # async fn start_my_service(_: Starting) -> Result<Service, Failure> { unimplemented!() }
//! async fn serve(flags: &FlagValues) -> Result<Exit, Failure> {
//!     let settings = Settings::load(Pattern::WorkQueue, flags)?;
//!     telemetry::init(&settings, Destination::Stdout)?;
//!     let shutdown = Shutdown::on_signals().map_err(|e| Failure::unavailable(e.to_string()))?;
//!     let spec = Spec::new(Pattern::WorkQueue, "serve", env!("CARGO_PKG_VERSION"));
//!     Ok(run(spec, settings, shutdown, start_my_service).await)
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
