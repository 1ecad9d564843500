//! The window of results by idempotency key: convenience on top of the references that aggregates
//! remember for ever. What moves stock or money has one, so an eviction does no harm there; what has
//! none (an item put into a cart) is decided anew.

use std::collections::{HashMap, VecDeque};

use cartwright_events::Timestamp;
use serde::{Deserialize, Serialize};

/// A caller's key for one intent, with a digest of the request it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key.
    pub key: String,
    /// Digest of method, path and body.
    pub fingerprint: String,
}

/// Under what a result is remembered. Callers' keys and our command ids never meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ResultKey {
    Idempotency(String),
    Command(String),
}

impl ResultKey {
    /// The caller's key where there is one, else the command's id.
    pub(crate) fn new(idempotency_key: Option<&str>, command_id: &str) -> Self {
        match idempotency_key {
            Some(key) => Self::Idempotency(key.to_owned()),
            None => Self::Command(command_id.to_owned()),
        }
    }
}

#[derive(Debug, Clone)]
struct Stored {
    fingerprint: String,
    outcome: String,
    decided_at: Timestamp,
}

/// A result as snapshots keep it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) key: ResultKey,
    pub(crate) fingerprint: String,
    /// As JSON, which is how the journal has it: few are ever asked for, and those byte for byte.
    pub(crate) outcome: String,
    pub(crate) decided_at: Timestamp,
}

/// What the window knows of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Found<'a> {
    /// Nothing: decide it.
    Nothing,
    /// It was decided so, as JSON.
    Decided(&'a str),
    /// The key came with another request.
    OtherRequest,
}

/// Where the journal holds results: all those below number `end` that no earlier mark covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    end: u64,
    offset: u64,
}

/// Bytes of a stored result beside its texts, about: two entries, and the texts' own overhead.
const STORED_BYTES: usize = 224;

/// How many results went, by why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Evicted {
    /// They were older than the window.
    pub(crate) age: u64,
    /// There were more than the window holds.
    pub(crate) number: u64,
    /// They took more memory than there is for them.
    pub(crate) memory: u64,
}

/// Results in the order in which they were decided, bounded by number, by age and by memory.
#[derive(Debug)]
pub(crate) struct ResultWindow {
    by_key: HashMap<ResultKey, Stored>,
    order: VecDeque<ResultKey>,
    /// How many have left the window: the number of the first one in it.
    evicted: u64,
    /// Below this number they were read from a snapshot, wherever the journal has them.
    from_snapshot: u64,
    marks: VecDeque<Mark>,
    kept: usize,
    ttl_ms: i64,
    /// What those in the window take, and may take.
    bytes: usize,
    most_bytes: usize,
}

impl ResultWindow {
    pub(crate) fn new(kept: usize, ttl_ms: i64, most_bytes: usize) -> Self {
        Self {
            by_key: HashMap::new(),
            order: VecDeque::new(),
            evicted: 0,
            from_snapshot: 0,
            marks: VecDeque::new(),
            kept,
            ttl_ms,
            bytes: 0,
            most_bytes,
        }
    }

    /// Bytes that it takes in memory, about.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How much it may take from the next result on.
    pub(crate) const fn allow(&mut self, bytes: usize) {
        self.most_bytes = bytes;
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// What is remembered by now was read from a snapshot.
    pub(crate) fn read_from_snapshot(&mut self) {
        self.from_snapshot = self.end();
    }

    /// What was remembered since the last call is in the journal at `offset`.
    pub(crate) fn journaled(&mut self, offset: u64) {
        let end = self.end();
        while self
            .marks
            .front()
            .is_some_and(|mark| mark.end <= self.evicted)
        {
            self.marks.pop_front();
        }
        if self
            .marks
            .back()
            .map_or(self.from_snapshot, |mark| mark.end)
            < end
        {
            self.marks.push_back(Mark { end, offset });
        }
    }

    /// The offset from which on the journal holds all that is remembered; `None` when it is not
    /// known, or nothing is remembered.
    pub(crate) fn in_journal_from(&self) -> Option<u64> {
        if self.evicted < self.from_snapshot {
            return None;
        }
        let mut marks = self.marks.iter();
        let oldest = marks.find(|mark| mark.end > self.evicted)?;
        Some(oldest.offset)
    }

    /// The number that the next result gets.
    pub(crate) fn end(&self) -> u64 {
        self.evicted + self.order.len() as u64
    }

    /// Up to `most` results from number `first` on, which counts every result that was ever in this
    /// window, and the number that comes after them.
    pub(crate) fn from(&self, first: u64, most: usize) -> (Vec<Remembered>, u64) {
        let skip = first.saturating_sub(self.evicted);
        let from = usize::try_from(skip).unwrap_or(usize::MAX);
        let keys = self.order.iter().skip(from).take(most);
        let results: Vec<Remembered> = keys
            .filter_map(|key| {
                let stored = self.by_key.get(key)?;
                Some(Remembered {
                    key: key.clone(),
                    fingerprint: stored.fingerprint.clone(),
                    outcome: stored.outcome.clone(),
                    decided_at: stored.decided_at,
                })
            })
            .collect();
        let next = first.max(self.evicted) + results.len() as u64;
        (results, next)
    }

    pub(crate) fn find(&self, key: &ResultKey, fingerprint: &str, now: Timestamp) -> Found<'_> {
        match self.by_key.get(key) {
            Some(stored) if stored.decided_at.plus_millis(self.ttl_ms) < now => Found::Nothing,
            Some(stored) if stored.fingerprint == fingerprint => Found::Decided(&stored.outcome),
            Some(_) => Found::OtherRequest,
            None => Found::Nothing,
        }
    }

    /// Remembers an outcome; the oldest beyond the window's bounds go. Tells how many went.
    pub(crate) fn remember(
        &mut self,
        key: ResultKey,
        fingerprint: String,
        outcome: String,
        decided_at: Timestamp,
    ) -> Evicted {
        let stored = Stored {
            fingerprint,
            outcome,
            decided_at,
        };
        let mut evicted = Evicted::default();
        // Before it is put in: one that replaces what is too old is the newest, and not the oldest.
        while self.is_oldest_older_than(decided_at) {
            evicted.age += 1;
            self.forget_oldest();
        }
        self.bytes += bytes_of(&key, &stored);
        match self.by_key.insert(key.clone(), stored) {
            Some(before) => self.bytes -= bytes_of(&key, &before),
            None => self.order.push_back(key),
        }
        loop {
            if self.order.len() > self.kept {
                evicted.number += 1;
            } else if self.bytes > self.most_bytes && self.order.len() > 1 {
                evicted.memory += 1;
            } else {
                return evicted;
            }
            self.forget_oldest();
        }
    }

    fn is_oldest_older_than(&self, now: Timestamp) -> bool {
        let oldest = self.order.front().and_then(|key| self.by_key.get(key));
        oldest.is_some_and(|stored| stored.decided_at.plus_millis(self.ttl_ms) < now)
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.evicted += 1;
            let stored = self.by_key.remove(&oldest);
            self.bytes -= stored.map_or(0, |stored| bytes_of(&oldest, &stored));
        }
    }
}

/// The key is in the map and in the order.
fn bytes_of(key: &ResultKey, stored: &Stored) -> usize {
    let (ResultKey::Idempotency(key) | ResultKey::Command(key)) = key;
    STORED_BYTES + 2 * key.len() + stored.fingerprint.len() + stored.outcome.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remember(window: &mut ResultWindow, key: &str, at_ms: i64) -> Evicted {
        let outcome = "x".repeat(1_000);
        let at = Timestamp::EPOCH.plus_millis(at_ms);
        let key = ResultKey::new(Some(key), "");
        window.remember(key, String::new(), outcome, at)
    }

    #[test]
    fn an_eviction_says_which_bound_it_was() {
        let mut window = ResultWindow::new(3, 1_000, 10_000);
        for (at, key) in ["a", "b", "c"].into_iter().enumerate() {
            assert_eq!(remember(&mut window, key, at as i64), Evicted::default());
        }
        let number = Evicted {
            number: 1,
            ..Evicted::default()
        };
        assert_eq!(remember(&mut window, "d", 3), number);
        window.allow(2_600);
        let memory = Evicted {
            number: 1,
            memory: 1,
            ..Evicted::default()
        };
        assert_eq!(remember(&mut window, "e", 4), memory);
        let age = Evicted {
            age: 2,
            ..Evicted::default()
        };
        assert_eq!(remember(&mut window, "f", 2_000), age);
        let one = window.bytes();
        assert_eq!(remember(&mut window, "f", 2_001), Evicted::default());
        assert_eq!(window.bytes(), one, "a result that is replaced counts once");
        assert_eq!(remember(&mut window, "g", 4_000).age, 1);
        assert_eq!(window.bytes(), one);
    }

    #[test]
    fn what_is_decided_again_after_its_time_is_the_newest() {
        let mut window = ResultWindow::new(2, 1_000, 10_000);
        remember(&mut window, "a", 0);
        remember(&mut window, "b", 900);
        remember(&mut window, "a", 1_500);
        remember(&mut window, "c", 1_501);
        let now = Timestamp::EPOCH.plus_millis(1_501);
        let mut known =
            |key| window.find(&ResultKey::new(Some(key), ""), "", now) != Found::Nothing;
        assert_eq!(["a", "b", "c"].map(&mut known), [true, false, true]);
    }
}
