//! Killing the leader under load: how long nothing is acknowledged, and whether anything is lost.

use super::nodes::Nodes;
use super::phases::{Load, Until, merged};
use crate::errors::Outcome;
use crate::measure::{Latency, Outage, Phase};
use crate::output::Output;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Load before a kill, with all nodes there: the killed one has caught up and nothing is warming up.
const CALM: Duration = Duration::from_millis(1_500);
/// After service is back, before the killed node is started again: a second, shorter silence counts
/// to the same kill.
const WATCHED_AFTER: Duration = Duration::from_secs(1);
/// For service to come back; past it the gap is what it is by then.
const AWAY_MAX: Duration = Duration::from_secs(30);
/// Between two looks.
const POLL: Duration = Duration::from_millis(5);

/// Kills the leader `kills` times, then lets the load end and drains the queue.
pub(super) async fn run(
    nodes: &mut Nodes,
    load: &Load,
    kills: u32,
    per_second: Option<u32>,
    output: Output,
) -> Outcome<(Phase, Phase, Outage)> {
    let stop_producing = CancellationToken::new();
    let stop_working = CancellationToken::new();
    let begun = Instant::now();
    let mut workers = load.start_workers(&stop_working);
    let producing = tokio::spawn({
        let (load, stop) = (load.clone(), stop_producing.clone());
        async move { load.enqueue(Until::Told(stop, per_second)).await }
    });

    let mut gaps_ms = Vec::new();
    let mut gaps = Latency::default();
    for kill in 1..=kills {
        nodes.wait_ready().await?;
        tokio::time::sleep(CALM).await;
        let gap = one(nodes, load).await?;
        output.note(format!(
            "kill {kill} of {kills}: {:.0} ms without an acknowledgement",
            ms(gap)
        ));
        gaps.record(gap);
        gaps_ms.push(ms(gap));
        if producing.is_finished() {
            break;
        }
    }
    // The last one has to come back, too.
    nodes.wait_ready().await?;
    stop_producing.cancel();
    let enqueue = producing.await.map_err(|error| {
        crate::errors::Failure::new(
            crate::errors::Exit::Temporary,
            format!("the load failed: {error}"),
        )
    })??;
    load.wait(&mut workers, super::ledger::Ledger::settled)
        .await?;
    let seconds = begun.elapsed().as_secs_f64();
    stop_working.cancel();
    let latency = merged(&mut workers).await?;
    let cycle = Phase::new(load.ledger.completed_count(), seconds, latency.summary());
    let outage = Outage {
        kills: u32::try_from(gaps_ms.len()).unwrap_or(u32::MAX),
        gap: gaps.summary(),
        gaps_ms,
    };
    Ok((enqueue, cycle, outage))
}

/// Kills the leader, waits for service, and brings the node back.
async fn one(nodes: &mut Nodes, load: &Load) -> Outcome<Duration> {
    let leader = nodes.leader().await?;
    load.gaps.take_longest(Instant::now());
    nodes.kill(leader)?;
    let killed = Instant::now();
    // Acknowledgements that were under way still come for a moment: service is back when there has
    // been one after the silence that began at the kill.
    tokio::time::sleep(WATCHED_AFTER).await;
    while load.gaps.silence(Instant::now()) > WATCHED_AFTER / 2 && killed.elapsed() < AWAY_MAX {
        tokio::time::sleep(POLL).await;
    }
    let gap = load.gaps.take_longest(Instant::now());
    nodes.restart(leader)?;
    Ok(gap)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
