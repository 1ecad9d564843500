//! What a bounded context brings to the shard that runs it.

use cartwright_events::{Context, Event, Message, PositionToken, Stream, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::rejection::Rejection;

/// A message to another shard, sent in the same transaction as the events beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Partition of the message's target context.
    pub partition: u32,
    /// What to tell.
    pub message: Message,
}

/// What an accepted command is answered with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The aggregate's id.
    pub aggregate_id: String,
    /// The aggregate's version after the command (or after what a repeat repeats).
    pub version: u64,
    /// More for the caller, by field name (an order id, a status, a line number).
    pub data: serde_json::Map<String, serde_json::Value>,
    /// For a repeat: the seqs of the events that were written then. Empty when the command wrote
    /// events of its own; the shard knows their seqs.
    pub earlier: Vec<(Stream, u64)>,
}

/// What a command, a message or a timer decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Facts, in the order in which they happened. Versions are set.
    pub events: Vec<Event>,
    /// Messages to other shards.
    pub messages: Vec<Outgoing>,
}

/// An event does not fit the state that it should change: the log and the code disagree.
/// The shard stops; nothing may be decided on a state that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{event_type} of {aggregate_id} does not fit its state: {problem}")]
pub struct EvolveError {
    /// The event's type.
    pub event_type: &'static str,
    /// The aggregate.
    pub aggregate_id: String,
    /// What does not fit.
    pub problem: String,
}

/// A bounded context as pure functions over the state of one shard.
///
/// Nothing here reads a clock, does I/O or waits. `now` is the shard's time: the later of the wall
/// clock and of the last record.
pub trait BoundedContext: Send + Sync + 'static {
    /// Which context.
    const CONTEXT: Context;
    /// The aggregates of one shard.
    type State: Default + Send + 'static;
    /// All that is remembered of one aggregate, as snapshots keep it. Its JSON is the snapshot's
    /// format: fields may be added with a default; any other change needs a new format number.
    type Snapshot: Serialize + DeserializeOwned + Send + 'static;
    /// What callers can ask for.
    type Command: Serialize + DeserializeOwned + Send + 'static;

    /// The key whose shard decides the command.
    fn key(command: &Self::Command) -> &str;

    /// Decides a command.
    ///
    /// # Errors
    /// A [`Rejection`]: a named reason, and no effect.
    fn decide(
        &self,
        state: &Self::State,
        command: &Self::Command,
        now: Timestamp,
    ) -> Result<(Decision, Accepted), Rejection>;

    /// Whether what the command's decision stands on beside the state is there: the process's
    /// prices, as of `after` where the caller names a position.
    fn readiness(&self, _: &Self::Command, _after: Option<&PositionToken>) -> Readiness {
        Readiness::Ready
    }

    /// Version of the aggregate that the command is about; 0 while there is none.
    fn version(&self, state: &Self::State, command: &Self::Command) -> u64;

    /// Decides what a message from another shard does. A message cannot be refused; one that makes
    /// no sense here decides nothing.
    fn receive(&self, state: &Self::State, message: &Message, now: Timestamp) -> Decision;

    /// What to answer to a message whose decision failed (a panic), so that its sender does not wait
    /// for ever.
    fn give_up(&self, message: &Message, reason: &str) -> Vec<Outgoing>;

    /// Applies a fact, written with `seq` in its topic-partition.
    ///
    /// # Errors
    /// [`EvolveError`] when it does not fit: the shard stops.
    fn evolve(&self, state: &mut Self::State, event: &Event, seq: u64) -> Result<(), EvolveError>;

    /// The earliest time at which a timer of this shard is due.
    fn next_due(&self, state: &Self::State) -> Option<Timestamp>;

    /// Decides the timers that are due at `now`, `most` aggregates at a time.
    fn on_time(&self, state: &Self::State, now: Timestamp, most: usize) -> Vec<Decision>;

    /// Ids of the aggregates in memory, in order, from the one after `after`.
    fn ids_after<'a>(
        &self,
        state: &'a Self::State,
        after: Option<&str>,
    ) -> Box<dyn DoubleEndedIterator<Item = &'a str> + 'a>;

    /// Number of aggregates in memory.
    fn count(&self, state: &Self::State) -> usize;

    /// Whether the aggregate is in memory.
    fn holds(&self, state: &Self::State, aggregate_id: &str) -> bool;

    /// Bytes that the aggregate takes in memory, about, with its id; 0 when it is not there. Asked
    /// before and after every event, so that it must cost little.
    fn size_hint(&self, state: &Self::State, aggregate_id: &str) -> usize {
        usize::from(self.holds(state, aggregate_id)) * 1_024
    }

    /// The aggregate as it is; `None` when it is not in memory.
    fn snapshot(&self, state: &Self::State, aggregate_id: &str) -> Option<Self::Snapshot>;

    /// Puts the aggregate into memory, or in the place of what was there, as it was when the
    /// snapshot was taken.
    fn restore(&self, state: &mut Self::State, aggregate_id: &str, snapshot: Self::Snapshot);

    /// Takes the aggregate out of memory.
    fn forget(&self, state: &mut Self::State, aggregate_id: &str);

    /// Whether only a caller's command can still change the aggregate: it has no timer, and every
    /// message about it decides what it would decide if there were no such aggregate. Such an
    /// aggregate may leave memory, and comes back for a command.
    fn is_finished(&self, state: &Self::State, aggregate_id: &str) -> bool;

    /// What became of an aggregate whose caller waits for an outcome; `None` while it is open.
    fn outcome(&self, state: &Self::State, aggregate_id: &str) -> Option<Accepted>;
}

/// How far that is on which a decision stands beside the state of its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It is there.
    Ready,
    /// It is being loaded, and will be there.
    Loading,
    /// It is there, but does not hold the position that the caller names; it does soon, or that is
    /// no position of this log.
    Behind,
    /// It has stopped and will not be there: another process has to decide.
    Stopped,
}

/// The price of a product as the process knows it from the catalog's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedProduct {
    /// The product's name.
    pub name: String,
    /// Price of one unit, in minor units.
    pub price_minor: i64,
    /// Its currency.
    pub currency: cartwright_events::Currency,
    /// Seq of the catalog event that set the price.
    pub catalog_seq: u64,
    /// Whether it is no longer sold.
    pub retired: bool,
}

/// Where server-side prices come from: one table per process.
pub trait Prices: Send + Sync + 'static {
    /// The product, or `None` when the catalog does not know the SKU.
    fn product(&self, sku: &cartwright_events::Sku) -> Option<PricedProduct>;

    /// Whether the table can be used, and holds the catalog's part of `after`.
    fn readiness(&self, _after: Option<&PositionToken>) -> Readiness {
        Readiness::Ready
    }
}
