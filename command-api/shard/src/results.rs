//! The window of results by idempotency key: convenience on top of the references that aggregates
//! remember for ever, so an eviction is harmless.

use std::collections::{HashMap, VecDeque};

use cartwright_events::Timestamp;

use crate::outcome::Outcome;

/// A caller's key for one intent, with a digest of the request it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key.
    pub key: String,
    /// Digest of method, path and body.
    pub fingerprint: String,
}

/// Under what a result is remembered. Callers' keys and our command ids never meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ResultKey {
    Idempotency(String),
    Command(String),
}

#[derive(Debug, Clone)]
struct Stored {
    fingerprint: String,
    outcome: Outcome,
    decided_at: Timestamp,
}

/// What the window knows of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Found<'a> {
    /// Nothing: decide it.
    Nothing,
    /// It was decided so.
    Decided(&'a Outcome),
    /// The key came with another request.
    OtherRequest,
}

/// Results in the order in which they were decided, bounded by number and by age.
#[derive(Debug)]
pub(crate) struct ResultWindow {
    by_key: HashMap<ResultKey, Stored>,
    order: VecDeque<ResultKey>,
    kept: usize,
    ttl_ms: i64,
}

impl ResultWindow {
    pub(crate) fn new(kept: usize, ttl_ms: i64) -> Self {
        Self {
            by_key: HashMap::new(),
            order: VecDeque::new(),
            kept,
            ttl_ms,
        }
    }

    pub(crate) fn find(&self, key: &ResultKey, fingerprint: &str, now: Timestamp) -> Found<'_> {
        match self.by_key.get(key) {
            Some(stored) if stored.decided_at.plus_millis(self.ttl_ms) < now => Found::Nothing,
            Some(stored) if stored.fingerprint == fingerprint => Found::Decided(&stored.outcome),
            Some(_) => Found::OtherRequest,
            None => Found::Nothing,
        }
    }

    /// Remembers an outcome; the oldest beyond the window's bounds go. Returns how many went.
    pub(crate) fn remember(
        &mut self,
        key: ResultKey,
        fingerprint: String,
        outcome: Outcome,
        decided_at: Timestamp,
    ) -> usize {
        let stored = Stored {
            fingerprint,
            outcome,
            decided_at,
        };
        if self.by_key.insert(key.clone(), stored).is_none() {
            self.order.push_back(key);
        }
        let mut evicted = 0;
        while let Some(oldest) = self.order.front() {
            let aged = self
                .by_key
                .get(oldest)
                .is_none_or(|stored| stored.decided_at.plus_millis(self.ttl_ms) < decided_at);
            if !aged && self.order.len() <= self.kept {
                break;
            }
            if let Some(oldest) = self.order.pop_front() {
                self.by_key.remove(&oldest);
                evicted += 1;
            }
        }
        evicted
    }
}
