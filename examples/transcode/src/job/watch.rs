//! Follows a batch to its end.

use super::batch;
use super::history;
use super::remote::Remote;
use anyhow::{anyhow, bail};
use quorate_core::types::Name;
use quorate_work_queue::machine::{BatchId, BatchState, Blob, JobId, State};
use std::time::{Duration, Instant};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(250);

/// How far a batch is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Jobs done.
    pub done: u64,
    /// Jobs in all, the join aside.
    pub jobs: u64,
    /// Jobs that a worker has.
    pub running: u64,
    /// All are done and the join is at work.
    pub joining: bool,
}

impl Standing {
    /// The share that is done, from 0 to 1.
    pub fn share(&self) -> f64 {
        match self.jobs {
            0 => 0.0,
            jobs => self.done as f64 / jobs as f64,
        }
    }
}

/// Looks once. Answers the join's job when the batch is complete, an error when it never will be.
pub async fn look(
    remote: &Remote,
    queue: &Name,
    key: &str,
    id: BatchId,
) -> anyhow::Result<(Standing, Option<JobId>)> {
    let view = batch::view(remote, id).await?;
    let counts = view.counts;
    let standing = Standing {
        done: counts.completed,
        jobs: view
            .expected
            .map_or_else(|| counts.completed + counts.ready, u64::from),
        running: counts.leased,
        joining: view.state == BatchState::Joining,
    };
    match view.state {
        BatchState::Completed => {
            let join = view
                .join
                .ok_or_else(|| anyhow!("{id} is complete without a join"))?;
            Ok((standing, Some(join)))
        }
        BatchState::Held | BatchState::Dead => {
            let reasons = history::dead(remote, queue, key).await?;
            bail!("{}", dead_letter(id, &reasons))
        }
        BatchState::Cancelled => bail!(
            "{id} was cancelled; start again with --again to transcode the film in a new batch"
        ),
        _ => Ok((standing, None)),
    }
}

/// Follows the batch until it is complete; `on_change` sees how it stands at each look. Gives up if
/// nothing is done for `patience`.
pub async fn follow(
    remote: &Remote,
    queue: &Name,
    key: &str,
    id: BatchId,
    patience: Duration,
    mut on_look: impl FnMut(Standing),
) -> anyhow::Result<JobId> {
    let mut last = (Standing::default(), Instant::now());
    loop {
        let (standing, join) = look(remote, queue, key, id).await?;
        on_look(standing);
        if let Some(join) = join {
            return Ok(join);
        }
        if standing.done != last.0.done || standing.joining != last.0.joining {
            last = (standing, Instant::now());
        } else if last.1.elapsed() > patience {
            bail!(
                "no job of {id} was done for {} s ({} of {} are); are workers running? \
                 start them with: quorate work {queue} -- transcode item",
                patience.as_secs(),
                standing.done,
                standing.jobs
            );
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The film that a completed join left in the blob store.
pub async fn film(remote: &Remote, join: JobId) -> anyhow::Result<Blob> {
    let view = history::job(remote, join).await?;
    match (view.state, &view.outputs[..]) {
        (State::Completed, [film]) => Ok(film.clone()),
        (state, outputs) => Err(anyhow!(
            "the join {join} is {state:?} with {} files",
            outputs.len()
        )),
    }
}

fn dead_letter(id: BatchId, dead: &[history::Dead]) -> String {
    let mut text = format!(
        "{} of {id} can never be done, so the film cannot be joined:",
        match dead.len() {
            1 => "a job".to_owned(),
            n => format!("{n} jobs"),
        }
    );
    for job in dead {
        text.push_str(&format!("\n  {} ({}): {}", job.name, job.id, job.reason));
    }
    text.push_str(
        "\nMend the film and start again, or run the same command again to retry these jobs.",
    );
    text
}
