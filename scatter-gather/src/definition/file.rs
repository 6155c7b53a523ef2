//! Definitions in a file: a fan-out by its name, JSON or TOML by the file's ending.
//!
//! ```toml
//! [search]
//! timeout_ms = 500
//! merge = { top_k = { pointer = "/hits", score = "/score", key = "/id", k = 10 } }
//! [[search.shards]]
//! id = "0"
//! replicas = ["http://leaf-0a:8080", "http://leaf-0b:8080"]
//! ```

use super::FanoutSpec;
use quorate_core::types::Name;
use std::collections::BTreeMap;
use std::path::Path;

/// Largest file.
const BYTES_MAX: u64 = 16 << 20;
/// Fan-outs of a process.
pub(crate) const FANOUTS_MAX: usize = 1_000;

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct FileError {
    /// The file.
    pub path: String,
    /// What is wrong and what to write.
    pub problem: String,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The fan-outs, checked.
    pub fanouts: BTreeMap<Name, FanoutSpec>,
    /// The bytes, to see whether they have changed.
    pub text: String,
}

type Document = BTreeMap<String, FanoutSpec>;

/// Reads a file and checks everything in it. Blocks.
pub fn load(path: &Path) -> Result<Loaded, FileError> {
    let refuse = |problem: String| FileError {
        path: path.display().to_string(),
        problem,
    };
    let size = std::fs::metadata(path)
        .map_err(|error| refuse(error.to_string()))?
        .len();
    if size > BYTES_MAX {
        return Err(refuse(format!("{size} bytes: at most {BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let toml = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("toml"));
    let fanouts = parse(&text, toml).map_err(refuse)?;
    Ok(Loaded { fanouts, text })
}

pub(super) fn parse(text: &str, toml: bool) -> Result<BTreeMap<Name, FanoutSpec>, String> {
    let document: Document = if toml {
        toml_document(text)?
    } else {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    };
    if document.len() > FANOUTS_MAX {
        return Err(format!("at most {FANOUTS_MAX} fan-outs"));
    }
    let mut fanouts = BTreeMap::new();
    for (name, spec) in document {
        let checked = Name::new(&name).map_err(|error| error.to_string())?;
        spec.check()
            .map_err(|error| format!("{name}.{}", error.detail))?;
        fanouts.insert(checked, spec);
    }
    Ok(fanouts)
}

#[cfg(feature = "server")]
fn toml_document(text: &str) -> Result<Document, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

#[cfg(not(feature = "server"))]
fn toml_document(_: &str) -> Result<Document, String> {
    Err("this build reads JSON only: name the file .json".to_owned())
}
