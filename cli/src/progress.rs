//! Progress bars on terminals, and the patience of commands that watch.

use crate::errors::{Exit, Outcome};
use crate::output::Output;
use crate::view::bar_line;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quorate_work_queue::machine::{BatchView, JobView, State};
use std::time::{Duration, Instant};

/// A cluster may be away for so long before a command that watches gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries meanwhile.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// A bar on stderr, gone when dropped; nothing where nobody looks.
pub(crate) struct Bar(ProgressBar);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn bar(output: Output, template: &str) -> Bar {
    let target = if output.interactive() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    Bar(ProgressBar::with_draw_target(Some(0), target).with_style(style))
}

/// The bar of a batch: children that are final, of all.
pub(crate) struct BatchBar(Bar);

pub(crate) fn batch_bar(output: Output) -> BatchBar {
    BatchBar(bar(output, "{prefix} [{bar:20}] {pos}/{len} {msg}"))
}

impl BatchBar {
    /// Says something that needs a person, above the bar, or plainly where there is none.
    pub(crate) fn say(&self, text: &str) {
        let bar = &self.0.0;
        if bar.is_hidden() {
            eprintln!("{text}");
        } else {
            bar.println(text);
        }
    }

    pub(crate) fn show(&self, view: &BatchView) {
        let counts = view.counts;
        let finished = counts.completed + counts.cancelled + view.skipped.min(counts.dead);
        let all = counts.ready
            + counts.delayed
            + counts.leased
            + counts.completed
            + counts.dead
            + counts.cancelled;
        let bar = &self.0.0;
        bar.set_length(view.expected.map_or(all, u64::from));
        bar.set_position(finished);
        bar.set_prefix(view.id.to_string());
        bar.set_message(bar_line(view));
    }
}

/// The bar of a job: what its worker reports.
pub(crate) struct JobBar(Bar);

pub(crate) fn job_bar(output: Output) -> JobBar {
    JobBar(bar(output, "{prefix} [{bar:20}] {percent} % {msg}"))
}

impl JobBar {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "per mille of a bar; a float cast saturates"
    )]
    pub(crate) fn show(&self, view: &JobView) {
        const WHOLE: u64 = 1_000;
        let bar = &self.0.0;
        bar.set_length(WHOLE);
        let (mut done, mut text) = (0, String::new());
        if let Some(progress) = &view.progress {
            if progress.total > 0.0 {
                done = (progress.done / progress.total * 1_000.0) as u64;
            }
            text = progress.message.to_string();
        }
        let state = match view.state {
            State::Leased => "running",
            State::Ready | State::Delayed => "waiting",
            State::Completed | State::Dead | State::Cancelled => "final",
        };
        bar.set_position(done.min(WHOLE));
        bar.set_prefix(view.id.to_string());
        bar.set_message(format!("{state}, attempt {} {text}", view.attempts.len()));
    }
}

/// Repeats a question while the cluster is away: who watches a batch for an hour wants to survive a
/// change of leader. Gives up after a minute without any answer.
pub(crate) async fn patiently<T, F>(output: Output, mut ask: impl FnMut() -> F) -> Outcome<T>
where
    F: Future<Output = Outcome<T>>,
{
    let since = Instant::now();
    let mut told = false;
    loop {
        match ask().await {
            Err(failure)
                if matches!(failure.exit, Exit::Unavailable | Exit::Temporary)
                    && since.elapsed() < PATIENCE =>
            {
                if !told {
                    output.note(format!("waiting for the cluster: {failure}"));
                    told = true;
                }
                tokio::time::sleep(RETRY_EVERY).await;
            }
            outcome => return outcome,
        }
    }
}
