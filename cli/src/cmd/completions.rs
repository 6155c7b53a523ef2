//! `quorate completions`: the script that completes commands and flags in a shell.

use crate::args::Cli;
use crate::errors::Outcome;
use crate::output;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print the completion script of a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:
  quorate completions bash > ~/.local/share/bash-completion/completions/quorate")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "quorate", &mut script);
        output::write_out(&script)
    }
}
