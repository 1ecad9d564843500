//! What a command says: text for people, JSON for programs.

use std::borrow::Cow;
use std::fmt::Display;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

/// Where a command's results go: standard output, in one of two forms. Progress and remarks go to
/// standard error, so that the result can be piped.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// JSON, or text.
    #[must_use]
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether programs are reading.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// The command's result: `value` as JSON, or what `text` makes of it.
    pub fn result<T: Serialize, D: Display>(&self, value: &T, text: impl FnOnce(&T) -> D) {
        match self.json {
            true => match serde_json::to_string_pretty(value) {
                Ok(json) => println!("{json}"),
                Err(error) => eprintln!("cartwright-replay: {error}"),
            },
            false => println!("{}", text(value).to_string().trim_end()),
        }
    }

    /// What went wrong, in one line on standard error; for programs also as the command's result, in
    /// place of any other.
    pub fn error(&self, error: impl Display, refused: bool) {
        let line = error.to_string().replace('\n', " ");
        if self.json {
            println!("{}", json!({"error": line, "refused": refused}));
        }
        eprintln!("cartwright-replay: {line}");
    }

    /// Something that whoever asked should know, on standard error in either form.
    pub fn warn(&self, text: impl Display) {
        eprintln!("cartwright-replay: {text}");
    }

    /// A remark for people; programs are not told.
    pub fn remark(&self, text: impl Display) {
        if !self.json {
            eprintln!("{text}");
        }
    }
}

/// The look of a bar that people watch, and of what takes nobody knows how long.
const BAR: &str = "{prefix} [{wide_bar}] {percent}% {msg}";
const SPINNER: &str = "{spinner} {prefix} {msg}";

impl Output {
    /// A bar for people, on standard error, until it is finished; what is its whole is told as soon as it is
    /// known. Programs see none.
    #[must_use]
    pub fn bar(&self, of: impl Into<Cow<'static, str>>) -> ProgressBar {
        self.progress(BAR, of.into())
    }

    /// The same for something whose whole is not known.
    #[must_use]
    pub fn spinner(&self, of: impl Into<Cow<'static, str>>) -> ProgressBar {
        self.progress(SPINNER, of.into())
    }

    fn progress(&self, look: &str, of: Cow<'static, str>) -> ProgressBar {
        if self.json {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(0).with_prefix(of);
        match ProgressStyle::with_template(look) {
            Ok(style) => bar.with_style(style.progress_chars("=> ")),
            Err(_) => bar,
        }
    }
}

/// Lines of columns, each as wide as its widest cell; numbers to the right.
#[must_use]
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index));
        let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        longest.max(header.get(index).map_or(0, |cell| cell.chars().count()))
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let is_number = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| {
            let room = " ".repeat(width.saturating_sub(cell.chars().count()));
            match is_number(cell) {
                true => format!("{room}{cell}"),
                false => format!("{cell}{room}"),
            }
        });
        let cells: Vec<String> = cells.collect();
        cells.join("  ").trim_end().to_owned()
    };
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let lines = [line(&header)].into_iter();
    let lines = lines.chain(rows.iter().map(|row| line(row)));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["orders".to_owned(), "12".to_owned()],
            vec!["a".to_owned(), "7".to_owned()],
        ];
        assert_eq!(
            table(&["projection", "version"], &rows),
            "projection  version\norders           12\na                 7"
        );
    }
}
