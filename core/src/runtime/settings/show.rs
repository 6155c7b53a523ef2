//! What `config show --origin` prints.

use super::sources::Origin;
use super::{DEFINITIONS, Settings};

/// One setting as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The key in the file.
    pub name: &'static str,
    /// The variable.
    pub env: &'static str,
    /// The flag, without dashes in front.
    pub flag: &'static str,
    /// The value as it was given, credentials redacted; `None` when there is none.
    pub value: Option<String>,
    /// Who gave it.
    pub origin: Origin,
    /// What it means.
    pub doc: &'static str,
}

impl Settings {
    /// Every setting with its value and where that came from, in the order of the documentation.
    pub fn show(&self) -> Vec<Shown> {
        DEFINITIONS
            .iter()
            .filter_map(|definition| {
                let raw = self.raw.get(definition.name)?;
                Some(Shown {
                    name: definition.name,
                    env: definition.env,
                    flag: definition.flag,
                    value: raw.text.as_deref().map(definition.show),
                    origin: raw.origin.clone(),
                    doc: definition.doc,
                })
            })
            .collect()
    }

    /// Where the value of the setting with this name came from.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.raw.get(name).map(|raw| &raw.origin)
    }
}
