//! Where words go: data to stdout in the format that was asked for, notes to stderr and only when a
//! person is looking.
//!
//! A command builds one [`Render`] value and hands it to [`Output::print`]. Scripts read `-o json` or
//! `-o yaml`, whose field names are those of the REST API; the table is for people and may change.

use crate::errors::{Exit, Failure, Outcome};
use crate::table::Table;
use clap::ValueEnum;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For scripts: one document; one line a document for commands that watch.
    Json,
    /// For people who script.
    Yaml,
}

/// Data that can be printed as a table and as a document.
pub(crate) trait Render: Serialize {
    /// The table for people.
    fn table(&self) -> Table;
}

/// The two output streams of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
    notes: bool,
    color: bool,
}

impl Output {
    /// Output of the real process: asks the terminal and `NO_COLOR` (<https://no-color.org>).
    pub(crate) fn new(format: Format) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            format,
            notes: io::stderr().is_terminal(),
            color: io::stdout().is_terminal() && !no_color,
        }
    }

    /// Whether a command that watches prints a document at each change, for a program to read.
    pub(crate) fn streams(self) -> bool {
        self.format != Format::Table
    }

    /// Whether a person looks at stderr, so that notes and progress bars make sense.
    pub(crate) fn interactive(self) -> bool {
        self.notes
    }

    /// Prints data to stdout.
    pub(crate) fn print(self, data: &impl Render) -> Outcome {
        let text = match self.format {
            Format::Table => data.table().to_text(self.color),
            Format::Json => encode(serde_json::to_string_pretty(data))? + "\n",
            Format::Yaml => yaml(data)?,
        };
        write_out(text.as_bytes())
    }

    /// Prints one of a sequence of documents: a line of JSON, a YAML document, or a table.
    pub(crate) fn print_next(self, data: &impl Render) -> Outcome {
        let text = match self.format {
            Format::Table => data.table().to_text(self.color),
            Format::Json => encode(serde_json::to_string(data))? + "\n",
            Format::Yaml => format!("---\n{}", yaml(data)?),
        };
        write_out(text.as_bytes())
    }

    /// Says something to the person at the terminal; nothing when there is none.
    pub(crate) fn note(self, text: impl std::fmt::Display) {
        if self.notes {
            eprintln!("{text}");
        }
    }
}

/// Prints text as it is.
pub(crate) fn write_out(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // The reader (`head`, a pager) has seen enough: not a failure of ours.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(
            Exit::Temporary,
            format!("cannot write to stdout: {error}"),
        )),
        Ok(()) => Ok(()),
    }
}

fn encode(text: Result<String, serde_json::Error>) -> Outcome<String> {
    text.map_err(|error| Failure::new(Exit::Temporary, format!("cannot encode as JSON: {error}")))
}

fn yaml(data: &impl Serialize) -> Outcome<String> {
    let mut text = serde_saphyr::to_string(data).map_err(|error| {
        Failure::new(Exit::Temporary, format!("cannot encode as YAML: {error}"))
    })?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_keeps_texts_that_look_like_numbers_apart_from_numbers() {
        let text =
            yaml(&serde_json::json!({"id": "0001", "no": "no", "count": 1, "line": "a: b\nc"}))
                .unwrap();
        assert!(text.contains("count: 1\n"), "{text}");
        assert!(!text.contains("id: 0001\n"), "{text}");
        assert!(!text.contains("no: no\n"), "{text}");
    }
}
