//! What became of each job of a film, as the queue recorded it.

use super::batch::LABEL;
use super::remote::{Remote, misfit};
use quorate_core::error::Error;
use quorate_core::types::Name;
use quorate_work_queue::machine::{
    Answer, Attempt, AttemptOutcome, JobId, JobView, Query, State, limits,
};
use std::sync::Arc;

/// Characters of a reason that are shown.
const REASON_MAX: usize = 600;

/// A job that died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Its id.
    pub id: JobId,
    /// What it was, for people.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// One job as the queue knows it.
pub async fn job(remote: &Remote, job: JobId) -> Result<JobView, Error> {
    match remote.ask(Query::Job { job }).await? {
        Answer::Job(view) => Ok(*view),
        _ => Err(misfit()),
    }
}

/// All jobs of a film, its join among them, in the order they were enqueued; only those in `state` if
/// given.
pub async fn jobs(
    remote: &Remote,
    queue: &Name,
    key: &str,
    state: Option<State>,
) -> Result<Vec<JobView>, Error> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = Query::Jobs {
            queue: queue.clone(),
            state,
            label: Some((Arc::from(LABEL), Arc::from(key))),
            after,
            limit: limits::PAGE_MAX,
        };
        match remote.ask(page).await? {
            Answer::Jobs(jobs, next) => {
                all.extend(jobs);
                match next {
                    Some(next) => after = Some(next),
                    None => return Ok(all),
                }
            }
            _ => return Err(misfit()),
        }
    }
}

/// The dead jobs of a film with what their last worker said.
pub async fn dead(remote: &Remote, queue: &Name, key: &str) -> Result<Vec<Dead>, Error> {
    let dead = jobs(remote, queue, key, Some(State::Dead)).await?;
    let chunks = dead.iter().map(|view| Dead {
        id: view.id,
        name: name(view),
        reason: reason(view),
    });
    Ok(chunks.collect())
}

/// What a job does, for people.
pub fn name(view: &JobView) -> String {
    match (
        view.job.batch,
        view.job.payload.starts_with(b"{\"kind\":\"audio\""),
    ) {
        (None, _) => "join".to_owned(),
        (Some(_), true) => "sound".to_owned(),
        (Some((_, index)), false) => format!("chunk {index}"),
    }
}

/// Its recorded completions: exactly one for a job that is done.
pub fn completions(view: &JobView) -> usize {
    outcomes(view, AttemptOutcome::Completed)
}

/// How many attempts ended in this way.
pub fn outcomes(view: &JobView, outcome: AttemptOutcome) -> usize {
    let ended = |attempt: &&Attempt| attempt.outcome == Some(outcome);
    view.attempts.iter().filter(ended).count()
}

/// From the grant to the end of an attempt, in seconds of the queue's time.
pub fn seconds(attempt: &Attempt) -> Option<f64> {
    Some(attempt.ended?.since_ms(attempt.started) as f64 / 1e3)
}

fn reason(view: &JobView) -> String {
    let last = view.attempts.last();
    let said = last.map_or("", |attempt| attempt.log_tail.trim());
    let error = last.map_or("", |attempt| attempt.error.trim());
    let text = match (said.lines().last(), error) {
        (Some(line), "") => line.to_owned(),
        (Some(line), error) if error.contains(line) => error.to_owned(),
        (Some(line), error) => format!("{error}: {line}"),
        (None, "") => view.dead_reason.to_string(),
        (None, error) => error.to_owned(),
    };
    text.chars().take(REASON_MAX).collect()
}
