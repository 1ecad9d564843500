//! The contract suite: what [`Sink`] promises, held against any implementation.
//!
//! [`check`] panics at the first promise that is broken. Run it over a [`Subject`]: the ones here
//! are for [`MemorySink`](crate::MemorySink) and, over a running server, for the real stores.

mod cases;
mod parking;
mod subjects;

pub use subjects::{CassandraSubject, MemorySubject, PostgresSubject};

use std::sync::Arc;

use cartwright_events::{Stream, Timestamp};
use cartwright_read_model::{
    Column, Order, ParkRequest, Position, PositionKey, Projection, Row, SkippedRow, Store, Table,
};

use crate::sink::{Batch, SeqOp, Sink, Unparked};

/// An implementation under test, with a store of its own behind it.
pub trait Subject {
    /// A sink over the store, for [`PROJECTION`] as [`Subject::version`].
    fn sink(&self) -> Box<dyn Sink>;

    /// The version whose tables are used.
    fn version(&self) -> u32;

    /// Every row of `table`, in any order.
    fn rows(&self, table: &'static Table) -> Vec<Row>;

    /// Puts a request about parked records of [`PROJECTION`] into the store.
    fn ask(&self, request: &ParkRequest);

    /// What is kept of records of [`PROJECTION`] that were given up.
    fn skipped(&self) -> Vec<SkippedRow>;

    /// Whether a batch that follows another position than the stored one is refused as a whole
    /// (rather than taken and outvoted).
    fn refuses_stale_batches(&self) -> bool;
}

/// A table with one row a key.
pub static THINGS: Table = Table {
    name: "contract_things",
    partition: &[Column::text("thing_id")],
    clustering: &[],
    cells: &[
        Column::text("label"),
        Column::int("amount"),
        Column::flag("active"),
        Column::time("seen_at"),
        Column::json("details"),
    ],
    indexes: &[],
};

/// A table with many rows a key.
pub static PARTS: Table = Table {
    name: "contract_parts",
    partition: &[Column::text("thing_id")],
    clustering: &[
        (Column::time("at"), Order::Descending),
        (Column::int("part"), Order::Ascending),
    ],
    cells: &[Column::text("label"), Column::int("amount")],
    indexes: &[],
};

/// The projection that the suite applies. Either store takes it.
pub static PROJECTION: Projection = Projection {
    name: "contract",
    version: 1,
    fold_version: 1,
    store: Store::Postgres,
    streams: &[Stream::Order],
    tables: &[&THINGS, &PARTS],
    differs: &[],
};

/// The position of a partition of [`PROJECTION`].
#[must_use]
pub fn key(version: u32, partition: u32) -> PositionKey {
    PositionKey {
        projection: PROJECTION.name,
        version,
        stream: Stream::Order,
        partition,
    }
}

/// A batch from one seq to another, 0 being before the first, where offsets are ten times the seqs.
#[must_use]
pub fn batch(key: PositionKey, from: u64, to: u64, ops: Vec<SeqOp>) -> Arc<Batch> {
    Arc::new(Batch {
        key,
        expected: (from > 0).then(|| at(from)),
        next: at(to),
        ops,
        parked: Vec::new(),
        unparked: Unparked::default(),
    })
}

fn at(seq: u64) -> Position {
    Position {
        generation: 1,
        next_offset: seq * 10,
        seq,
        recorded_at: Timestamp::from_micros(1_700_000_000_000_000 + seq as i64),
    }
}

/// Holds every promise against `subject`.
///
/// # Panics
/// When one is broken; the message names it.
pub fn check(subject: &dyn Subject) {
    subject.sink().prepare().expect("prepare");
    subject.sink().prepare().expect("prepare is harmless again");
    let cases = cases::CASES.into_iter().chain(parking::CASES);
    for (partition, (name, case)) in (0..).zip(cases) {
        eprintln!("contract: {name}");
        case(&cases::Case::new(subject, name, partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Semantics;

    #[test]
    fn memory_keeps_the_contract_as_a_transactional_store() {
        check(&MemorySubject::new(Semantics::Transactional));
    }

    #[test]
    fn memory_keeps_the_contract_as_a_store_with_a_time_per_cell() {
        check(&MemorySubject::new(Semantics::CellTimes));
    }
}
