//! The seam.

use std::sync::Arc;

use cartwright_read_model::{
    ParkRequest, ParkedRow, Position, PositionKey, RequestOutcome, RowOp, SkippedRow,
};
use thiserror::Error;

/// A row operation and the seq of the event that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeqOp {
    /// The event's seq in its topic-partition.
    pub seq: u64,
    /// What to do.
    pub op: RowOp,
}

/// What to apply: everything that the records between two positions of one partition ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Whose position.
    pub key: PositionKey,
    /// The position that the batch follows; `None` for the first batch of all.
    pub expected: Option<Position>,
    /// The position that the rows stand for afterwards. Its seq is not below any of `ops`.
    pub next: Position,
    /// Row operations in the order of seq.
    pub ops: Vec<SeqOp>,
    /// Records to be put aside, or to be kept there with another reason.
    pub parked: Vec<ParkedRow>,
    /// Records that are put aside no longer, and requests that have been carried out with them.
    pub unparked: Unparked,
}

impl Batch {
    /// Whether it is about records that follow the stored position, and not about parked ones.
    #[must_use]
    pub fn moves(&self) -> bool {
        self.expected != Some(self.next)
    }

    /// Whether it is the partition's first of this generation of the log. What was parked before points into
    /// another log.
    #[must_use]
    pub fn begins_log(&self) -> bool {
        let generation = self.next.generation;
        self.expected.is_none_or(|at| at.generation < generation)
    }
}

/// What becomes of records that were parked before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unparked {
    /// Records that wait no longer: their rows are in the batch, or they were given up.
    pub settled: Vec<ParkedRow>,
    /// What is kept of those of them that were given up.
    pub skipped: Vec<SkippedRow>,
    /// Requests that are done with this batch.
    pub answered: Vec<(ParkRequest, RequestOutcome)>,
}

/// What is stored of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// How far it is; `None` before the first batch.
    pub position: Option<Position>,
    /// Records that wait, by key and offset.
    pub parked: Vec<ParkedRow>,
}

/// Why a batch could not be applied, by what the caller does about it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SinkError {
    /// The stored position is another one than the batch follows: somebody else applies this
    /// partition, or an earlier attempt went through although its answer was lost. Nothing of the
    /// batch was applied. Load again and go on from there.
    #[error("the stored position is not the one that the batch follows")]
    PositionMoved,
    /// The store does not answer, or not now. Whether the batch was applied is not known. Try the
    /// same batch again after a pause, for as long as it takes.
    #[error("{reason}")]
    Retry {
        /// What the store said.
        reason: String,
    },
    /// The store refuses, and would again: a mistake in the code or in the schema. Stop.
    #[error("{reason}")]
    Fatal {
        /// What the store said.
        reason: String,
    },
}

/// What became of a batch that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Begun {
    /// It has ended.
    Ended(Result<(), SinkError>),
    /// It goes on by itself; [`Sink::finish`] answers how it ends.
    UnderWay,
}

/// Applies the rows of one version of one projection.
///
/// # Contract
///
/// * After `apply` answered `Ok`, every operation of the batch, its parked records and its position
///   are durable and visible to readers.
/// * After it answered `Retry`, or after a crash, any part of the rows may be there. The position
///   never is unless all rows and parked records are. Applying the same batch again, or another cut
///   of the same records from the stored position on, ends with the same rows as one clean run.
/// * Later seqs win: within a batch, and against any batch of an earlier position that arrives late.
///   How: a transactional store refuses with `PositionMoved` and changes nothing; a store with a
///   time per cell takes the writes and lets them lose.
/// * What is parked no longer is taken off the list after its rows are there, and never before; a
///   request is answered last. A transactional store does it all at once, and refuses with
///   `PositionMoved` also when somebody else has applied something since this sink last loaded or
///   applied the partition, though the position is the same.
/// * What was parked loses, with a time per cell, to what was applied of later seqs already.
/// * The first batch of a generation of the log takes off the list what a generation before had parked.
/// * Cells that no operation names stay as they are. A delete removes what was written before it
///   and nothing that was written later.
/// * Each row remembers the largest seq that wrote to it, as `row_seq`.
///
/// Calls block. They must not be made from a thread that drives asynchronous tasks.
pub trait Sink: Send {
    /// Makes what the store needs (tables, prepared statements). To be called before the others,
    /// again after `Retry`, and harmless at any time.
    ///
    /// # Errors
    /// `Retry` or `Fatal`.
    fn prepare(&mut self) -> Result<(), SinkError>;

    /// What is stored of a partition, with the parked records of the log's `generation`.
    ///
    /// # Errors
    /// `Retry` or `Fatal`.
    fn load(&mut self, key: &PositionKey, generation: u32) -> Result<Loaded, SinkError>;

    /// Applies a batch.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn apply(&mut self, batch: &Arc<Batch>) -> Result<(), SinkError>;

    /// Begins what [`Sink::apply`] does, so that the next batch can be made meanwhile. One batch of
    /// a partition at a time is under way: before anything else is asked of the sink about that
    /// partition, [`Sink::finish`] is called. A sink that is dropped waits for what is under way.
    fn begin(&mut self, batch: &Arc<Batch>) -> Begun {
        Begun::Ended(self.apply(batch))
    }

    /// Waits for the batch of a partition that is under way, if there is one.
    ///
    /// # Errors
    /// How the batch ended; see [`SinkError`].
    fn finish(&mut self, _key: &PositionKey) -> Result<(), SinkError> {
        Ok(())
    }

    /// The requests about parked records of a projection's version, after the one called `after`,
    /// in their order; carried out or not. A sink that nobody can ask has none.
    ///
    /// # Errors
    /// `Retry` or `Fatal`.
    fn requests(
        &mut self,
        _projection: &str,
        _version: u32,
        _after: &str,
    ) -> Result<Vec<(ParkRequest, RequestOutcome)>, SinkError> {
        Ok(Vec::new())
    }

    /// What is kept of the record under `key` at `offset` of the partition `of`, if it was given up.
    ///
    /// # Errors
    /// `Retry` or `Fatal`.
    fn skipped(
        &mut self,
        _of: &PositionKey,
        _key: &str,
        _offset: u64,
    ) -> Result<Option<SkippedRow>, SinkError> {
        Ok(None)
    }
}

impl SinkError {
    pub(crate) fn retry(reason: impl std::fmt::Display) -> Self {
        SinkError::Retry {
            reason: reason.to_string(),
        }
    }

    pub(crate) fn fatal(reason: impl std::fmt::Display) -> Self {
        SinkError::Fatal {
            reason: reason.to_string(),
        }
    }
}
