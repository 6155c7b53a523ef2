//! The command line of Quorate, as a library so that other programs of this repository share what it
//! measures with. `main.rs` only calls [`main`].
//!
//! One file a command in `cmd`; `output` and `errors` decide where words go and how the process ends;
//! `submit` and `bench` are what these two commands do, apart from their arguments.

pub mod measure;

mod args;
mod bench;
mod cmd;
mod confirm;
mod connect;
mod context;
mod errors;
mod init;
mod lead;
mod output;
mod paging;
mod parse;
mod progress;
mod scatter;
mod scrape;
mod submit;
mod table;
mod view;
mod watch;

use clap::Parser;
use quorate_work_queue::agent::supervisor;
use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // The worker agent starts this program again as the supervisor of a command.
    if let Some(exit) = supervisor::intercept() {
        return exit;
    }
    if let Some(exit) = init::intercept() {
        return exit;
    }
    // `election exec` does the same for a command that runs while leading.
    if let Some(exit) = lead::helper::intercept() {
        return exit;
    }
    let cli = args::Cli::parse();
    let context = context::Context {
        output: output::Output::new(cli.output),
    };
    match cli.command.run(context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("quorate: {failure}");
            }
            failure.exit.into()
        }
    }
}
