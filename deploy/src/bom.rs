//! A bill of materials in CycloneDX 1.5 (<https://cyclonedx.org/docs/1.5/json/>), from what `cargo tree` says is compiled
//! into a binary and the hashes in `Cargo.lock`.
//!
//! The tree is of one package with its features for one target, without what only builds or tests it: a bill of the whole
//! lock file would blame an image for crates it does not hold. Equal input gives equal bytes: no time, no serial number.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What the bill is of.
#[derive(Clone, Debug)]
pub struct Subject {
    /// File name of the binary.
    pub binary: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    name: String,
    version: String,
}

impl Id {
    /// The package URL (<https://github.com/package-url/purl-spec>) that names a crate everywhere.
    fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

#[derive(Debug, Default)]
struct Crate {
    licence: String,
    needs: BTreeSet<Id>,
}

/// Writes the bill. `tree` is the output of `cargo tree --prefix depth --format "|{p}|{l}"`, `lock` the text of
/// `Cargo.lock`.
///
/// # Errors
/// A line or a lock file that does not have the form expected.
pub fn write(subject: &Subject, tree: &str, lock: &str) -> anyhow::Result<Value> {
    let (root, crates) = parse(tree)?;
    let hashes = hashes(lock)?;
    let components: Vec<Value> = crates
        .iter()
        .filter(|(id, _)| **id != root)
        .map(|(id, found)| component(id, found, hashes.get(id)))
        .collect();
    let dependencies: Vec<Value> = crates
        .iter()
        .map(|(id, found)| {
            let needs: Vec<String> = found.needs.iter().map(Id::purl).collect();
            json!({ "ref": id.purl(), "dependsOn": needs })
        })
        .collect();
    let licence = crates.get(&root).map_or("", |found| &found.licence);
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "tools": { "components": [{ "type": "application", "name": "quorate-deploy sbom", "version": env!("CARGO_PKG_VERSION") }] },
            "component": {
                "type": "application",
                "bom-ref": root.purl(),
                "name": subject.binary,
                "version": root.version,
                "licenses": [{ "expression": licence }],
                "hashes": [{ "alg": "SHA-256", "content": subject.sha256 }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn component(id: &Id, found: &Crate, hash: Option<&String>) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": id.purl(),
        "name": id.name,
        "version": id.version,
        "purl": id.purl(),
    });
    // Some crates still write `MIT/Apache-2.0`, which is no SPDX expression.
    if !found.licence.is_empty() {
        component["licenses"] = json!([{ "expression": found.licence.replace('/', " OR ") }]);
    }
    if let Some(hash) = hash {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": hash }]);
    }
    component
}

/// The root and every crate below it. A crate that was shown before has its children there.
fn parse(tree: &str) -> anyhow::Result<(Id, BTreeMap<Id, Crate>)> {
    let mut crates: BTreeMap<Id, Crate> = BTreeMap::new();
    let mut path: Vec<Id> = Vec::new();
    for line in tree.lines().filter(|line| !line.trim().is_empty()) {
        let mut parts = line.split('|');
        let (Some(depth), Some(package), Some(licence)) =
            (parts.next(), parts.next(), parts.next())
        else {
            bail!("a line of cargo tree without its three parts: {line:?}");
        };
        let depth: usize = depth
            .parse()
            .with_context(|| format!("a line of cargo tree without its depth: {line:?}"))?;
        let mut words = package.split_whitespace();
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            bail!("a line of cargo tree without name and version: {line:?}");
        };
        let id = Id {
            name: name.to_owned(),
            version: version.trim_start_matches('v').to_owned(),
        };
        if depth > path.len() {
            bail!("cargo tree skips a level at {line:?}");
        }
        path.truncate(depth);
        if let Some(parent) = path.last() {
            crates
                .entry(parent.clone())
                .or_default()
                .needs
                .insert(id.clone());
        }
        let licence = licence.trim_end_matches(" (*)").trim();
        let found = crates.entry(id.clone()).or_default();
        if found.licence.is_empty() {
            licence.clone_into(&mut found.licence);
        }
        path.push(id);
    }
    let root = tree
        .lines()
        .next()
        .and(path.first().cloned())
        .context("cargo tree printed nothing")?;
    Ok((root, crates))
}

fn hashes(lock: &str) -> anyhow::Result<BTreeMap<Id, String>> {
    let lock: toml::Table = lock.parse().context("Cargo.lock is not TOML")?;
    let packages = lock
        .get("package")
        .and_then(toml::Value::as_array)
        .context("Cargo.lock lists no package")?;
    Ok(packages
        .iter()
        .filter_map(|package| {
            let text = |key: &str| {
                package
                    .get(key)
                    .and_then(toml::Value::as_str)
                    .map(str::to_owned)
            };
            let id = Id {
                name: text("name")?,
                version: text("version")?,
            };
            Some((id, text("checksum")?))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str =
        "0|app v1.0.0 (/src/app)|MIT\n1|a v0.1.0|MIT/Apache-2.0\n2|b v2.0.0|\n1|b v2.0.0| (*)\n";
    const LOCK: &str = "[[package]]\nname = 'a'\nversion = '0.1.0'\nchecksum = 'aa'\n[[package]]\nname = 'app'\nversion = '1.0.0'\n";

    /// A bill names every crate once, with licence, hash and what it needs, and the binary as its subject.
    #[test]
    fn every_crate_is_named_once_with_what_it_needs() {
        let subject = Subject {
            binary: "app".to_owned(),
            sha256: "00".to_owned(),
        };
        let bom = write(&subject, TREE, LOCK).unwrap();
        assert_eq!(bom["metadata"]["component"]["hashes"][0]["content"], "00");
        let names: Vec<&str> = bom["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|component| component["purl"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["pkg:cargo/a@0.1.0", "pkg:cargo/b@2.0.0"]);
        assert_eq!(
            bom["components"][0]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
        assert_eq!(bom["components"][0]["hashes"][0]["content"], "aa");
        assert_eq!(
            bom["components"][1].get("hashes"),
            None,
            "a crate of ours has none"
        );
        let needs = &bom["dependencies"];
        assert_eq!(
            needs[0],
            json!({ "ref": "pkg:cargo/a@0.1.0", "dependsOn": ["pkg:cargo/b@2.0.0"] })
        );
        assert_eq!(needs[1]["dependsOn"].as_array().unwrap().len(), 2);
    }

    /// What is not the output of cargo tree is refused, not turned into an empty bill.
    #[test]
    fn nonsense_is_refused() {
        let subject = Subject {
            binary: String::new(),
            sha256: String::new(),
        };
        for bad in [
            "",
            "x",
            "0|",
            "0|app|MIT",
            "x|app v1|MIT",
            "0|app v1|MIT\n2|a v1|MIT",
        ] {
            assert!(write(&subject, bad, LOCK).is_err(), "{bad:?}");
        }
        assert!(write(&subject, TREE, "version = 4").is_err());
    }
}
