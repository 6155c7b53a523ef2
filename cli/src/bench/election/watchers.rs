//! Many observers of one election, each of whom must see every change in order.

use super::*;
use quorate_leader_election::service::Observation;
use serde::Serialize;
use tokio::sync::Barrier;

/// Observers on one connection.
const WATCHERS_PER_CONNECTION: u32 = 100;
/// Changes that all of them must see.
const CHANGES: u32 = 50;
/// Pause between two, so that the time that one takes to reach everyone is its own.
const PAUSE: Duration = Duration::from_millis(100);

/// How many watched, and how long a change took to reach the last of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Watched {
    pub(super) connections: u32,
    pub(super) watchers: u32,
    pub(super) changes: u32,
    /// From the order of a change to the last observer, for each change.
    pub(super) to_the_last: Summary,
}

/// Changes one election under the eyes of so many, spread over the nodes.
pub(super) async fn watch(nodes: &Nodes, watchers: u32) -> Outcome<Option<Watched>> {
    if watchers == 0 {
        return Ok(None);
    }
    let election = Name::new("bench-watched").map_err(Error::from)?;
    let addresses = nodes.addresses();
    let driver = client(&super::addresses(nodes))?;
    let session = open(&driver, LONG_MS).await?;
    let said = |metadata: String| {
        Command::Campaign(Campaign {
            election: election.clone(),
            candidate: election.clone(),
            liveness: Liveness::Session(session),
            priority: 0,
            metadata: metadata.into(),
        })
    };
    let Reply::Campaigned(campaigned) = driver
        .execute(&Caller::default(), said(String::new()))
        .await?
        .reply
    else {
        return Err(Failure::new(Exit::Refused, "another answer to a campaign"));
    };
    let connections = watchers.div_ceil(WATCHERS_PER_CONNECTION);
    let ready = Arc::new(Barrier::new(watchers as usize + 1));
    let (told, mut seen) = mpsc::unbounded_channel();
    let mut tasks = Vec::new();
    for number in 0..watchers {
        let connection = number / WATCHERS_PER_CONNECTION;
        if number % WATCHERS_PER_CONNECTION == 0 {
            let server = addresses[connection as usize % addresses.len()];
            tasks.push((client(&server.to_string())?, Vec::new()));
        }
        let (client, watching) = tasks
            .last_mut()
            .expect("one was pushed for the first number");
        let (client, election, told) = (client.clone(), election.clone(), told.clone());
        let (ready, after) = (Arc::clone(&ready), campaigned.revision);
        watching.push(AbortOnDrop(tokio::spawn(async move {
            let caller = Caller {
                timeout: PATIENCE,
                ..Caller::default()
            };
            let observation = client.observe(&caller, election, Some(after)).await;
            ready.wait().await;
            let outcome = match observation {
                Ok(observation) => follow(observation, after, &told).await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                // The driver may have given up already.
                let _ = told.send(Err(error));
            }
        })));
    }
    within("that everyone watches", ready.wait()).await?;
    let mut latency = Latency::default();
    for change in 0..CHANGES {
        tokio::time::sleep(PAUSE).await;
        let ordered = Instant::now();
        driver
            .execute(&Caller::default(), said(change.to_string()))
            .await?;
        let mut last = ordered;
        for _ in 0..watchers {
            let (number, at) = within("that everyone sees a change", seen.recv())
                .await?
                .ok_or_else(|| late("a change"))??;
            if number != change {
                let what = format!("an observer saw change {number} as number {change}");
                return Err(Failure::new(Exit::Refused, what));
            }
            last = last.max(at);
        }
        latency.record(last.saturating_duration_since(ordered));
    }
    Ok(Some(Watched {
        connections,
        watchers,
        changes: CHANGES,
        to_the_last: latency.summary(),
    }))
}

/// Tells of each change that follows the one before it, until something else is seen.
async fn follow(
    mut observation: Observation,
    mut last: u64,
    told: &mpsc::UnboundedSender<Result<(u32, Instant), Error>>,
) -> Result<(), Error> {
    for number in 0..CHANGES {
        let observed = observation.next().await.transpose()?;
        let at = Instant::now();
        match observed {
            Some(Observed::Change(change)) if change.previous == last => last = change.revision,
            other => {
                let what = format!("an observer missed a change after {last}: {other:?}");
                return Err(Error::new(quorate_core::error::Code::Internal, what));
            }
        }
        if told.send(Ok((number, at))).is_err() {
            break;
        }
    }
    Ok(())
}
