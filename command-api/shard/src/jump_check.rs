//! Whether this machine's clock has jumped forward, as the time that has passed shows.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use cartwright_events::Timestamp;
use thiserror::Error;

use crate::clock::Clock;

/// A clock that is slewed (NTP: 0.5 ms a second at most) gets away from the steady one. So the two are
/// compared from anew after so long.
const COMPARED_FOR_US: i64 = 60_000_000;
/// Two readings that are further apart are made again: the process stood still between them.
const LONGEST_READING_US: i64 = 100_000;

/// The clock has run ahead of the time that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "this machine's clock has jumped {ahead_ms} ms ahead of the time that has passed; at most \
     {allowed_ms} ms is allowed"
)]
pub struct ClockJumped {
    ahead_ms: i64,
    allowed_ms: i64,
}

/// What both clocks said at one moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall_us: i64,
    steady_us: i64,
}

/// A clock whose time is taken only while it goes on evenly. What a clock says that was set wrong would
/// be in the log for good: deadlines pass by it, and whoever's clock is right is behind it.
#[derive(Clone)]
pub struct JumpCheck {
    clock: Arc<dyn Clock>,
    max_ahead_ms: i64,
    /// When the clock was believed last.
    believed: Cell<Reading>,
}

impl fmt::Debug for JumpCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JumpCheck")
            .field("max_ahead_ms", &self.max_ahead_ms)
            .field("believed", &self.believed)
            .finish_non_exhaustive()
    }
}

impl JumpCheck {
    /// Believes what `clock` says now, and later that it is ahead by `max_ahead_ms` at most.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, max_ahead_ms: i64) -> Self {
        Self {
            believed: Cell::new(read(clock.as_ref())),
            clock,
            max_ahead_ms,
        }
    }

    /// The time now.
    ///
    /// # Errors
    /// When the clock has jumped forward, until it is set right.
    pub fn now(&self) -> Result<Timestamp, ClockJumped> {
        let (now, believed) = (read(self.clock.as_ref()), self.believed.get());
        let passed_us = now.steady_us - believed.steady_us;
        let ahead_ms = (now.wall_us - believed.wall_us - passed_us) / 1_000;
        if ahead_ms > self.max_ahead_ms {
            return Err(ClockJumped {
                ahead_ms,
                allowed_ms: self.max_ahead_ms,
            });
        }
        // A clock that was set back may be set forward again to where it was.
        if passed_us > COMPARED_FOR_US && ahead_ms >= -self.max_ahead_ms {
            self.believed.set(now);
        }
        Ok(Timestamp::from_micros(now.wall_us))
    }

    /// Believes what the clock says now.
    pub fn believe(&self) {
        self.believed.set(read(self.clock.as_ref()));
    }
}

fn read(clock: &dyn Clock) -> Reading {
    loop {
        let steady_us = clock.steady_us();
        let wall_us = clock.now().as_micros();
        if clock.steady_us() - steady_us <= LONGEST_READING_US {
            return Reading { wall_us, steady_us };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const MINUTE_MS: i64 = 60_000;

    fn check() -> (Arc<ManualClock>, JumpCheck) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
        (Arc::clone(&clock), JumpCheck::new(clock, 5_000))
    }

    #[test]
    fn a_jump_is_seen_until_the_clock_is_set_right() {
        let (clock, check) = check();
        clock.advance_millis(10 * MINUTE_MS);
        assert!(check.now().is_ok());
        clock.jump_millis(5_000);
        assert!(check.now().is_ok());
        clock.jump_millis(1_000);
        assert!(check.now().is_err());
        clock.advance_millis(10 * MINUTE_MS);
        assert!(check.now().is_err());
        clock.jump_millis(-6_000);
        assert_eq!(check.now(), Ok(clock.now()));
        clock.jump_millis(6_000);
        check.believe();
        assert_eq!(check.now(), Ok(clock.now()));
    }

    #[test]
    fn a_clock_that_is_slewed_for_days_has_not_jumped() {
        let (clock, check) = check();
        for _ in 0..3 * 24 * 60 {
            clock.advance_millis(MINUTE_MS);
            clock.jump_millis(30);
            assert!(check.now().is_ok());
        }
    }

    #[test]
    fn a_clock_that_is_set_back_and_forward_again_has_not_jumped() {
        let (clock, check) = check();
        clock.jump_millis(-60 * MINUTE_MS);
        clock.advance_millis(2 * MINUTE_MS);
        assert!(check.now().is_ok());
        clock.jump_millis(60 * MINUTE_MS);
        assert!(check.now().is_ok());
    }
}
