//! Callers that wait for an aggregate's outcome, or ask what became of a command.

use std::collections::{BTreeSet, HashMap};

use cartwright_domain::BoundedContext;
use cartwright_event_log::EventLog;
use cartwright_events::PositionToken;
use tokio::sync::oneshot;

use crate::mailbox::{self, Lookup};
use crate::outcome::Answer;
use crate::results::{Found, ResultKey};
use crate::shard::Shard;
use crate::state::ShardState;

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
    fn add(&mut self, aggregate_id: String, reply: oneshot::Sender<Answer>) {
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

    fn waits_for(&self, aggregate_id: &str) -> bool {
        self.by_aggregate.contains_key(aggregate_id)
    }

    /// What is waited for.
    fn aggregate_ids(&self) -> Vec<String> {
        self.by_aggregate.keys().cloned().collect()
    }

    fn tell(&mut self, aggregate_id: &str, answer: &Answer) {
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

impl<B: BoundedContext, L: EventLog> Shard<B, L> {
    /// Answers from what is decided and durable. Without a live state the callers are told nothing and
    /// ask again.
    pub(crate) fn answer_lookups(&self, lookups: Vec<Lookup>) {
        let Some(live) = &self.live else { return };
        for lookup in lookups {
            let key = ResultKey::Command(lookup.command_id);
            let now = self.clock.now().max(live.state.last_time);
            let found = match live.state.results.find(&key, "", now) {
                Found::Decided(outcome) => match serde_json::from_str(outcome) {
                    Ok(outcome) => mailbox::Found::Decided(outcome),
                    Err(_) => mailbox::Found::Forgotten,
                },
                _ if lookup.offset < live.state.inbox_position => mailbox::Found::Forgotten,
                _ => mailbox::Found::Waiting,
            };
            // A caller that has gone is no error.
            let _ = lookup.reply.send(found);
        }
    }

    /// Answers callers whose outcome is decided and durable; lets the others wait.
    pub(crate) fn watch(&mut self, watches: Vec<(String, oneshot::Sender<Answer>)>) {
        let mut live = self.live.take();
        for (aggregate_id, reply) in watches {
            let state = live.as_mut().map(|live| &mut live.state);
            match state.and_then(|state| self.outcome_or_ask(state, &aggregate_id)) {
                // A caller that has gone is no error.
                Some(answer) => drop(reply.send(answer)),
                None => self.waiters.add(aggregate_id, reply),
            }
        }
        self.live = live;
    }

    /// Looks for everything that is waited for: after a take-over, and when it is known what has left
    /// memory.
    pub(crate) fn look_for_outcomes(&mut self, state: &mut ShardState<B>) {
        for aggregate_id in self.waiters.aggregate_ids() {
            if let Some(answer) = self.outcome_or_ask(state, &aggregate_id) {
                self.waiters.tell(&aggregate_id, &answer);
            }
        }
    }

    /// The outcome of what is in memory. What has left it is asked for, and told when it comes.
    fn outcome_or_ask(&self, state: &mut ShardState<B>, aggregate_id: &str) -> Option<Answer> {
        let answer = self.outcome(state, aggregate_id);
        if answer.is_none() {
            self.whereabouts(state, aggregate_id);
        }
        answer
    }

    fn outcome(&self, state: &ShardState<B>, aggregate_id: &str) -> Option<Answer> {
        let accepted = self.context.outcome(&state.aggregates, aggregate_id)?;
        let mut position = PositionToken::new(self.place.log_generation);
        for &(stream, seq) in &accepted.earlier {
            position.raise(stream, self.place.partition, seq);
        }
        Some(Answer {
            aggregate_id: accepted.aggregate_id,
            version: accepted.version,
            position,
            data: accepted.data,
        })
    }

    pub(crate) fn tell_waiters(&mut self, state: &ShardState<B>, touched: &BTreeSet<String>) {
        for aggregate_id in touched {
            if self.waiters.waits_for(aggregate_id)
                && let Some(answer) = self.outcome(state, aggregate_id)
            {
                self.waiters.tell(aggregate_id, &answer);
            }
        }
    }
}
