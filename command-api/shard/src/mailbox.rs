//! The bounded mailbox, and what goes in and comes back.

use cartwright_events::Timestamp;
use crossbeam_channel::{Sender, TrySendError};
use tokio::sync::{oneshot, watch};

use crate::outcome::{Answer, Outcome};
use crate::ownership::Ownership;
use crate::pace::Pace;
use crate::results::IdempotencyKey;

/// A command on its way to the shard, and where its reply goes.
#[derive(Debug)]
pub struct Submission<C> {
    /// What to decide.
    pub command: C,
    /// Id of this command; made at the edge, the same however often it is forwarded.
    pub command_id: String,
    /// Id of the request that it goes back to.
    pub correlation_id: String,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// The caller's key, if it gave one.
    pub idempotency: Option<IdempotencyKey>,
    /// The version at which the caller saw the aggregate: at any other, nothing is decided but that.
    pub expected_version: Option<u64>,
    /// Not decided after this time (the caller has gone).
    pub deadline: Timestamp,
    /// Where the reply goes. A caller that does not wait any more is no error.
    pub reply: oneshot::Sender<Reply>,
}

/// What comes back for a submission.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Decided and durable.
    Decided(Outcome),
    /// The idempotency key was used with another request. Nothing was done.
    KeyReused,
    /// The deadline passed before its turn came. Nothing was done.
    DeadlinePassed,
    /// The shard has no room: for one more aggregate, or for one more command that waits for an
    /// aggregate that is not in memory. Nothing was done.
    Overloaded {
        /// After how long to try again, in milliseconds.
        retry_after_ms: u64,
    },
    /// Deciding it failed inside (a panic). Nothing was done.
    Failed {
        /// What the panic said.
        reason: String,
    },
    /// The shard stopped with the command in its hands: it may have taken effect or not. A retry
    /// under the same key is safe.
    Unknown {
        /// Why it stopped.
        reason: String,
    },
}

/// The mailbox is full: here is the value back, and when to try again.
#[derive(Debug)]
pub struct MailboxFull<T> {
    /// What was not taken.
    pub value: T,
    /// After how long there should be room, in milliseconds, from what the shard decides a second.
    pub retry_after_ms: u64,
}

/// A question about a command that was put into the inbox.
#[derive(Debug)]
pub struct Lookup {
    /// The command's id.
    pub command_id: String,
    /// Its offset in the inbox.
    pub offset: u64,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Found>,
}

/// What the shard knows of a command that was put into its inbox.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Its turn has not come.
    Waiting,
    /// It was decided so.
    Decided(Outcome),
    /// It was decided, too long ago to be remembered.
    Forgotten,
}

/// What a caller can put in the mailbox.
#[derive(Debug)]
pub(crate) enum Letter<C> {
    Command(Submission<C>),
    /// Tell me what became of this command.
    Lookup(Lookup),
    /// Tell me what becomes of this aggregate.
    Watch {
        aggregate_id: String,
        reply: oneshot::Sender<Answer>,
    },
}

/// The handle by which callers reach a shard. Cheap to clone.
#[derive(Debug)]
pub struct Mailbox<C> {
    pub(crate) letters: Sender<Letter<C>>,
    pub(crate) ownership: watch::Receiver<Ownership>,
    pub(crate) inbox_trouble: watch::Receiver<Option<String>>,
    pub(crate) pace: Pace,
}

impl<C> Clone for Mailbox<C> {
    fn clone(&self) -> Self {
        Self {
            letters: self.letters.clone(),
            ownership: self.ownership.clone(),
            inbox_trouble: self.inbox_trouble.clone(),
            pace: self.pace.clone(),
        }
    }
}

impl<C> Mailbox<C> {
    /// Puts a command in.
    ///
    /// # Errors
    /// [`MailboxFull`] gives the submission back, also when the shard has stopped for good (ask
    /// [`Mailbox::ownership`] which).
    pub fn submit(&self, submission: Submission<C>) -> Result<(), Box<MailboxFull<Submission<C>>>> {
        match self.letters.try_send(Letter::Command(submission)) {
            Ok(()) => Ok(()),
            Err(
                TrySendError::Full(Letter::Command(value))
                | TrySendError::Disconnected(Letter::Command(value)),
            ) => Err(Box::new(MailboxFull {
                value,
                retry_after_ms: self.retry_after_ms(),
            })),
            // The letter that comes back is the one that was sent.
            Err(_) => Ok(()),
        }
    }

    /// Asks to be told once the aggregate's outcome is decided and durable. The receiver ends
    /// without a value when too many wait, or the shard stops.
    #[must_use]
    pub fn watch(&self, aggregate_id: String) -> oneshot::Receiver<Answer> {
        let (reply, receiver) = oneshot::channel();
        // When the mailbox is full the sender is dropped, and the receiver says so.
        let _ = self.letters.try_send(Letter::Watch {
            aggregate_id,
            reply,
        });
        receiver
    }

    /// Asks what became of a command that was put into the inbox at `offset`. The receiver ends
    /// without a value when the mailbox is full, or the shard stops.
    #[must_use]
    pub fn look_up(&self, command_id: String, offset: u64) -> oneshot::Receiver<Found> {
        let (reply, receiver) = oneshot::channel();
        // When the mailbox is full the sender is dropped, and the receiver says so.
        let _ = self.letters.try_send(Letter::Lookup(Lookup {
            command_id,
            offset,
            reply,
        }));
        receiver
    }

    /// Commands that wait for their turn.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.letters.len()
    }

    /// What the shard's claim on its partition is now.
    #[must_use]
    pub fn ownership(&self) -> Ownership {
        self.ownership.borrow().clone()
    }

    /// What holds the shard's inbox up; nothing while it moves. The shard serves commands all the
    /// same, but hears nothing of other shards.
    #[must_use]
    pub fn inbox_trouble(&self) -> Option<String> {
        self.inbox_trouble.borrow().clone()
    }

    /// To wait for a change of ownership.
    #[must_use]
    pub fn ownership_changes(&self) -> watch::Receiver<Ownership> {
        self.ownership.clone()
    }

    /// After how long what waits now should be decided, in milliseconds; what the shard has taken out of
    /// the mailbox and not decided yet comes first.
    #[must_use]
    pub fn retry_after_ms(&self) -> u64 {
        self.pace.retry_after_ms(self.letters.len())
    }
}
