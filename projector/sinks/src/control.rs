//! What a batch does to the control tables, as operations on them.

use cartwright_events::Timestamp;
use cartwright_read_model::tables::{PARK_REQUESTS, PARKED, POSITIONS, SKIPPED};
use cartwright_read_model::{CellTime, RowOp};

use crate::sink::{Batch, SeqOp, SinkError};

/// Records put aside.
pub(crate) fn parked_ops(batch: &Batch) -> Vec<SeqOp> {
    let now = Timestamp::now();
    let generation = batch.next.generation;
    let parked = batch.parked.iter();
    let op = |cells, key| RowOp::upsert(&PARKED, key, cells);
    parked
        .map(|parked| SeqOp {
            seq: parked.revision,
            op: op(parked.cells(generation, now), parked.row_key(&batch.key)),
        })
        .collect()
}

/// Records put aside no longer: only when their rows are there, and what was given up only when that is
/// on record.
pub(crate) fn settled_ops(batch: &Batch) -> Vec<SeqOp> {
    let settled = batch.unparked.settled.iter().map(|settled| SeqOp {
        seq: settled.revision + 1,
        op: RowOp::delete(&PARKED, settled.row_key(&batch.key)),
    });
    let skipped = batch.unparked.skipped.iter().map(|skipped| {
        let key = batch.key.of_record(&skipped.key, skipped.offset);
        SeqOp {
            seq: skipped.seq,
            op: RowOp::upsert(&SKIPPED, key, skipped.cells(batch.next.generation)),
        }
    });
    skipped.chain(settled).collect()
}

/// The position and, in the light of it, what was asked for: last of all.
pub(crate) fn final_ops(batch: &Batch) -> Vec<SeqOp> {
    let seq = batch.next.seq;
    let cells = batch.next.cells(Timestamp::now());
    let position = SeqOp {
        seq,
        op: RowOp::upsert(&POSITIONS, batch.key.values(), cells),
    };
    [position].into_iter().chain(answer_ops(batch)).collect()
}

/// Requests carried out.
pub(crate) fn answer_ops(batch: &Batch) -> Vec<SeqOp> {
    let (projection, version) = (batch.key.projection, batch.key.version);
    let answered = batch.unparked.answered.iter();
    answered
        .map(|(request, outcome)| SeqOp {
            seq: batch.next.seq,
            op: RowOp::upsert(
                &PARK_REQUESTS,
                request.row_key(projection, version),
                outcome.cells(),
            ),
        })
        .collect()
}

/// After every write of the generations of the log before this one, and before every write of its own: what
/// was parked then is deleted with this time.
pub(crate) fn log_begins(generation: u32) -> Result<CellTime, SinkError> {
    CellTime::delete(generation, 0).map_err(SinkError::fatal)
}
