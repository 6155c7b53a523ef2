//! What people read: numbered steps, facts, a table, a bar on terminals. All on standard output, but
//! the bar, which is on standard error.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::Write as _;
use std::time::Instant;

/// A line on standard output.
pub fn line(what: impl Display) {
    // If nobody reads on, the work goes on all the same: its exit code tells the outcome.
    let _closed = writeln!(std::io::stdout().lock(), "{what}");
}

/// Tells how a piece of work goes on.
pub struct Teller {
    step: u32,
    began: Instant,
    bar: ProgressBar,
}

impl Default for Teller {
    fn default() -> Self {
        Self::new()
    }
}

impl Teller {
    /// Begins at step 1.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self {
            step: 0,
            began: Instant::now(),
            bar,
        }
    }

    /// Begins the next step.
    pub fn step(&mut self, what: impl Display) {
        self.step += 1;
        let elapsed = self.began.elapsed().as_secs_f64();
        self.line(format_args!("\n[{}] {what}  ({elapsed:.1} s)", self.step));
    }

    /// A fact within a step.
    pub fn fact(&self, what: impl Display) {
        self.line(format_args!("    {what}"));
    }

    /// A line as it is.
    pub fn line(&self, what: impl Display) {
        self.bar.suspend(|| line(what));
    }

    /// Shows a bar of so many jobs, if standard error is a terminal.
    pub fn start_bar(&mut self, jobs: u64) {
        let bar = ProgressBar::new(jobs);
        let style = "    {bar:40} {pos}/{len} jobs done, {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        self.bar = bar;
    }

    /// How far the bar is.
    pub fn set_bar(&self, done: u64, message: impl Into<String>) {
        self.bar.set_position(done);
        self.bar.set_message(message.into());
    }

    /// Takes the bar away.
    pub fn end_bar(&mut self) {
        self.bar.finish_and_clear();
        self.bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
}

/// A table with its columns aligned: text to the left, numbers to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(title.chars().count())
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| {
                let number = cell.parse::<f64>().is_ok();
                match number {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                }
            })
            .collect();
        format!("    {}", padded.join("  ")).trim_end().to_owned()
    };
    let mut lines = vec![line(&mut head.iter().copied())];
    lines.extend(
        rows.iter()
            .map(|row| line(&mut row.iter().map(String::as_str))),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_text_left_and_numbers_right() {
        let rows = vec![
            vec!["chunk 0".into(), "1".into()],
            vec!["join".into(), "12".into()],
        ];
        assert_eq!(
            table(&["job", "attempts"], &rows),
            "    job      attempts\n    chunk 0         1\n    join           12"
        );
    }
}
