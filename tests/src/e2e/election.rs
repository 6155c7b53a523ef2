//! Leader election across containers: who believed to lead, and when.

use super::Images;
use super::cluster::{Cluster, Options};
use super::faults::{AWAY, Fault};
use anyhow::{Context as _, ensure};
use quorate_leader_election::election::Election;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Those who want to lead.
const CANDIDATES: u64 = 3;

/// How often a leader looks at its guard.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long one leads before it gives the others their turn.
const TERM: Duration = Duration::from_millis(400);

/// One leadership as its holder saw it: from the first to the last moment at which it believed to lead.
#[derive(Clone, Copy, Debug)]
struct Interval {
    candidate: u64,
    token: u64,
    from: Instant,
    to: Instant,
}

type Book = Arc<Mutex<Vec<Interval>>>;

pub(super) async fn one_at_a_time(images: Images) -> anyhow::Result<String> {
    let cluster = Cluster::start(
        "quorate-e2e-election",
        images.leader_election(),
        Options::default(),
    )
    .await?;
    let book = Book::default();
    let running = Arc::new(AtomicBool::new(true));
    let mut tasks = Vec::new();
    for candidate in 1..=CANDIDATES {
        let election = cluster
            .election()?
            .candidate(&format!("candidate-{candidate}"))?;
        tasks.push(tokio::spawn(stand(
            election,
            candidate,
            Arc::clone(&book),
            Arc::clone(&running),
        )));
    }
    grows(&book, 2, "at the start").await?;
    let mut faults = 0;
    for kind in Fault::ALL {
        let leader = cluster.wait_leader().await?;
        let others = Cluster::ids().filter(|id| *id != leader);
        for id in std::iter::once(leader).chain(others) {
            kind.begin(&cluster, id)?;
            tokio::time::sleep(AWAY).await;
            // While the node is still away: two of three are a majority.
            grows(&book, 1, &format!("while node {id} was away ({kind:?})")).await?;
            kind.end(&cluster, id)?;
            cluster.wait_ready(PATIENCE).await?;
            faults += 1;
        }
    }
    grows(&book, 2, "after the last fault").await?;
    running.store(false, Ordering::SeqCst);
    for task in tasks {
        tokio::time::timeout(PATIENCE, task)
            .await
            .context("a candidate does not stop")??;
    }
    let mut intervals = seen(&book).clone();
    ensure!(
        (1..=CANDIDATES).all(|id| intervals.iter().any(|i| i.candidate == id)),
        "not every candidate has led"
    );
    check(&mut intervals)?;
    Ok(format!(
        "{} leaderships, {faults} faults, none at once",
        intervals.len()
    ))
}

fn seen(book: &Book) -> std::sync::MutexGuard<'_, Vec<Interval>> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leads again and again, a short time each.
async fn stand(election: Election, candidate: u64, book: Book, running: Arc<AtomicBool>) {
    while running.load(Ordering::SeqCst) {
        let campaign = async { election.campaign("e2e").await };
        let guard = match tokio::time::timeout(Duration::from_secs(5), campaign).await {
            Ok(Ok(guard)) => guard,
            // The cluster is away, or another leads.
            Ok(Err(_)) | Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let end = Instant::now() + TERM;
        let mut interval: Option<Interval> = None;
        while Instant::now() < end {
            let asked = Instant::now();
            if !guard.is_leader() {
                break;
            }
            // It believed so at some moment between the two readings: neither end is stretched.
            let found = interval.get_or_insert(Interval {
                candidate,
                token: guard.token().0,
                from: Instant::now(),
                to: asked,
            });
            found.to = asked.max(found.from);
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if let Some(interval) = interval {
            seen(&book).push(interval);
        }
        // What becomes of it shows in the next campaign.
        let _ = guard.resign().await;
    }
}

/// Waits until somebody has led `more` times more.
async fn grows(book: &Book, more: usize, when: &str) -> anyhow::Result<()> {
    let before = seen(book).len();
    let end = Instant::now() + PATIENCE;
    while seen(book).len() < before + more {
        ensure!(Instant::now() < end, "nobody leads {when}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// In the order of time, tokens grow and no leadership begins before the one before has ended.
fn check(intervals: &mut [Interval]) -> anyhow::Result<()> {
    intervals.sort_by_key(|interval| interval.from);
    for pair in intervals.windows(2) {
        if let [one, next] = pair {
            ensure!(one.to <= next.from, "two led at once: {one:?} and {next:?}");
            // A resignation that got lost in a fault leaves the leadership, and with it the token, as it was.
            let goes_on = one.candidate == next.candidate && one.token == next.token;
            ensure!(
                goes_on || one.token < next.token,
                "the token does not grow: {one:?}, {next:?}"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check can fail: an overlap and a token that does not grow are named.
    #[test]
    fn overlaps_and_stale_tokens_are_named() {
        let begin = Instant::now();
        let interval = |candidate, token, from, to| Interval {
            candidate,
            token,
            from: begin + Duration::from_millis(from),
            to: begin + Duration::from_millis(to),
        };
        let good = [interval(2, 8, 5, 9), interval(1, 7, 0, 5)];
        check(&mut good.clone()).unwrap();
        let overlap = check(&mut [good[0], interval(1, 7, 0, 6)]).unwrap_err();
        assert!(overlap.to_string().contains("at once"), "{overlap}");
        let stale = check(&mut [good[0], interval(1, 8, 0, 5)]).unwrap_err();
        assert!(stale.to_string().contains("grow"), "{stale}");
    }
}
