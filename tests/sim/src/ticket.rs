//! Tickets of commands that were queued: what a caller asks with for what became of them.

use std::collections::BTreeMap;

use cartwright_shard::nodes::ShardId;
use cartwright_shard::{Found, Outcome};
use tokio::sync::oneshot;

/// How often a caller asks before it sends its command once more.
const MOST_QUESTIONS: u32 = 12;

/// Where to ask for a command.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    pub(crate) shard: ShardId,
    pub(crate) command_id: String,
    pub(crate) offset: u64,
}

/// The tickets of one caller.
#[derive(Default)]
pub(crate) struct Tickets {
    /// By idempotency key, with how often it was asked for.
    given: BTreeMap<String, (Ticket, u32)>,
    /// Answers that may still come, by idempotency key and command.
    open: Vec<(String, String, oneshot::Receiver<Found>)>,
    /// Commands of which it was told that they are forgotten.
    forgotten: Vec<String>,
}

impl Tickets {
    pub(crate) fn give(&mut self, key: String, ticket: Ticket) {
        self.given.insert(key, (ticket, 0));
    }

    pub(crate) fn expect(&mut self, key: &str, ticket: &Ticket, answer: oneshot::Receiver<Found>) {
        let command = ticket.command_id.clone();
        self.open.push((key.to_owned(), command, answer));
    }

    pub(crate) fn forgotten(&self) -> &[String] {
        &self.forgotten
    }

    /// What to ask with for the command of `key`; `None` when there is nothing to ask for, or it was
    /// asked for often enough.
    pub(crate) fn next_question(&mut self, key: &str) -> Option<Ticket> {
        let (ticket, asked) = self.given.get_mut(key)?;
        *asked += 1;
        if *asked <= MOST_QUESTIONS {
            return Some(ticket.clone());
        }
        self.given.remove(key);
        None
    }

    /// What was decided, of all answers that have come, by idempotency key.
    pub(crate) fn listen(&mut self) -> Vec<(String, Outcome)> {
        let mut decided = Vec::new();
        for (key, command, mut answer) in std::mem::take(&mut self.open) {
            match answer.try_recv() {
                Ok(Found::Decided(outcome)) => {
                    self.given.remove(&key);
                    decided.push((key, outcome));
                }
                Ok(Found::Forgotten) => {
                    // It is sent once more.
                    self.given.remove(&key);
                    self.forgotten.push(command);
                }
                // Asked again later, also where the process that was asked is gone.
                Ok(Found::Waiting) | Err(oneshot::error::TryRecvError::Closed) => {}
                Err(oneshot::error::TryRecvError::Empty) => {
                    self.open.push((key, command, answer));
                }
            }
        }
        decided
    }
}
