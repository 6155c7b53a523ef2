//! What is searched: the copyright files that this machine's packages came with, or, where there are
//! none, a few texts that come with the example.

use quorate_scatter_gather::definition::rendezvous;
use std::path::Path;

/// Documents taken, so that an index is built in a moment.
const DOCUMENTS_MAX: usize = 400;
/// Bytes of a document that are indexed.
const BYTES_MAX: usize = 8_192;
/// With fewer files than this the machine has no documentation worth searching.
const DOCUMENTS_MIN: usize = 50;

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its name, unique.
    pub id: String,
    /// Its licence, by which hits are counted.
    pub license: String,
    /// Its text.
    pub body: String,
}

/// The machine's documents, or the example's own.
pub fn load() -> Vec<Document> {
    let found = machine(Path::new("/usr/share/doc"));
    if found.len() >= DOCUMENTS_MIN {
        found
    } else {
        own()
    }
}

/// The texts that come with the example.
pub fn own() -> Vec<Document> {
    let all = include_str!("../corpus.txt");
    let parts = all.split("# ").filter(|part| !part.trim().is_empty());
    let document = |part: &str| {
        let (id, body) = part.split_once('\n').unwrap_or((part, ""));
        document(id, body)
    };
    parts.map(document).collect()
}

fn machine(docs: &Path) -> Vec<Document> {
    let Ok(packages) = std::fs::read_dir(docs) else {
        return Vec::new();
    };
    let mut names: Vec<_> = packages.flatten().map(|entry| entry.path()).collect();
    names.sort();
    let mut all = Vec::new();
    for path in names {
        let Some(id) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        // Links to another package's folder would be the same text twice.
        if path.is_symlink() || all.len() == DOCUMENTS_MAX {
            continue;
        }
        if let Ok(bytes) = std::fs::read(path.join("copyright")) {
            all.push(document(id, &String::from_utf8_lossy(&bytes)));
        }
    }
    all
}

fn document(id: &str, body: &str) -> Document {
    let license = body.lines().find_map(|line| line.strip_prefix("License:"));
    let license = license
        .map_or("unknown", str::trim)
        .split([' ', ','])
        .next();
    let mut end = body.len().min(BYTES_MAX);
    while !body.is_char_boundary(end) {
        end -= 1;
    }
    Document {
        id: id.trim().to_owned(),
        license: license
            .filter(|name| !name.is_empty())
            .unwrap_or("unknown")
            .to_owned(),
        body: body[..end].to_owned(),
    }
}

/// The documents of each of so many shards, by their names.
pub fn split(documents: &[Document], shards: usize) -> Vec<Vec<Document>> {
    let ids: Vec<String> = (0..shards).map(|shard| shard.to_string()).collect();
    let mut parts = vec![Vec::new(); shards];
    for document in documents {
        if let Some(shard) = rendezvous(&document.id, &ids) {
            parts[shard].push(document.clone());
        }
    }
    parts
}
