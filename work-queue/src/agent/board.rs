//! What people see of a running agent, on standard error only: a live bar for each busy slot on a
//! terminal, else a line when a job begins, ends, and now and then between.

use crate::machine::{Lease, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How to show what goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Display {
    /// Bars on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// Lines through `tracing`.
    Lines,
    /// Nothing.
    Off,
}

/// Between two lines about the same job when there are no bars.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Redraws in a second, at the most.
const DRAWS_PER_SECOND: u8 = 8;

/// The board of one agent.
#[derive(Debug)]
pub(crate) struct Board {
    bars: Option<MultiProgress>,
    lines: bool,
    color: bool,
}

/// One job on it. Goes when dropped.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    board: &'a Board,
    name: String,
    bar: Option<ProgressBar>,
    began: Instant,
    line_at: Mutex<Instant>,
}

impl Board {
    pub(crate) fn new(display: Display) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bars = (display == Display::Auto && terminal).then(|| {
            MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND))
        });
        Self {
            lines: bars.is_none() && display != Display::Off,
            bars,
            // https://no-color.org: present and not empty.
            color: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    /// A job begins in `slot`.
    pub(crate) fn begin(&self, slot: usize, lease: &Lease) -> Entry<'_> {
        let name = match lease.batch {
            Some((_, index)) => format!("{} #{index}", lease.job),
            None if lease.joins.is_some() => format!("{} join", lease.job),
            None => lease.job.to_string(),
        };
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::no_length());
            bar.set_style(style(self.color, false));
            bar.set_prefix(format!("[{slot}] {name} try {}", lease.attempt));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        if self.lines {
            tracing::info!(job = %name, slot, attempt = lease.attempt, "job begins");
        }
        Entry {
            board: self,
            name,
            bar,
            began: Instant::now(),
            line_at: Mutex::new(Instant::now()),
        }
    }
}

impl Entry<'_> {
    /// The job is so far.
    pub(crate) fn progress(&self, progress: &Progress) {
        if let Some(bar) = &self.bar {
            let known = progress.total > 0.0;
            if known != bar.length().is_some() {
                bar.set_style(style(self.board.color, known));
            }
            // Thousandths, so that fractions of a unit show.
            if known {
                bar.set_length(thousandths(progress.total));
                bar.set_position(thousandths(progress.done.min(progress.total)));
            }
            bar.set_message(text(progress));
        } else if self.board.lines {
            let mut at = self.line_at.lock().unwrap_or_else(PoisonError::into_inner);
            if at.elapsed() >= LINE_EVERY {
                *at = Instant::now();
                tracing::info!(job = %self.name, progress = %text(progress), "job runs");
            }
        }
    }

    /// The job ended; `how` in a few words.
    pub(crate) fn end(&self, how: &str) {
        let took = humantime::format_duration(Duration::from_millis(
            u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        ));
        if let Some(bars) = &self.board.bars {
            // The line stays above the bars; a terminal that went away is no failure.
            let _ = bars.println(format!("{} {how} after {took}", self.name));
        } else if self.board.lines {
            tracing::info!(job = %self.name, %took, "job {how}");
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn thousandths(amount: f64) -> u64 {
    // Saturates, and amounts are checked to be finite and not negative.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "for a bar on a screen"
    )]
    let thousandths = (amount * 1000.0) as u64;
    thousandths
}

fn text(progress: &Progress) -> String {
    let Progress {
        done,
        total,
        unit,
        message,
    } = progress;
    let digits = usize::from(done.fract() != 0.0 || total.fract() != 0.0);
    let amount = if *total > 0.0 {
        format!("{done:.digits$}/{total:.digits$} {unit}")
    } else {
        format!("{done:.digits$} {unit}")
    };
    if message.is_empty() {
        amount
    } else {
        format!("{amount}, {message}")
    }
}

fn style(color: bool, known: bool) -> ProgressStyle {
    let template = match (color, known) {
        (true, true) => "{prefix} {bar:24.cyan/dim} {percent:>3}% {msg} {elapsed}",
        (false, true) => "{prefix} {bar:24} {percent:>3}% {msg} {elapsed}",
        (_, false) => "{prefix} {spinner} {msg} {elapsed}",
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
