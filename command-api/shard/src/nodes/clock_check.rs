//! Whether this machine's clock agrees with the log's, as the node's own beats show.

use std::fmt;
use std::sync::Arc;

use cartwright_event_log::Record;
use cartwright_events::Timestamp;

use crate::clock::Clock;
use crate::jump_check::JumpCheck;

/// Header of a beat: when its node sent it, by the node's own clock, microseconds since the epoch.
pub(super) const SENT_AT: &str = "sent_at_us";

/// Compares the node's clock with the broker's, which stamps every beat between its being sent and
/// its being read. A time outside of that span is an error of one of the clocks; inside it there is
/// none to be seen, however long the beat took.
#[derive(Clone)]
pub struct ClockCheck {
    clock: Arc<dyn Clock>,
    max_skew_ms: i64,
    /// As of the last beat that was read: positive when this clock is ahead. `None` before the first.
    ahead_ms: Option<i64>,
    /// Whether the clock has jumped since then.
    jumps: JumpCheck,
}

impl fmt::Debug for ClockCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockCheck")
            .field("max_skew_ms", &self.max_skew_ms)
            .field("ahead_ms", &self.ahead_ms)
            .finish_non_exhaustive()
    }
}

impl ClockCheck {
    /// `clock` may be off by `max_skew_ms` either way.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, max_skew_ms: i64) -> Self {
        Self {
            jumps: JumpCheck::new(Arc::clone(&clock), max_skew_ms),
            clock,
            max_skew_ms,
            ahead_ms: None,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Takes in a beat of this very process.
    pub(super) fn hear(&mut self, beat: &Record) {
        let sent = beat.header(SENT_AT).and_then(|sent| {
            let micros = std::str::from_utf8(sent).ok()?.parse().ok()?;
            Some(Timestamp::from_micros(micros))
        });
        let Some(sent) = sent else { return };
        let was_off = self.is_off();
        let appended = Timestamp::from_micros(beat.timestamp_us);
        let read = self.clock.now();
        let ahead_ms = ahead_ms(sent, appended, read);
        self.ahead_ms = Some(ahead_ms);
        // One that was sent before a jump says nothing of the clock since.
        if !self.is_off() && read <= sent.plus_millis(self.max_skew_ms) {
            self.jumps.believe();
        }
        if self.is_off() && !was_off {
            tracing::error!(
                ahead_ms,
                allowed_ms = self.max_skew_ms,
                "this machine's clock is off from the log's: its shards are given to other nodes"
            );
        } else if was_off && !self.is_off() {
            tracing::info!("this machine's clock agrees with the log's again");
        }
    }

    /// Whether the clock is off by more than is allowed.
    pub(super) fn is_off(&self) -> bool {
        self.ahead_ms
            .is_some_and(|ahead_ms| ahead_ms.abs() > self.max_skew_ms)
    }

    /// Whether a beat has shown that the clock is right, and it has not jumped since.
    pub(super) fn is_right(&self) -> bool {
        self.ahead_ms.is_some() && !self.is_off() && self.jumps.now().is_ok()
    }
}

/// By how much a clock is ahead (negative: behind) that said `sent` before and `read` after the other
/// clock said `appended`. The least that it can be.
fn ahead_ms(sent: Timestamp, appended: Timestamp, read: Timestamp) -> i64 {
    let ahead = (sent.as_micros() - appended.as_micros()).max(0);
    let behind = (appended.as_micros() - read.as_micros()).max(0);
    (ahead - behind) / 1_000
}

#[cfg(test)]
mod tests {
    use cartwright_event_log::Headers;

    use super::*;
    use crate::clock::ManualClock;

    /// A beat that was sent and appended at these times.
    fn beat(sent: Timestamp, appended: Timestamp) -> Record {
        Record {
            topic: Arc::from("nodes"),
            partition: 0,
            offset: 0,
            timestamp_us: appended.as_micros(),
            key: None,
            value: None,
            headers: Headers::of([(SENT_AT, sent.as_micros().to_string().as_bytes())].into_iter()),
        }
    }

    #[test]
    fn a_jump_is_known_before_the_next_beat_and_right_when_the_log_says_so() {
        let clock = Arc::new(ManualClock::at(seconds(100)));
        let mut check = ClockCheck::new(Arc::clone(&clock) as _, 5_000);
        check.hear(&beat(seconds(100), seconds(100)));
        assert!(check.is_right());
        clock.jump_millis(60_000);
        assert!(!check.is_right());
        check.hear(&beat(seconds(100), seconds(100)));
        assert!(!check.is_right(), "that one is from before");
        check.hear(&beat(seconds(160), seconds(160)));
        assert!(check.is_right(), "it was wrong before");
    }

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn only_a_time_outside_of_the_span_is_an_error() {
        let ahead =
            |sent, appended, read| ahead_ms(seconds(sent), seconds(appended), seconds(read));
        assert_eq!(ahead(10, 10, 10), 0);
        // Slow to be written, or to be read.
        assert_eq!(ahead(10, 70, 71), 0);
        assert_eq!(ahead(10, 11, 90), 0);
        assert_eq!(ahead(30, 10, 31), 20_000);
        assert_eq!(ahead(10, 31, 11), -20_000);
    }
}
