//! A shopper: a script of commands, each sent until it is answered, sometimes twice at once.

use std::collections::BTreeMap;

use cartwright_domain::CheckoutCommand;
use cartwright_shard::{Outcome, Reply};
use rand::rngs::SmallRng;
use tokio::sync::oneshot;

use crate::script::{self, Command, IfMatch, Step};
use crate::ticket::{Ticket, Tickets};

/// What a shopper asks for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The idempotency key.
    pub(crate) key: String,
    pub(crate) command: Command,
    /// The version that its cart has to have.
    pub(crate) expected_version: Option<u64>,
}

/// What somebody wants who comes with a key: the same as under the first key, where he has forgotten that he
/// was here.
pub(crate) fn intent_of(key: &str) -> &str {
    key.split_once(ANEW).map_or(key, |(first, _)| first)
}

/// What is between the first key of a request and the rest of a key under which it comes once more.
pub(crate) const ANEW: &str = "/anew-";

/// A shopper (or the shop's owner) on the way through a script.
pub(crate) struct Shopper {
    pub(crate) name: String,
    script: Vec<Step>,
    step: usize,
    /// Replies that may still come, by the key that they answer.
    open: Vec<(String, oneshot::Receiver<Reply>)>,
    /// Replies to a key that came with another request.
    misuses: Vec<(String, oneshot::Receiver<Reply>)>,
    /// Of commands whose decision it does not wait for.
    pub(crate) tickets: Tickets,
    waited: u32,
    /// What was answered first, by idempotency key.
    pub(crate) answered: BTreeMap<String, Outcome>,
    /// Everything that was answered, with its key.
    pub(crate) told: Vec<(String, Outcome)>,
}

/// What a shopper wants to do now.
pub(crate) enum Wish {
    /// Send this.
    Send(Asked),
    /// Ask with this ticket for what became of the command under this key.
    Ask(String, Ticket),
    /// Wait for an answer.
    Wait,
    /// Go home.
    Done,
}

impl Shopper {
    /// The owner, who fills the shelves.
    pub(crate) fn owner() -> Self {
        Self::with("owner".to_owned(), script::of_owner())
    }

    pub(crate) fn new(number: u64, rng: &mut SmallRng) -> Self {
        let name = format!("shopper-{number}");
        let script = script::of_shopper(&name, rng);
        Self::with(name, script)
    }

    fn with(name: String, script: Vec<Step>) -> Self {
        Self {
            name,
            script,
            step: 0,
            open: Vec::new(),
            misuses: Vec::new(),
            tickets: Tickets::default(),
            waited: 0,
            answered: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.step >= self.script.len()
    }

    /// What was answered to the last of its commands that are like this; none for the owner.
    pub(crate) fn told_of(&self, is_like: impl Fn(&CheckoutCommand) -> bool) -> Option<&Outcome> {
        let is_it = |step: &Step| match &step.command {
            Command::Checkout(command) => is_like(command),
            Command::Catalog(_) | Command::Inventory(_) => false,
        };
        let step = self.script.iter().rposition(is_it)?;
        self.answered.get(&self.key(step))
    }

    fn key(&self, step: usize) -> String {
        format!("{}/{step}", self.name)
    }

    /// An earlier request, for the network to deliver once more.
    pub(crate) fn earlier(&self, choice: usize) -> Option<Asked> {
        self.asked(choice.checked_rem(self.step)?)
    }

    /// What is asked for by a step whose earlier ones have been answered.
    fn asked(&self, step: usize) -> Option<Asked> {
        let Step { command, if_match } = self.script.get(step)?;
        let expected_version = if_match.zip(self.told_version(step));
        Some(Asked {
            key: self.key(step),
            command: command.clone(),
            expected_version: expected_version.map(|(if_match, told)| match if_match {
                IfMatch::Latest => told,
                IfMatch::Stale => told - 1,
            }),
        })
    }

    /// The version of the cart that was told last before a step.
    fn told_version(&self, step: usize) -> Option<u64> {
        let told = |step| match self.answered.get(&self.key(step)) {
            Some(Outcome::Accepted(answer)) => Some(answer.version),
            Some(Outcome::Rejected(_)) | None => None,
        };
        (0..step).rev().find_map(told)
    }

    /// Every key that was sent with a version so far, with that version and whether it was known to be
    /// an old one.
    pub(crate) fn versions_asked_for(&self) -> Vec<(String, u64, bool)> {
        let steps = 0..self.script.len().min(self.step + 1);
        steps
            .filter_map(|step| {
                let Asked {
                    key,
                    expected_version,
                    ..
                } = self.asked(step)?;
                let is_stale = self.script[step].if_match == Some(IfMatch::Stale);
                Some((key, expected_version?, is_stale))
            })
            .collect()
    }

    /// Takes what has been answered and says what comes next.
    ///
    /// # Errors
    /// When an answer can't be one to its request.
    pub(crate) fn next(&mut self) -> Result<Wish, String> {
        self.listen()?;
        let key = self.key(self.step);
        let waits = self.open.iter().any(|(waiting, _)| *waiting == key);
        if self.answered.contains_key(&key) {
            self.step += 1;
            self.waited = 0;
        } else if waits && self.waited < 6 {
            self.waited += 1;
            return Ok(Wish::Wait);
        } else if let Some(ticket) = self.tickets.next_question(&key) {
            return Ok(Wish::Ask(key, ticket));
        } else {
            // The connection timed out; the command may still take effect.
            self.waited = 0;
        }
        Ok(self.asked(self.step).map_or(Wish::Done, Wish::Send))
    }

    /// Takes every answer that has come.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub(crate) fn listen(&mut self) -> Result<(), String> {
        for (key, mut receiver) in std::mem::take(&mut self.open) {
            match receiver.try_recv() {
                Ok(Reply::Decided(outcome)) => self.settle(key, outcome),
                Ok(Reply::KeyReused) => {
                    return Err(format!("{key} was refused as the reuse of a key"));
                }
                Ok(Reply::Failed { reason }) => {
                    return Err(format!("{key} failed inside: {reason}"));
                }
                // Whatever happened to it, a retry under the same key is safe.
                Ok(_) | Err(oneshot::error::TryRecvError::Closed) => {}
                Err(oneshot::error::TryRecvError::Empty) => self.open.push((key, receiver)),
            }
        }
        for (key, outcome) in self.tickets.listen() {
            self.settle(key, outcome);
        }
        for (key, mut receiver) in std::mem::take(&mut self.misuses) {
            match receiver.try_recv() {
                Ok(Reply::Decided(_)) => {
                    return Err(format!(
                        "{key} with another request was answered as the first"
                    ));
                }
                Ok(Reply::Failed { reason }) => {
                    return Err(format!(
                        "{key} with another request failed inside: {reason}"
                    ));
                }
                Err(oneshot::error::TryRecvError::Empty) => self.misuses.push((key, receiver)),
                Ok(_) | Err(oneshot::error::TryRecvError::Closed) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn expect(&mut self, key: &str, reply: oneshot::Receiver<Reply>) {
        self.open.push((key.to_owned(), reply));
    }

    pub(crate) fn expect_refusal(&mut self, key: &str, reply: oneshot::Receiver<Reply>) {
        self.misuses.push((key.to_owned(), reply));
    }

    fn settle(&mut self, key: String, outcome: Outcome) {
        let first = self.answered.entry(key.clone());
        first.or_insert_with(|| outcome.clone());
        self.told.push((key, outcome));
    }
}
