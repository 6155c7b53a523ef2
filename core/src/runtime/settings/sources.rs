//! From default, file, environment and flags to one raw value a setting.

use super::nearest::nearest;
use super::values::Value;
use super::{ConfigErrors, DEFINITIONS, Definition, FlagValues, Pattern, Settings};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// This variable.
    Environment(&'static str),
    /// This flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag --{flag}"),
        }
    }
}

/// A value before it is typed. `None` when no source has one and there is no default.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) text: Option<String>,
    pub(super) origin: Origin,
}

/// The environment variables to read, so that tests need not change the process's own.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(String, OsString)>);

impl Environment {
    /// This process's.
    pub fn process() -> Self {
        let ours = |name: &OsString| {
            name.to_str()
                .filter(|name| name.starts_with("QUORATE_") || *name == "RUST_LOG")
                .map(str::to_owned)
        };
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((ours(&name)?, value)))
                .collect(),
        )
    }

    /// These.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
        )
    }
}

impl Settings {
    /// Longest configuration file in bytes: a thousand times what anybody needs.
    const FILE_BYTES_MAX: u64 = 1 << 20;

    /// Reads the settings of this process: its environment, its file, and the flags given.
    pub fn load(pattern: Pattern, flags: &FlagValues) -> Result<Self, ConfigErrors> {
        Self::load_from(pattern, flags, &Environment::process())
    }

    /// The same with another environment.
    pub fn load_from(
        pattern: Pattern,
        flags: &FlagValues,
        environment: &Environment,
    ) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let mut raw: BTreeMap<&'static str, Raw> = DEFINITIONS
            .iter()
            .map(|definition| {
                let text = definition.default.text(pattern);
                let origin = Origin::Default;
                (definition.name, Raw { text, origin })
            })
            .collect();
        let mut set = |definition: &'static Definition, text: String, origin: Origin| {
            let text = Some(text);
            raw.insert(definition.name, Raw { text, origin });
        };

        let variables = read_environment(environment, &mut problems);
        let file = flags
            .get("config")
            .or_else(|| variables.get("config").map(String::as_str))
            .map(PathBuf::from);
        if let Some(path) = file {
            for (definition, text) in read_file(&path, &mut problems) {
                set(definition, text, Origin::File(path.clone()));
            }
        }
        for definition in DEFINITIONS {
            if let Some(text) = variables.get(definition.name) {
                set(
                    definition,
                    text.clone(),
                    Origin::Environment(definition.env),
                );
            }
            if let Some(text) = flags.get(definition.name) {
                set(definition, text.to_owned(), Origin::Flag(definition.flag));
            }
        }
        refuse_unbuilt(&raw, &mut problems);
        let settings = Self::build(pattern, raw, problems)?;
        ConfigErrors::check(settings.tls_problems())?;
        Ok(settings)
    }
}

/// The known variables that are set; an empty one counts as not set, because Compose files pass on
/// what the user left out as an empty string. An unknown one is a problem.
fn read_environment<'a>(
    environment: &Environment,
    problems: &mut Vec<String>,
) -> BTreeMap<&'a str, String> {
    let mut found = BTreeMap::new();
    for (variable, value) in &environment.0 {
        let Some(definition) = DEFINITIONS.iter().find(|d| d.env == variable) else {
            if !is_service_link(variable) {
                let known = DEFINITIONS.iter().map(|d| d.env);
                problems.push(unknown("environment variable", variable, known));
            }
            continue;
        };
        match value.to_str() {
            Some("") => {}
            Some(text) => {
                found.insert(definition.name, text.to_owned());
            }
            None => problems.push(format!("{variable}: the value is not UTF-8")),
        }
    }
    found
}

/// Kubernetes sets these for a Service whose name begins with `quorate`; they are nobody's settings.
pub(super) fn is_service_link(variable: &str) -> bool {
    variable.ends_with("_SERVICE_HOST")
        || variable.contains("_SERVICE_PORT")
        || variable.ends_with("_PORT")
        || variable.contains("_PORT_")
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let hint = nearest(name, known).unwrap_or("nothing");
    let shown: String = name.chars().take(80).collect();
    format!("{what} {shown} is not known; did you mean {hint}? (`quorate config show` lists all)")
}

fn read_file(path: &Path, problems: &mut Vec<String>) -> Vec<(&'static Definition, String)> {
    let shown = path.display();
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| {
        file.take(Settings::FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)
    });
    if let Err(error) = read {
        problems.push(format!(
            "cannot read the configuration file {shown}: {error}"
        ));
        return Vec::new();
    }
    if text.len() as u64 > Settings::FILE_BYTES_MAX {
        problems.push(format!("the configuration file {shown} is over 1 MiB"));
        return Vec::new();
    }
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => {
            let text = error.to_string();
            problems.push(format!("{shown} is not TOML: {}", text.trim_end()));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (key, value) in table {
        let Some(definition) = Definition::of(&key).filter(|d| d.name != "config") else {
            let known = DEFINITIONS
                .iter()
                .map(|d| d.name)
                .filter(|n| *n != "config");
            problems.push(format!("{shown}: {}", unknown("key", &key, known)));
            continue;
        };
        match toml_text(&value) {
            Some(text) => found.push((definition, text)),
            None => problems.push(format!(
                "{shown}: {key}: write the value as a string, as in {} = \"{}\"",
                definition.name, definition.value_name
            )),
        }
    }
    found
}

/// A TOML value as the text that the environment would hold: lists by commas, tables by `key=value`.
fn toml_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(toml_scalar).collect();
            Some(items?.join(","))
        }
        toml::Value::Table(items) => {
            let items: Option<Vec<String>> = items
                .iter()
                .map(|(key, value)| Some(format!("{key}={}", toml_scalar(value)?)))
                .collect();
            Some(items?.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) => None,
    }
}

fn toml_scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::Array(_) | toml::Value::Table(_) => None,
        scalar => toml_text(scalar),
    }
}

fn refuse_unbuilt(raw: &BTreeMap<&'static str, Raw>, problems: &mut Vec<String>) {
    for definition in DEFINITIONS.iter().filter(|d| !d.built) {
        if let Some(Raw {
            text: Some(_),
            origin,
        }) = raw.get(definition.name)
        {
            problems.push(format!(
                "{} (from {origin}): unimplemented: not built yet; leave it out",
                definition.name
            ));
        }
    }
}

/// Types one raw value. `None` after a problem.
pub(super) fn typed<T: Value>(
    name: &str,
    raw: &BTreeMap<&'static str, Raw>,
    problems: &mut Vec<String>,
) -> Option<T> {
    let raw = raw.get(name)?;
    match &raw.text {
        None => T::absent(),
        Some(text) => match T::parse(text) {
            Ok(value) => Some(value),
            Err(why) => {
                problems.push(format!("{name} (from {}): {why}", raw.origin));
                None
            }
        },
    }
}
