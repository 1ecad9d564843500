//! What the user sees while things download and boot: a live line for each part on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Takes what happens to each part and shows it.
#[derive(Debug)]
pub enum Progress {
    /// Shows nothing.
    Silent,
    /// One line for each change, on standard error.
    Plain,
    /// One live line for each part, on standard error.
    Live(Bars),
}

/// The live lines.
#[derive(Debug, Default)]
pub struct Bars {
    all: MultiProgress,
    by_name: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Progress {
    /// Live on a terminal, plain lines elsewhere.
    pub fn for_stderr() -> Self {
        if std::io::stderr().is_terminal() {
            Progress::Live(Bars::default())
        } else {
            Progress::Plain
        }
    }

    /// Something changed and goes on.
    pub fn step(&self, name: &str, message: &str) {
        match self {
            Progress::Silent => {}
            Progress::Plain => eprintln!("{name:<12} {message}"),
            Progress::Live(bars) => bars.bar(name).set_message(message.to_owned()),
        }
    }

    /// A detail of a running step: shown where lines are live, left out of plain output.
    pub fn detail(&self, name: &str, message: &str) {
        if let Progress::Live(bars) = self {
            bars.bar(name).set_message(message.to_owned());
        }
    }

    /// A step came to its end.
    pub fn done(&self, name: &str, message: &str) {
        match self {
            Progress::Live(bars) => bars.bar(name).finish_with_message(format!("✓ {message}")),
            _ => self.step(name, message),
        }
    }

    /// A step failed; the error itself is told by whoever gets it.
    pub fn failed(&self, name: &str) {
        match self {
            Progress::Live(bars) => bars.bar(name).abandon_with_message("✗ failed"),
            _ => self.step(name, "failed"),
        }
    }

    /// A line that stays, above what is live.
    pub fn note(&self, line: &str) {
        match self {
            Progress::Silent => {}
            Progress::Plain => eprintln!("{line}"),
            Progress::Live(bars) => {
                // A line that cannot be shown is no reason to fail.
                let _ = bars.all.println(line);
            }
        }
    }
}

impl Bars {
    fn bar(&self, name: &str) -> ProgressBar {
        let mut by_name = self
            .by_name
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        by_name
            .entry(name.to_owned())
            .or_insert_with(|| {
                let style =
                    ProgressStyle::with_template("{prefix:<12} {spinner} {msg} {elapsed:.dim}")
                        .unwrap_or_else(|_| ProgressStyle::default_spinner());
                let bar = self.all.add(ProgressBar::new_spinner());
                bar.set_style(style);
                bar.set_prefix(name.to_owned());
                bar.enable_steady_tick(Duration::from_millis(100));
                bar
            })
            .clone()
    }
}
