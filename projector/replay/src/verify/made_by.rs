//! Which events made a row what it is.

use std::collections::HashMap;
use std::time::Duration;

use cartwright_event_log::{EventLog, LogReader, ReaderPurpose, Record, Start, read_to};
use cartwright_events::Stream;
use cartwright_events::codec::Codec;
use cartwright_folds::{Fold, Outcome};
use cartwright_projector::{decode, envelope, fold};
use cartwright_read_model::{RowOp, Value};
use serde::Serialize;

use super::Ends;
use super::compare::Difference;
use crate::reading::decided;

/// Events told of one row; the last ones.
const MOST_EVENTS: usize = 20;
/// How long reading may stand still.
const STALL: Duration = Duration::from_secs(10);

/// An event that wrote to a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MadeBy {
    /// Its type.
    pub event: &'static str,
    /// The topic.
    pub topic: &'static str,
    /// The partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Its seq.
    pub seq: u64,
    /// What it wrote, by the columns' names; of several folds, by any of them.
    pub columns: Vec<&'static str>,
}

/// Reads the log once and adds to each difference the events that wrote to its row, by any of
/// `folds`.
///
/// # Errors
/// When the log or the registry does not answer, or not to the end; what was read until then is told.
pub fn made_by<L: EventLog>(
    log: &L,
    codec: &Codec,
    folds: &[Fold],
    ends: &Ends,
    differences: &mut [Difference],
) -> anyhow::Result<()> {
    if differences.is_empty() {
        return Ok(());
    }
    let rows: HashMap<(&'static str, Vec<Value>), usize> = differences
        .iter()
        .enumerate()
        .map(|(index, each)| ((each.table, each.key.clone()), index))
        .collect();
    for (at, end) in ends {
        let Some(stream) = Stream::of_topic(&at.topic) else {
            continue;
        };
        let mut reader = log.reader(ReaderPurpose::Recovery)?;
        reader.assign(&[(at.clone(), Start::Beginning)])?;
        read_to(&mut reader, &[(at.clone(), *end)], STALL, |record| {
            for (row, made_by) in touched(codec, folds, stream, &record)? {
                if let Some(index) = rows.get(&row) {
                    let events = &mut differences[*index].events;
                    events.push(made_by);
                    let excess = events.len().saturating_sub(MOST_EVENTS);
                    events.drain(..excess);
                }
            }
            anyhow::Ok(())
        })?;
    }
    Ok(())
}

type Touched = ((&'static str, Vec<Value>), MadeBy);

/// The rows that a record writes to. One that cannot be folded writes to none.
///
/// # Errors
/// When the registry does not answer.
fn touched(
    codec: &Codec,
    folds: &[Fold],
    stream: Stream,
    record: &Record,
) -> anyhow::Result<Vec<Touched>> {
    let (Ok(envelope), Some(value)) = (envelope(stream, record), &record.value) else {
        return Ok(Vec::new());
    };
    let Ok(event) = decided(decode(codec, stream, value))? else {
        return Ok(Vec::new());
    };
    let mut touched: Vec<Touched> = Vec::new();
    for one in folds {
        let Outcome::Emit(ops) = fold(*one, &envelope, &event) else {
            continue;
        };
        for op in ops {
            let row = (op.table().name, op.key().to_vec());
            let columns: Vec<&'static str> = match &op {
                RowOp::Upsert { cells, .. } => cells.iter().map(|(name, _)| *name).collect(),
                RowOp::Delete { .. } => Vec::new(),
            };
            match touched.iter_mut().find(|(known, _)| *known == row) {
                Some((_, made_by)) => {
                    for column in columns {
                        if !made_by.columns.contains(&column) {
                            made_by.columns.push(column);
                        }
                    }
                }
                None => touched.push((
                    row,
                    MadeBy {
                        event: event.body.type_name(),
                        topic: stream.topic(),
                        partition: record.partition,
                        offset: record.offset,
                        seq: envelope.seq,
                        columns,
                    },
                )),
            }
        }
    }
    Ok(touched)
}
