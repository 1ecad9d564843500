//! Whether the other side is alive, over all calls of a client.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Why calls are being repeated at the moment.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// What the last failed call got.
    pub reason: String,
    /// Calls that failed since the last one that was answered.
    pub failures: u64,
}

#[derive(Debug)]
struct State {
    last_answer: Instant,
    trouble: Option<Trouble>,
    retries: u64,
    answers: u64,
}

/// Shared by all calls: one that is answered resets the clock that makes the others give up.
#[derive(Debug)]
pub struct Pulse {
    state: Mutex<State>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                last_answer: Instant::now(),
                trouble: None,
                retries: 0,
                answers: 0,
            }),
        }
    }
}

impl Pulse {
    /// A call was answered, with a refusal or not.
    pub fn answered(&self) {
        let mut state = self.lock();
        state.last_answer = Instant::now();
        state.trouble = None;
        state.answers += 1;
    }

    /// A call has to be repeated. Returns how long nothing was answered.
    pub fn failed(&self, reason: String) -> Duration {
        let mut state = self.lock();
        state.retries += 1;
        let failures = state.trouble.as_ref().map_or(0, |trouble| trouble.failures) + 1;
        state.trouble = Some(Trouble { reason, failures });
        state.last_answer.elapsed()
    }

    /// What is wrong at the moment, if anything.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.lock().trouble.clone()
    }

    /// Calls that were repeated so far.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.lock().retries
    }

    /// Calls that were answered so far.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.lock().answers
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is plain numbers: whole also after a panic elsewhere.
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
