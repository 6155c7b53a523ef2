//! What `kubectl kustomize` makes of the overlays.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Every overlay with its objects; none, said aloud, where there is no kubectl.
pub(crate) fn overlays() -> Vec<(String, Vec<Value>)> {
    if Command::new("kubectl").arg("help").output().is_err() {
        eprintln!(
            "not checked: kubectl is missing (apt-get install kubernetes-client, or see deploy/kubernetes/README.md)"
        );
        return Vec::new();
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/overlays");
    let mut overlays: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    overlays.sort();
    assert!(overlays.len() >= 8, "{} has no overlays", dir.display());
    overlays
        .iter()
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                render(path),
            )
        })
        .collect()
}

fn render(dir: &Path) -> Vec<Value> {
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(dir)
        .output()
        .expect("it was there before the first overlay");
    assert!(
        output.status.success(),
        "{}: {}",
        dir.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

/// `apps/v1 StatefulSet`.
pub(crate) fn kind(object: &Value) -> String {
    let text = |key: &str| object[key].as_str().unwrap().to_owned();
    format!("{} {}", text("apiVersion"), text("kind"))
}

/// `StatefulSet quorate-work-queue`.
pub(crate) fn title(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().unwrap_or("nameless");
    format!("{} {name}", object["kind"].as_str().unwrap_or("kindless"))
}
