//! The configuration reference of the book is what the table of settings says.

use quorate_core::runtime::Pattern;
use quorate_core::runtime::settings::{DEFINITIONS, Fallback};
use std::fmt::Write as _;

const HEAD: &str = "# Configuration

One list for every container and command. A value comes from the strongest source that names it: default < file
(`QUORATE_CONFIG`, TOML, keys as below) < environment < flag (the key with dashes: `--data-dir`). An empty variable is
not set. An unknown variable or key stops the start with exit code 78 and the nearest known name, except the service
links of Kubernetes (`*_SERVICE_HOST`, `*_SERVICE_PORT*`, `*_PORT`, `*_PORT_*`). `quorate config show --origin` prints
what is in force and where each value came from.

| Key | Variable | Default | Meaning |
| --- | --- | --- | --- |
";

const TAIL: &str = "
Where a default lists three addresses, they are those of leader election, work queue and scatter/gather.
";

fn reference() -> String {
    let mut text = HEAD.to_owned();
    for row in DEFINITIONS {
        let default = match row.default {
            Fallback::None => String::new(),
            Fallback::Text(text) => format!("`{text}`"),
            Fallback::Of(of) => [
                Pattern::LeaderElection,
                Pattern::WorkQueue,
                Pattern::ScatterGather,
            ]
            .into_iter()
            .map(|pattern| of(pattern).map_or_else(|| "–".to_owned(), |text| format!("`{text}`")))
            .collect::<Vec<_>>()
            .join(", "),
        };
        let unbuilt = if row.built {
            ""
        } else {
            " (not built yet: setting it stops the start)"
        };
        writeln!(
            text,
            "| `{}` | `{}` | {default} | {}{unbuilt} |",
            row.name, row.env, row.doc
        )
        .unwrap();
    }
    text.push_str(TAIL);
    text
}

#[test]
fn the_reference_says_what_the_table_says() {
    // Proves: docs/configuration.md is up to date. UPDATE_DOCS=1 writes it anew.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let fresh = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).unwrap();
        std::fs::write(path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == fresh,
        "docs/configuration.md is stale: UPDATE_DOCS=1 cargo test -p quorate-core --features server \
         --test runtime reference"
    );
}
