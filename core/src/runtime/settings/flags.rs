//! The same settings as flags of a command line, generated from the table.
//!
//! A clap command flattens one of the aliases ([`ServeFlags`], [`WorkFlags`], [`ClientFlags`]) and
//! hands its values to [`Settings::load`](super::Settings::load). Values stay text here: the settings
//! parse them, so that a flag and a variable are refused in the same words.

use super::table::{self, DEFINITIONS, Definition, Uses};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// What was given on the command line, by name of the setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagValues(BTreeMap<&'static str, String>);

impl FlagValues {
    /// No flag was given.
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a value, for commands with flags of their own that mean a setting. `name` must be one of
    /// the table.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        let definition = Definition::of(name);
        debug_assert!(definition.is_some(), "{name} is no setting");
        if let Some(definition) = definition {
            self.0.insert(definition.name, value.into());
        }
        self
    }

    /// The value given for a setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Which rows of the table a command shows.
pub trait FlagSet {
    /// The roles it belongs to.
    const USES: Uses;
}

/// Marks the flags of containers with an API.
#[derive(Clone, Copy, Debug)]
pub struct Serve;
impl FlagSet for Serve {
    const USES: Uses = Uses::SERVE;
}

/// Marks the flags of the worker agent.
#[derive(Clone, Copy, Debug)]
pub struct Work;
impl FlagSet for Work {
    const USES: Uses = Uses::WORK;
}

/// Marks the flags of commands that talk to a server.
#[derive(Clone, Copy, Debug)]
pub struct Client;
impl FlagSet for Client {
    const USES: Uses = Uses::CLIENT;
}

/// Flags of `serve`, `sidecar` and `dev`.
pub type ServeFlags = Flags<Serve>;
/// Flags of `work`.
pub type WorkFlags = Flags<Work>;
/// Flags of commands that talk to a server.
pub type ClientFlags = Flags<Client>;

/// A set of flags for `#[command(flatten)]`.
#[derive(Clone, Debug)]
pub struct Flags<S> {
    /// What was given.
    pub values: FlagValues,
    set: PhantomData<S>,
}

impl<S: FlagSet> clap::FromArgMatches for Flags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut values = BTreeMap::new();
        for definition in rows::<S>() {
            if let Ok(Some(text)) = matches.try_get_one::<String>(definition.name) {
                values.insert(definition.name, text.clone());
            }
        }
        Ok(Self {
            values: FlagValues(values),
            set: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.values
            .0
            .extend(Self::from_arg_matches(matches)?.values.0);
        Ok(())
    }
}

impl<S: FlagSet> clap::Args for Flags<S> {
    fn augment_args(command: Command) -> Command {
        command.args(rows::<S>().map(flag))
    }
    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn rows<S: FlagSet>() -> impl Iterator<Item = &'static Definition> {
    DEFINITIONS
        .iter()
        .filter(|row| row.built && row.uses.meet(S::USES))
}

fn flag(definition: &'static Definition) -> Arg {
    let default = match definition.default {
        table::Fallback::Text(text) => format!(", default {text}"),
        table::Fallback::None | table::Fallback::Of(_) => String::new(),
    };
    let arg = Arg::new(definition.name)
        .long(definition.flag)
        .value_name(definition.value_name)
        .help(format!("{} [{}{default}]", definition.doc, definition.env))
        .help_heading("Settings")
        .action(ArgAction::Set);
    if definition.switch {
        arg.num_args(0..=1)
            .require_equals(true)
            .default_missing_value("1")
    } else {
        arg
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: ServeFlags,
    }

    #[test]
    fn flags_come_from_the_table() {
        let line =
            Line::try_parse_from(["x", "--listen", "127.0.0.1:1", "--insecure-peers"]).unwrap();
        assert_eq!(line.flags.values.get("listen"), Some("127.0.0.1:1"));
        assert_eq!(line.flags.values.get("insecure_peers"), Some("1"));
        assert_eq!(line.flags.values.get("data_dir"), None);
        assert!(Line::try_parse_from(["x", "--lisen", "127.0.0.1:1"]).is_err());
    }

    #[test]
    fn a_set_shows_only_its_own_rows() {
        let client = <ClientFlags as clap::Args>::augment_args(Command::new("x"));
        let has = |flag: &str| {
            client
                .get_arguments()
                .any(|arg| arg.get_long() == Some(flag))
        };
        assert!(has("servers") && has("config"));
        assert!(!has("peers") && !has("tls-cert"));
    }
}
