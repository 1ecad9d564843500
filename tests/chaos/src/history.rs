//! What clients asked and were told, and when they had success.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// One line of JSON for everything that was asked or told, for the checker.
pub(crate) struct History {
    began: Instant,
    /// What is written; once a line could not be, why.
    lines: Mutex<io::Result<BufWriter<File>>>,
}

impl History {
    pub(crate) fn create(path: &Path, began: Instant) -> anyhow::Result<Self> {
        let file = File::create(path).context("creating the history")?;
        Ok(Self {
            began,
            lines: Mutex::new(Ok(BufWriter::new(file))),
        })
    }

    /// Writes `entry`, with the time.
    pub(crate) fn note(&self, mut entry: Value) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        // Of one process, so that order in it is real.
        let at_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        entry["at_us"] = json!(at_us);
        entry["time_ms"] =
            json!(now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX)));
        let mut lines = lock(&self.lines);
        if let Ok(file) = lines.as_mut()
            && let Err(error) = writeln!(file, "{entry}").and_then(|()| file.flush())
        {
            *lines = Err(error);
        }
    }

    /// Fails when something is not in it that should be: what nobody wrote down nobody judges.
    pub(crate) fn is_whole(&self) -> anyhow::Result<()> {
        match &*lock(&self.lines) {
            Ok(_) => Ok(()),
            Err(error) => bail!("the history could not be written: {error}"),
        }
    }
}

/// When something was answered with success.
#[derive(Default)]
pub(crate) struct Answers(Mutex<Vec<Instant>>);

impl Answers {
    #[cfg(test)]
    pub(crate) const fn at(times: Vec<Instant>) -> Self {
        Self(Mutex::new(times))
    }

    pub(crate) fn note(&self) {
        lock(&self.0).push(Instant::now());
    }

    /// Successes between two times.
    pub(crate) fn count(&self, from: Instant, to: Instant) -> usize {
        let answered = lock(&self.0);
        answered.partition_point(|at| *at < to) - answered.partition_point(|at| *at < from)
    }

    /// The longest time without a success that touches what lies between `from` and `to`.
    pub(crate) fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let answered = lock(&self.0);
        let begin = answered.partition_point(|at| *at < from);
        let before = begin.checked_sub(1).and_then(|last| answered.get(last));
        let mut longest = Duration::ZERO;
        let mut last = before.copied().unwrap_or(from);
        for at in answered[begin..].iter().copied().chain([to]) {
            longest = longest.max(at.saturating_duration_since(last));
            if at > to {
                break;
            }
            last = last.max(at);
        }
        longest
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_says_that_a_line_could_not_be_written() {
        let whole = History::create(Path::new("/dev/null"), Instant::now()).unwrap();
        whole.note(json!({"event": "invoke"}));
        assert!(whole.is_whole().is_ok());
        let full = History::create(Path::new("/dev/full"), Instant::now()).unwrap();
        full.note(json!({"event": "invoke"}));
        let error = full.is_whole().unwrap_err().to_string();
        assert!(error.contains("could not be written"), "{error}");
    }

    #[test]
    fn a_gap_reaches_over_both_ends_and_begins_with_the_fault_when_nothing_was_before() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let gap = |answers: &[u64], from, to| {
            let answers = answers.iter().map(|second| at(*second)).collect();
            let gap = Answers::at(answers).longest_gap(at(from), at(to));
            gap.as_secs()
        };
        assert_eq!(gap(&[], 2, 9), 7);
        assert_eq!(gap(&[7], 2, 9), 5);
        assert_eq!(gap(&[1, 7, 8], 2, 9), 6);
        assert_eq!(gap(&[1, 3, 12], 2, 9), 9);
        assert_eq!(gap(&[1, 2, 3], 2, 3), 1);
    }
}
