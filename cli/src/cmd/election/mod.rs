//! `quorate election`: who leads, what operators do, and commands that run only while leading.

mod exec;
mod orders;
mod show;

use crate::context::Context;
use crate::errors::Outcome;
use clap::{Args, Subcommand};

/// See who leads, hand leadership over, run a command only while leading
#[derive(Debug, Args)]
pub(crate) struct Election {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Get(show::Get),
    List(show::List),
    Watch(show::Watch),
    Check(show::Check),
    Resign(orders::Resign),
    Transfer(orders::Transfer),
    Exec(Box<exec::Exec>),
}

impl Election {
    pub(crate) fn run(self, context: Context) -> Outcome {
        match self.command {
            Command::Exec(args) => args.run(context),
            command => context.block_on(async {
                match command {
                    Command::Get(args) => args.run(context).await,
                    Command::List(args) => args.run(context).await,
                    Command::Watch(args) => args.run(context).await,
                    Command::Check(args) => args.run(context).await,
                    Command::Resign(args) => args.run(context).await,
                    Command::Transfer(args) => args.run(context).await,
                    Command::Exec(args) => args.run(context),
                }
            }),
        }
    }
}
