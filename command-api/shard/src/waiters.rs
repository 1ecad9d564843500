//! Callers that wait for an order's outcome.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::outcome::Answer;

/// Waiting callers by aggregate, bounded in number.
#[derive(Debug)]
pub(crate) struct Waiters {
    by_aggregate: HashMap<String, Vec<oneshot::Sender<Answer>>>,
    waiting: usize,
    most: usize,
}

impl Waiters {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            by_aggregate: HashMap::new(),
            waiting: 0,
            most,
        }
    }

    /// Lets a caller wait, unless too many do: then its sender is dropped, which tells it.
    pub(crate) fn add(&mut self, aggregate_id: String, reply: oneshot::Sender<Answer>) {
        if self.waiting >= self.most {
            self.forget_gone();
        }
        if self.waiting < self.most {
            self.by_aggregate
                .entry(aggregate_id)
                .or_default()
                .push(reply);
            self.waiting += 1;
        }
    }

    pub(crate) fn waits_for(&self, aggregate_id: &str) -> bool {
        self.by_aggregate.contains_key(aggregate_id)
    }

    /// What is waited for.
    pub(crate) fn aggregate_ids(&self) -> Vec<String> {
        self.by_aggregate.keys().cloned().collect()
    }

    pub(crate) fn tell(&mut self, aggregate_id: &str, answer: &Answer) {
        for waiter in self.by_aggregate.remove(aggregate_id).unwrap_or_default() {
            self.waiting -= 1;
            // A caller that has gone is no error.
            let _ = waiter.send(answer.clone());
        }
    }

    fn forget_gone(&mut self) {
        self.by_aggregate.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
        self.waiting = self.by_aggregate.values().map(Vec::len).sum();
    }
}
