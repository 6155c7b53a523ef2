//! The command line as a whole.

use crate::cmd::Command;
use crate::output::Format;
use clap::Parser;

/// Replicated patterns for distributed systems: a work queue that loses nothing
#[derive(Debug, Parser)]
#[command(
    name = "quorate",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    max_term_width = 110,
    after_help = "Try it:
  quorate dev                                        a server in memory on this machine
  quorate submit hello '{\"to\":\"world\"}'              put a job in
  quorate work hello -- sh -c 'cat $WORK_ITEM_FILE'  do it
  quorate jobs list hello                            see what became of it

Exit codes: 0 done; 1 refused, or what was watched ended dead or cancelled; 2 usage; 69 unavailable;
75 temporary failure, try again; 78 configuration."
)]
pub(crate) struct Cli {
    /// How data is printed to stdout
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
        let path = format!("{path} {}", command.get_name());
        if !command.has_subcommands() {
            found.push((path, command.clone()));
            return;
        }
        // Hidden ones only say that they are not built.
        for command in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            leaves(command, &path, found);
        }
    }

    #[test]
    fn the_command_line_is_sound_and_every_command_has_an_example_that_names_it() {
        let mut root = Cli::command();
        root.clone().debug_assert();
        root.build();
        let mut found = Vec::new();
        leaves(&root, "", &mut found);
        assert!(found.len() > 20, "{}", found.len());
        for (path, mut command) in found {
            let path = path.trim();
            let help = command.render_long_help().to_string();
            let examples = help.split("Example").nth(1).unwrap_or_default();
            let words: Vec<_> = path.split(' ').collect();
            assert!(
                examples.contains(path)
                    || examples.contains(&format!("\"{}\"", words.join("\", \""))),
                "`{path} --help` shows no example of itself:\n{help}"
            );
        }
    }
}
