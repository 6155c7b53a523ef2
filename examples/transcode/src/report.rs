//! The closing account of a film: its jobs, its attempts, its times, its checks.

use crate::film::verify::Check;
use crate::job::baseline::Baseline;
use crate::job::history;
use crate::say;
use quorate_work_queue::machine::{AttemptOutcome, JobView};

/// Tables longer than this show only the jobs that needed more than one attempt.
const ROWS_MAX: usize = 40;

/// How long each part took, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Reading, planning, splitting, storing.
    pub prepare_s: f64,
    /// From the submission to the last chunk.
    pub encode_s: f64,
    /// From the last chunk to the joined film.
    pub join_s: f64,
}

impl Times {
    /// From the film as it came to the film as it shall be.
    pub fn total_s(&self) -> f64 {
        self.prepare_s + self.encode_s + self.join_s
    }
}

/// One row a job: attempts, who did it, how long the successful attempt took, what happened before.
pub fn jobs(jobs: &[JobView]) -> String {
    let interesting = |job: &&JobView| jobs.len() <= ROWS_MAX || job.attempts.len() > 1;
    let rows: Vec<Vec<String>> = jobs.iter().filter(interesting).map(row).collect();
    let mut text = say::table(&["job", "attempts", "worker", "seconds", "before"], &rows);
    let hidden = jobs.len() - rows.len();
    if hidden > 0 {
        text.push_str(&format!(
            "\n    and {hidden} jobs done at the first attempt"
        ));
    }
    text
}

fn row(job: &JobView) -> Vec<String> {
    let last = job.attempts.last();
    let before: Vec<String> = job
        .attempts
        .iter()
        .filter(|attempt| attempt.outcome != Some(AttemptOutcome::Completed))
        .map(|attempt| {
            let outcome = attempt.outcome.map_or("running", outcome_name);
            format!("{outcome} on {}", attempt.worker)
        })
        .collect();
    vec![
        history::name(job),
        job.attempts.len().to_string(),
        last.map_or_else(String::new, |attempt| attempt.worker.to_string()),
        last.and_then(history::seconds)
            .map_or_else(String::new, |seconds| format!("{seconds:.1}")),
        before.join(", "),
    ]
}

fn outcome_name(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Completed => "completed",
        AttemptOutcome::Failed => "failed",
        AttemptOutcome::Lost => "lost",
        AttemptOutcome::Released => "given back",
        AttemptOutcome::Unclaimed => "never arrived",
        AttemptOutcome::Stalled => "stalled",
        AttemptOutcome::Cancelled => "cancelled",
    }
}

/// One row a check.
pub fn checks(checks: &[Check]) -> String {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let verdict = match check.passed {
                Some(true) => "ok",
                Some(false) => "FAILED",
                None => "skipped",
            };
            vec![
                check.name.to_owned(),
                verdict.to_owned(),
                check.seen.clone(),
            ]
        })
        .collect();
    say::table(&["check", "", "seen"], &rows)
}

/// How long it took, and how much faster than one ffmpeg that is.
pub fn speed(times: &Times, baseline: Option<&Baseline>, cores: usize) -> String {
    let total = times.total_s();
    let mut rows = vec![vec![
        "this queue".to_owned(),
        format!("{total:.1}"),
        String::new(),
        format!(
            "prepare {:.1}, encode {:.1}, join {:.1}",
            times.prepare_s, times.encode_s, times.join_s
        ),
    ]];
    if let Some(baseline) = baseline {
        let note = match baseline.excerpt_s {
            Some(seconds) => format!("scaled from {seconds:.0} s of the film"),
            None => format!("measured, on {cores} cores"),
        };
        for (name, seconds) in [
            ("one ffmpeg, default threads", baseline.default_threads_s),
            ("one ffmpeg, one thread", baseline.one_thread_s),
        ] {
            rows.push(vec![
                name.to_owned(),
                format!("{seconds:.1}"),
                format!("{:.2}x", seconds / total),
                note.clone(),
            ]);
        }
    }
    say::table(&["", "seconds", "speed-up", ""], &rows)
}
