//! Tables that are empty although the log says that they hold rows.

use std::collections::{BTreeMap, HashSet};

use cartwright_event_log::EventLog;
use cartwright_events::Stream;
use cartwright_events::codec::Codec;
use cartwright_folds::Outcome;
use cartwright_projector::{Plan, decode, envelope, fold};
use cartwright_read_model::{Position, PositionKey, RowOp, Table, Value, fnv64};

use crate::audit::Place;
use crate::reading::{decided, read_once, whole_topic};

/// Rows of one table beyond which it is not asked whether all of them were deleted again.
const MOST_ROWS: usize = 5_000_000;

/// Which of `tables`, empty in the store, hold rows by what `plan` makes of the records that `positions`
/// say were applied, but for those that were put `aside`.
///
/// # Errors
/// When the log or the registry does not answer.
pub fn emptied(
    log: &impl EventLog,
    codec: &Codec,
    plan: &Plan,
    tables: &[&'static Table],
    positions: &[(PositionKey, Position)],
    aside: &HashSet<Place>,
) -> anyhow::Result<Vec<&'static str>> {
    let mut rows: BTreeMap<&'static str, HashSet<u64>> = BTreeMap::new();
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    for stream in plan.projection.streams {
        let starts = whole_topic(log, stream.topic())?;
        read_once(log, &starts, |record| {
            let place = (*stream, record.partition, record.offset);
            if !is_applied(plan, positions, place) || aside.contains(&place) {
                return Ok(());
            }
            let event = decode(codec, *stream, record.value.as_deref().unwrap_or_default());
            let (Ok(envelope), Ok(event)) = (envelope(*stream, record), decided(event)?) else {
                return Ok(());
            };
            if let Outcome::Emit(ops) = fold(plan.fold, &envelope, &event) {
                for op in &ops {
                    if tables.iter().any(|table| table.name == op.table().name) {
                        take(rows.entry(op.table().name).or_default(), op);
                    }
                }
            }
            Ok(())
        })?;
    }
    rows.retain(|_, rows| !rows.is_empty());
    Ok(rows.into_keys().collect())
}

fn take(rows: &mut HashSet<u64>, op: &RowOp) {
    let hash = hash(op.key());
    match op {
        RowOp::Upsert { .. } if rows.len() < MOST_ROWS => drop(rows.insert(hash)),
        RowOp::Upsert { .. } => {}
        RowOp::Delete { .. } => drop(rows.remove(&hash)),
    }
}

fn hash(key: &[Value]) -> u64 {
    fnv64(&serde_json::to_vec(key).unwrap_or_default())
}

fn is_applied(
    plan: &Plan,
    positions: &[(PositionKey, Position)],
    (stream, partition, offset): (Stream, u32, u64),
) -> bool {
    positions.iter().any(|(key, position)| {
        (key.stream, key.partition, position.generation) == (stream, partition, plan.generation)
            && offset < position.next_offset
    })
}
