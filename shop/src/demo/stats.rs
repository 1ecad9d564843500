//! Latencies and counts, as a client sees them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use serde::Serialize;

/// Times of one kind of call.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Latency {
    /// How many.
    pub count: usize,
    /// Half of them took at most so long, in milliseconds.
    pub p50_ms: f64,
    /// 99 in 100 took at most so long, in milliseconds.
    pub p99_ms: f64,
    /// The slowest, in milliseconds.
    pub max_ms: f64,
}

impl Latency {
    /// The figures of these times.
    #[must_use]
    pub fn of(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        Self {
            count: micros.len(),
            p50_ms: quantile(&micros, 0.5),
            p99_ms: quantile(&micros, 0.99),
            max_ms: quantile(&micros, 1.0),
        }
    }
}

/// The nearest-rank quantile of sorted times, in milliseconds; 0 when there are none.
fn quantile(sorted: &[u64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let at = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).map_or(0.0, |&micros| micros as f64 / 1000.0)
}

#[derive(Debug, Default)]
struct Recorded {
    commands: BTreeMap<&'static str, Vec<u64>>,
    visible: Vec<u64>,
    refusals: BTreeMap<String, u64>,
}

/// What was measured so far. Shoppers wait for each answer before they go on (a closed loop), so a
/// slow shop is asked less; a command's time runs from its first sending to its answer, repeats
/// included.
#[derive(Debug, Default)]
pub struct Stats {
    recorded: Mutex<Recorded>,
}

impl Stats {
    /// A command of this kind was answered.
    pub fn command(&self, kind: &'static str, took: Duration) {
        self.lock()
            .commands
            .entry(kind)
            .or_default()
            .push(micros(took));
    }

    /// A command was refused with this code.
    pub fn refusal(&self, code: &str) {
        *self.lock().refusals.entry(code.to_owned()).or_default() += 1;
    }

    /// A read that asked for a command's position was answered so long after the command was.
    pub fn visible(&self, took: Duration) {
        self.lock().visible.push(micros(took));
    }

    /// All commands.
    #[must_use]
    pub fn all_commands(&self) -> Latency {
        Latency::of(self.lock().commands.values().flatten().copied().collect())
    }

    /// Commands by kind.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<&'static str, Latency> {
        let recorded = self.lock();
        let commands = recorded.commands.iter();
        commands
            .map(|(&kind, times)| (kind, Latency::of(times.clone())))
            .collect()
    }

    /// From a command's answer to the read that shows it.
    #[must_use]
    pub fn visibility(&self) -> Latency {
        Latency::of(self.lock().visible.clone())
    }

    /// Refusals by code.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        self.lock().refusals.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recorded> {
        self.recorded
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let latency = Latency::of((1..=200).map(|ms| ms * 1000).rev().collect());
        assert_eq!(
            (latency.p50_ms, latency.p99_ms, latency.max_ms),
            (100.0, 198.0, 200.0)
        );
        assert_eq!(Latency::of(vec![7000]).p99_ms, 7.0);
        assert_eq!(Latency::of(Vec::new()).p50_ms, 0.0);
    }
}
