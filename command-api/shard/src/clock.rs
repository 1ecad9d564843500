//! The shard's source of time.

use std::sync::atomic::{AtomicI64, Ordering};

use cartwright_events::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Goes on while the machine is suspended, where there is such a clock.
#[cfg(target_os = "linux")]
const STEADY: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const STEADY: ClockId = ClockId::Monotonic;

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The wall-clock time now. It jumps when somebody sets the clock.
    fn now(&self) -> Timestamp;

    /// Microseconds since some moment, by a clock that nobody sets: it also goes on while the process
    /// is stopped.
    fn steady_us(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn steady_us(&self) -> i64 {
        let time = clock_gettime(STEADY);
        time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
    }
}

/// A clock that is set by hand: for tests and simulation.
#[derive(Debug)]
pub struct ManualClock {
    wall_us: AtomicI64,
    steady_us: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at `time`.
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        Self {
            wall_us: AtomicI64::new(time.as_micros()),
            steady_us: AtomicI64::new(0),
        }
    }

    /// Lets `millis` milliseconds pass, also backwards.
    pub fn advance_millis(&self, millis: i64) {
        self.steady_us.fetch_add(millis * 1000, Ordering::SeqCst);
        self.jump_millis(millis);
    }

    /// Sets the clock by `millis` milliseconds, also backwards, without any time passing.
    pub fn jump_millis(&self, millis: i64) {
        self.wall_us.fetch_add(millis * 1000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.wall_us.load(Ordering::SeqCst))
    }

    fn steady_us(&self) -> i64 {
        self.steady_us.load(Ordering::SeqCst)
    }
}
