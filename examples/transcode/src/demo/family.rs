//! Leaves no process behind: descendants of the demonstration, however deep, end with it.
//!
//! Children are killed through their handles. What they started (a worker agent's ffmpeg) normally ends
//! with them; whatever does not is handed by the kernel to the demonstration, which is a *subreaper*,
//! and is found and killed here.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long descendants are hunted.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two rounds.
const INTERVAL: Duration = Duration::from_millis(20);

/// Makes the kernel hand orphaned descendants to this process.
pub fn adopt_orphans() {
    // Without it the descendants' own supervision must do; on systems other than Linux it has to.
    #[cfg(target_os = "linux")]
    let _best_effort = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Kills every descendant of this process and waits until none is left. Answers how many were killed.
pub fn end() -> usize {
    let own = std::process::id().cast_signed();
    let end = Instant::now() + PATIENCE;
    let mut killed = std::collections::BTreeSet::new();
    loop {
        let left = descendants(own, &parents());
        if left.is_empty() || Instant::now() > end {
            return killed.len();
        }
        for pid in left.into_iter().filter_map(Pid::from_raw) {
            if kill_process(pid, Signal::KILL).is_ok() {
                killed.insert(pid.as_raw_nonzero().get());
            }
            // Reaps it if it is ours, and does nothing if it is not or is not dead yet.
            let _not_yet = waitpid(Some(pid), WaitOptions::NOHANG);
        }
        std::thread::sleep(INTERVAL);
    }
}

/// The parent of every process that can be seen.
fn parents() -> BTreeMap<i32, i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parent(&stat)?))
        })
        .collect()
}

/// The fourth field of `/proc/PID/stat`; the second is a name in brackets that may hold anything.
fn parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn descendants(of: i32, parents: &BTreeMap<i32, i32>) -> Vec<i32> {
    let mut found = Vec::new();
    let mut ancestors = vec![of];
    while let Some(ancestor) = ancestors.pop() {
        for (pid, parent) in parents {
            if *parent == ancestor && *pid != ancestor && !found.contains(pid) {
                found.push(*pid);
                ancestors.push(*pid);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_descendants_of_any_depth_and_nobody_else() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (7, 7)]);
        let mut found = descendants(2, &parents);
        found.sort_unstable();
        assert_eq!(found, [3, 4]);
        assert!(descendants(7, &parents).is_empty());
    }

    #[test]
    fn reads_the_parent_behind_a_name_with_brackets_and_blanks() {
        assert_eq!(parent("42 (a) b) S 17 42 42 0"), Some(17));
        assert_eq!(parent("nonsense"), None);
    }
}
