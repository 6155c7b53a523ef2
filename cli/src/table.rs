//! Plain aligned columns, as `kubectl` and `docker` print them: no frames, so that `awk` and `cut`
//! work on what a person reads.

use std::fmt::{Display, Write as _};
use unicode_width::UnicodeWidthStr;

/// Space between columns.
const GAP: &str = "  ";

/// Rows of text under one line of headings, or a list of names and values.
#[derive(Debug, Default)]
pub(crate) struct Table {
    heads: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
    /// Text below the table: logs, results.
    tail: String,
}

impl Table {
    /// A table with these headings. A heading that begins with `>` is of a column of numbers, which is
    /// aligned to the right.
    pub(crate) fn new(heads: &[&'static str]) -> Self {
        Self {
            heads: heads.iter().map(|h| h.trim_start_matches('>')).collect(),
            right: heads.iter().map(|h| h.starts_with('>')).collect(),
            ..Self::default()
        }
    }

    /// A list of names and values, without headings.
    pub(crate) fn fields() -> Self {
        Self::default()
    }

    /// Adds a row. Cells are cleaned of control characters: what users name things must not drive a
    /// terminal.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&dyn Display; N]) -> &mut Self {
        self.rows
            .push(cells.map(|cell| clean(&cell.to_string())).into());
        self
    }

    /// Adds a name and a value.
    pub(crate) fn field(&mut self, name: &str, value: &dyn Display) -> &mut Self {
        self.row([&name, value])
    }

    /// Adds a name and a value if there is one.
    pub(crate) fn field_if(&mut self, name: &str, value: Option<&dyn Display>) -> &mut Self {
        if let Some(value) = value {
            self.field(name, value);
        }
        self
    }

    /// Adds text below everything.
    pub(crate) fn below(&mut self, text: &str) -> &mut Self {
        for line in text.lines() {
            self.tail.push_str(&clean(line));
            self.tail.push('\n');
        }
        self
    }

    /// Another table below this one, after an empty line.
    pub(crate) fn then(&mut self, table: &Self) -> &mut Self {
        let _ = write!(self.tail, "\n{}", table.to_text(false));
        self
    }

    /// The text, headings in bold if `color`.
    pub(crate) fn to_text(&self, color: bool) -> String {
        let columns = self
            .rows
            .iter()
            .map(Vec::len)
            .max()
            .unwrap_or(0)
            .max(self.heads.len());
        let mut widths = vec![0; columns];
        for (column, head) in self.heads.iter().enumerate() {
            widths[column] = head.width();
        }
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                widths[column] = widths[column].max(cell.width());
            }
        }
        let mut text = String::new();
        if !self.heads.is_empty() {
            let heads: Vec<String> = self.heads.iter().map(|h| (*h).to_owned()).collect();
            let line = self.line(&heads, &widths);
            if color {
                let _ = writeln!(text, "\x1b[1m{line}\x1b[0m");
            } else {
                let _ = writeln!(text, "{line}");
            }
        }
        for row in &self.rows {
            let _ = writeln!(text, "{}", self.line(row, &widths));
        }
        text + &self.tail
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let pad = " ".repeat(widths[column].saturating_sub(cell.width()));
            if column > 0 {
                line.push_str(GAP);
            }
            if self.right.get(column).copied().unwrap_or(false) {
                line.push_str(&pad);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&pad);
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The text without control characters, tabs as spaces.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&["NAME", ">READY"]);
        table.row([&"encode", &7]).row([&"größe", &12345]);
        assert_eq!(
            table.to_text(false),
            "NAME    READY\nencode      7\ngröße   12345\n"
        );
    }

    #[test]
    fn text_of_users_cannot_drive_the_terminal() {
        let mut table = Table::fields();
        table
            .field("error", &"\x1b[31mred\x07\tend")
            .below("a\x1b]0;title\x07\nb");
        assert_eq!(table.to_text(false), "error  [31mred end\na]0;title\nb\n");
    }
}
