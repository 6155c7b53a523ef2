//! `quorate healthcheck`: a probe for images that have no shell.

use crate::context::Context;
use crate::errors::Outcome;
use clap::{Args, ValueEnum};
use quorate_core::runtime::settings::ServeFlags;
use quorate_core::runtime::{Pattern, Settings, healthcheck};
use std::time::Duration;

/// Ask the container on this host whether it is ready: exits 0 or 69
#[derive(Debug, Args)]
#[command(after_help = "Example, in a Dockerfile:
  HEALTHCHECK CMD [\"quorate\", \"healthcheck\"]")]
pub(crate) struct Healthcheck {
    /// What to ask
    #[arg(long, value_enum, default_value_t = Probe::Ready)]
    probe: Probe,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    flags: ServeFlags,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Probe {
    /// Can it serve?
    Ready,
    /// Does it live?
    Live,
    /// Has it started?
    Startup,
}

impl Healthcheck {
    pub(crate) fn run(self, context: Context) -> Outcome {
        let settings = Settings::load(Pattern::WorkQueue, &self.flags.values)?;
        let path = match self.probe {
            Probe::Ready => "/readyz",
            Probe::Live => "/livez",
            Probe::Startup => "/startupz",
        };
        let answer = healthcheck::check(&settings, path, self.timeout)?;
        context.output.note(answer.trim());
        Ok(())
    }
}
