//! Nothing lost, nothing done twice: counted from what the queue recorded.

use super::crashes::Crashes;
use crate::film::verify::Check;
use crate::item::Made;
use crate::job::history;
use crate::job::prepared::Prepared;
use quorate_work_queue::machine::{AttemptOutcome, BatchView, JobView, State};
use std::collections::BTreeSet;

/// Audits the jobs of a film against its plan.
pub fn audit(
    prepared: &Prepared,
    batch: &BatchView,
    jobs: &[JobView],
    crashes: &Crashes,
) -> Vec<Check> {
    let planned = prepared.chunks.len() + prepared.audio.iter().len();
    let places: BTreeSet<u32> = jobs
        .iter()
        .filter_map(|job| job.job.batch.map(|b| b.1))
        .collect();
    let children = jobs.iter().filter(|job| job.job.batch.is_some()).count();
    let joins: Vec<&JobView> = jobs.iter().filter(|job| job.job.batch.is_none()).collect();
    let done = jobs
        .iter()
        .filter(|job| job.state == State::Completed)
        .count();
    let once = jobs
        .iter()
        .filter(|job| history::completions(job) == 1)
        .count();
    let frames: u64 = jobs
        .iter()
        .filter(|job| job.job.batch.is_some())
        .filter_map(|job| serde_json::from_slice::<Made>(job.result.as_deref()?).ok())
        .map(|made| u64::from(made.frames))
        .sum();
    let robbed = jobs.iter().find(|job| job.id == crashes.robbed);
    let repeated = jobs.iter().filter(|job| job.attempts.len() > 1).count();
    vec![
        check(
            "nothing lost",
            children == planned
                && places.len() == planned
                && batch.counts.completed == planned as u64
                && done == jobs.len()
                && frames == u64::from(prepared.plan.frames),
            format!(
                "{done} of {} jobs completed, {frames} frames encoded",
                planned + 1
            ),
        ),
        check(
            "nothing twice",
            once == jobs.len(),
            format!(
                "{once} of {} jobs have exactly one recorded completion",
                jobs.len()
            ),
        ),
        check(
            "joined once",
            joins.len() == 1 && batch.join == joins.first().map(|join| join.id),
            format!("{} join", joins.len()),
        ),
        check(
            "second attempt",
            robbed.is_some_and(|job| {
                job.attempts.len() > 1
                    && history::outcomes(job, AttemptOutcome::Lost) > 0
                    && history::completions(job) == 1
            }),
            match robbed {
                Some(job) => format!(
                    "{} took {} attempts; {repeated} jobs took more than one",
                    history::name(job),
                    job.attempts.len()
                ),
                None => "the job of the killed worker is gone".to_owned(),
            },
        ),
    ]
}

fn check(name: &'static str, passed: bool, seen: String) -> Check {
    Check {
        name,
        passed: Some(passed),
        seen,
    }
}
