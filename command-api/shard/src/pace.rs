//! How long what waits will take, for those who are refused because too much waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a caller is told at least, and at most, in milliseconds: never to come back at once, and never to
/// stay away for long in vain.
const LEAST_MS: u64 = 50;
const MOST_MS: u64 = 30_000;

/// How fast a queue of commands is worked off, and how many of them are being worked on. A cheap handle,
/// for whoever works it off and whoever refuses what does not fit.
#[derive(Debug, Clone, Default)]
pub struct Pace(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// 0 before the first is done.
    micros_each: AtomicU64,
    in_hand: AtomicU64,
}

impl Pace {
    /// So many commands are out of the queue and being worked on.
    pub fn take(&self, commands: usize) {
        self.0.in_hand.store(commands as u64, Ordering::Relaxed);
    }

    /// So many of them are done, which took `took`; the others, `left`, are still in hand.
    pub fn done(&self, commands: usize, left: usize, took: Duration) {
        self.take(left);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX / 8);
        let Some(each) = micros.checked_div(commands as u64) else {
            return;
        };
        let each = match self.0.micros_each.load(Ordering::Relaxed) {
            0 => each,
            before => (before.saturating_mul(7) + each) / 8,
        };
        self.0.micros_each.store(each, Ordering::Relaxed);
    }

    /// After how long those in hand and `waiting` more should be done, in milliseconds.
    #[must_use]
    pub fn retry_after_ms(&self, waiting: usize) -> u64 {
        let before = self.0.in_hand.load(Ordering::Relaxed) + waiting as u64;
        let each = self.0.micros_each.load(Ordering::Relaxed);
        bounded_ms(before.saturating_mul(each) / 1_000)
    }
}

/// What a caller is told who should wait for so long.
pub(crate) fn bounded_ms(millis: u64) -> u64 {
    millis.clamp(LEAST_MS, MOST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_retry_is_what_is_needed_for_what_waits_and_what_is_in_hand() {
        let pace = Pace::default();
        assert_eq!(pace.retry_after_ms(1_000), LEAST_MS, "nothing is known yet");
        pace.done(10, 0, Duration::from_millis(200));
        assert_eq!(pace.retry_after_ms(0), LEAST_MS, "never at once");
        for waiting in 1..=100 {
            assert_eq!(
                pace.retry_after_ms(waiting as usize),
                (20 * waiting).max(50)
            );
        }
        pace.take(50);
        assert_eq!(pace.retry_after_ms(100), 3_000, "before those that wait");
        pace.done(30, 20, Duration::from_millis(600));
        assert_eq!(pace.retry_after_ms(100), 2_400, "twenty are left");
        assert_eq!(
            pace.retry_after_ms(1_000_000),
            MOST_MS,
            "never in vain for long"
        );
    }

    #[test]
    fn one_that_took_long_is_soon_forgotten() {
        let pace = Pace::default();
        pace.done(1, 0, Duration::from_secs(3_600));
        assert_eq!(pace.retry_after_ms(1), MOST_MS);
        for _ in 0..200 {
            pace.done(1, 0, Duration::from_millis(20));
        }
        assert_eq!(pace.retry_after_ms(100), 2_000);
    }
}
