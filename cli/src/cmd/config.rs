//! `quorate config`: what is configured, by whom, and what could be.

use crate::context::Context;
use crate::errors::Outcome;
use crate::output::Render;
use crate::table::Table;
use clap::{Args, Subcommand};
use quorate_core::runtime::settings::{DEFINITIONS, Fallback, ServeFlags};
use quorate_core::runtime::{Pattern, Settings};
use serde::Serialize;

/// Show the settings in force, or document all of them
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(Show),
    Docs(Docs),
}

/// Show every setting as a server started here would see it
#[derive(Debug, Args)]
#[command(after_help = "Example:
  QUORATE_CONFIG=quorate.toml quorate config show --origin")]
struct Show {
    /// Also show where each value comes from: default, file, environment or flag
    #[arg(long)]
    origin: bool,
    #[command(flatten)]
    flags: ServeFlags,
}

/// Document every setting: variable, flag, key in the file, default
#[derive(Debug, Args)]
#[command(after_help = "Example:
  quorate config docs -o yaml")]
struct Docs {}

impl Config {
    pub(crate) fn run(self, context: Context) -> Outcome {
        match self.command {
            Command::Show(show) => {
                let settings = Settings::load(Pattern::WorkQueue, &show.flags.values)?;
                context.output.print(&Shown::new(&settings, show.origin))
            }
            Command::Docs(Docs {}) => context.output.print(&Documented::new()),
        }
    }
}

#[derive(Serialize)]
struct Shown {
    settings: Vec<ShownRow>,
}

#[derive(Serialize)]
struct ShownRow {
    name: &'static str,
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

impl Shown {
    fn new(settings: &Settings, origin: bool) -> Self {
        let row = |shown: quorate_core::runtime::settings::Shown| ShownRow {
            name: shown.name,
            value: shown.value,
            origin: origin.then(|| shown.origin.to_string()),
        };
        Self {
            settings: settings.show().into_iter().map(row).collect(),
        }
    }
}

impl Render for Shown {
    fn table(&self) -> Table {
        let origin = self.settings.iter().any(|row| row.origin.is_some());
        let mut table = Table::new(if origin {
            &["SETTING", "VALUE", "ORIGIN"]
        } else {
            &["SETTING", "VALUE"]
        });
        for row in &self.settings {
            let value = row.value.as_deref().unwrap_or("-");
            match &row.origin {
                Some(origin) => table.row([&row.name, &value, origin]),
                None => table.row([&row.name, &value]),
            };
        }
        table
    }
}

#[derive(Serialize)]
struct Documented {
    settings: Vec<DocumentedRow>,
}

#[derive(Serialize)]
struct DocumentedRow {
    env: &'static str,
    flag: String,
    key: &'static str,
    value: &'static str,
    default: Option<String>,
    doc: &'static str,
}

impl Documented {
    fn new() -> Self {
        let rows = DEFINITIONS.iter().filter(|definition| definition.built);
        let row =
            |definition: &'static quorate_core::runtime::settings::Definition| DocumentedRow {
                env: definition.env,
                flag: format!("--{}", definition.flag),
                key: definition.name,
                value: definition.value_name,
                default: match definition.default {
                    Fallback::None => None,
                    fallback => fallback.text(Pattern::WorkQueue),
                },
                doc: definition.doc,
            };
        Self {
            settings: rows.map(row).collect(),
        }
    }
}

impl Render for Documented {
    fn table(&self) -> Table {
        let mut table = Table::new(&["VARIABLE", "FLAG", "DEFAULT", "MEANING"]);
        for row in &self.settings {
            let default = row.default.as_deref().unwrap_or("-");
            table.row([
                &row.env,
                &format!("{} {}", row.flag, row.value),
                &default,
                &row.doc,
            ]);
        }
        table
    }
}
