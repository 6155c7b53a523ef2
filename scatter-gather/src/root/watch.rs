//! The file of definitions, followed while the process runs.
//!
//! A file is looked at every second, because that works for every way a file can be replaced: written in
//! place, renamed over, or a link that Kubernetes moves. A version that fails its check changes nothing:
//! what was good stays in force, and the log, a metric and the readiness's reason say so.

use super::{Origin, Root};
use crate::definition::{Loaded, load};
use quorate_core::types::Name;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Puts a loaded file in force. The error says which part could not be; what could is in force.
pub fn apply(root: &Root, loaded: &Loaded) -> Result<(), String> {
    let mut problems = Vec::new();
    let stays: BTreeSet<&Name> = loaded.fanouts.keys().collect();
    for fanout in root.fanouts() {
        if fanout.origin() == Origin::File && !stays.contains(fanout.name()) {
            // It was there a moment ago; gone is gone.
            let _ = root.delete(fanout.name(), Origin::File);
        }
    }
    for (name, spec) in &loaded.fanouts {
        if let Err(error) = root.put(name, spec.clone(), Origin::File) {
            problems.push(format!("{name}: {}", error.detail));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("; "))
    }
}

/// Follows the file for as long as somebody listens to `problem`, which says what is wrong with its
/// newest version, or nothing. `text` is what is in force.
pub async fn watch(
    root: Arc<Root>,
    path: PathBuf,
    mut text: String,
    problem: watch::Sender<String>,
) {
    let mut refused = String::new();
    loop {
        tokio::select! {
            () = problem.closed() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let reading = path.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&reading)).await;
        let outcome = match loaded {
            Ok(Ok(loaded)) if loaded.text == text => Ok(()),
            Ok(Ok(loaded)) => {
                let outcome = apply(&root, &loaded);
                text = loaded.text;
                if outcome.is_ok() {
                    tracing::info!(path = %path.display(), "new definitions are in force");
                }
                outcome
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => continue,
        };
        match outcome {
            Ok(()) if refused.is_empty() => {}
            Ok(()) => {
                refused.clear();
                problem.send_replace(String::new());
            }
            Err(why) if why == refused => {}
            Err(why) => {
                tracing::error!(path = %path.display(), "the definitions known stay in force: {why}");
                metrics::counter!("quorate_scatter_definitions_refused_total").increment(1);
                problem.send_replace(format!("definitions of before are in force: {why}"));
                refused = why;
            }
        }
    }
}
