//! The program of a pattern's image: the roles `serve` and `sidecar` over one set of settings, and a probe.

use super::settings::{Pattern, ServeFlags, Settings};
use super::telemetry::{self, Destination};
use super::{Exit, Failure, Service, Shutdown, Spec, Starting, healthcheck, run};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// A healthcheck answers within this, or the container counts as unhealthy.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// A program, and what its `--help` says.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// What it serves.
    pub pattern: Pattern,
    /// What it is called.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it is.
    pub about: &'static str,
    /// What it is as `serve`.
    pub serve: &'static str,
    /// What it is as `sidecar`.
    pub sidecar: &'static str,
}

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    Serve(ServeFlags),
    Sidecar(ServeFlags),
    /// Asks the container on this host whether it is ready, for images without a shell
    Healthcheck(ServeFlags),
}

impl Program {
    /// Reads the arguments and runs the role they name to its end. Bad arguments end the process with 2, as
    /// every use of the command line does.
    pub fn main<S, A>(
        self,
        serve: impl FnOnce(Starting) -> S,
        sidecar: impl FnOnce(Starting) -> A,
    ) -> ExitCode
    where
        S: Future<Output = Result<Service, Failure>>,
        A: Future<Output = Result<Service, Failure>>,
    {
        let found = match self.role() {
            Role::Serve(flags) => self.run("serve", &flags, serve),
            Role::Sidecar(flags) => self.run("sidecar", &flags, sidecar),
            Role::Healthcheck(flags) => self.healthcheck(&flags),
        };
        match found {
            Ok(exit) => exit.into(),
            Err(failure) => {
                // Nowhere else to tell it.
                let _ = writeln!(std::io::stderr(), "error: {failure}");
                failure.exit.into()
            }
        }
    }

    fn role(self) -> Role {
        let command = self.command();
        let arguments = Arguments::from_arg_matches(&command.get_matches());
        arguments.unwrap_or_else(|error| error.exit()).role
    }

    fn command(self) -> clap::Command {
        Arguments::command()
            .name(self.name)
            .version(self.version)
            .about(self.about)
            .mut_subcommand("serve", |serve| serve.about(self.serve))
            .mut_subcommand("sidecar", |sidecar| sidecar.about(self.sidecar))
    }

    fn settings(self, flags: &ServeFlags) -> Result<Settings, Failure> {
        Ok(Settings::load(self.pattern, &flags.values)?)
    }

    fn healthcheck(self, flags: &ServeFlags) -> Result<Exit, Failure> {
        healthcheck::check(&self.settings(flags)?, "/readyz", HEALTHCHECK_TIMEOUT)?;
        Ok(Exit::Ok)
    }

    fn run<F>(
        self,
        role: &'static str,
        flags: &ServeFlags,
        service: impl FnOnce(Starting) -> F,
    ) -> Result<Exit, Failure>
    where
        F: Future<Output = Result<Service, Failure>>,
    {
        let settings = self.settings(flags)?;
        telemetry::init(&settings, Destination::Stdout)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::unavailable(format!("no threads: {error}")))?;
        runtime.block_on(async {
            let shutdown = Shutdown::on_signals()
                .map_err(|error| Failure::unavailable(format!("no signals: {error}")))?;
            let spec = Spec::new(self.pattern, role, self.version);
            Ok(run(spec, settings, shutdown, service).await)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands are well formed, and say what the pattern says of them.
    #[test]
    fn help_is_the_patterns() {
        let program = Program {
            pattern: Pattern::WorkQueue,
            name: "quorate-test",
            version: "1.2.3",
            about: "What it is",
            serve: "What it serves",
            sidecar: "What it is beside",
        };
        let mut command = program.command();
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        for text in [
            "What it is",
            "What it serves",
            "What it is beside",
            "healthcheck",
        ] {
            assert!(help.contains(text), "{text}: {help}");
        }
        assert_eq!(command.render_version(), "quorate-test 1.2.3\n");
    }
}
