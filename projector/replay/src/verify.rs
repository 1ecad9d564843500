//! Comparing two sides row by row while both move.
//!
//! First digests: every row of both sides goes into one of a fixed number of buckets by its key, and
//! buckets with equal sums hold equal rows. Then the rows of the buckets that differ. Rows that
//! differ are looked at again when both sides have applied everything that the log held at the last
//! look: rows with equal seqs are compared field by field, and so are rows that have stayed as they
//! were; the others have changed meanwhile, and are looked at again, a bounded number of times. So is what
//! is parked on one side only.

mod buckets;
mod compare;
mod folded;
mod made_by;
mod stored;

pub use compare::{Difference, Findings, IsCompared, Limits, compare};
pub use folded::Folded;
pub use made_by::{MadeBy, made_by};
pub use stored::Stored;

use std::collections::{BTreeMap, BTreeSet};

use cartwright_event_log::TopicPartition;
use cartwright_read_model::{Row, Table, Value};

/// Ends of partitions: the offsets before which everything has to be applied.
pub type Ends = BTreeMap<TopicPartition, u64>;

/// Parked records, by topic, partition and offset.
pub type ParkedSet = BTreeSet<(String, u32, u64)>;

/// Something that has rows.
pub trait Side {
    /// Its name.
    fn label(&self) -> String;

    /// Its own declaration of the table called `name`.
    fn table(&self, name: &str) -> Option<&'static Table>;

    /// Gives every row of a table to `visit`.
    ///
    /// # Errors
    /// When the rows cannot be read.
    fn scan(
        &mut self,
        table: &'static Table,
        visit: &mut (dyn FnMut(Row) + Send),
    ) -> anyhow::Result<()>;

    /// The rows with these keys that there are.
    ///
    /// # Errors
    /// When the rows cannot be read.
    fn get(&mut self, table: &'static Table, keys: &[Vec<Value>]) -> anyhow::Result<Vec<Row>>;

    /// The records that wait, before these ends.
    ///
    /// # Errors
    /// When they cannot be read.
    fn parked(&mut self, before: &Ends) -> anyhow::Result<ParkedSet>;

    /// Waits, within a limit, until everything before `ends` has been applied. Answers what has
    /// not, in words.
    ///
    /// # Errors
    /// When that cannot be told.
    fn reach(&mut self, ends: &Ends) -> anyhow::Result<Option<String>>;
}
