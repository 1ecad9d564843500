//! Reading up to known ends.

use std::time::Duration;

use crate::{LogError, LogReader, Record, TopicPartition};

/// Records taken from the reader at a time.
const BATCH: usize = 4_096;
/// How long one poll waits. Short: the position may move by control records
/// alone, which a poll doesn't return for.
const POLL: Duration = Duration::from_millis(5);

/// Reads until the position of every target partition has reached its end
/// offset, and gives each record to `on_record`.
///
/// The partitions have to be assigned. An end is an offset as
/// [`LogReader::watermarks`] gives it: the first that is no longer wanted.
/// Ends are compared with *positions*, because the last offset of a transaction
/// is a control record and never delivered. Records beyond an end, and of other
/// assigned partitions, may be passed to `on_record` too.
///
/// # Errors
///
/// [`LogError::Stalled`] when no position moved and no record came for `stall`,
/// counted in empty polls (so that a reader that never waits stalls at once): a
/// lost wake-up, or a transaction that is still open. Otherwise the first error
/// of the reader or of `on_record`.
pub fn read_to<R, E>(
    reader: &mut R,
    targets: &[(TopicPartition, u64)],
    stall: Duration,
    mut on_record: impl FnMut(Record) -> Result<(), E>,
) -> Result<(), E>
where
    R: LogReader,
    E: From<LogError>,
{
    let idle_limit = (stall.as_millis() / POLL.as_millis()).max(1);
    let mut idle_polls = 0;
    let mut positions = positions(reader, targets)?;
    loop {
        let behind = targets
            .iter()
            .zip(&positions)
            .find(|((_, end), position)| *position < end);
        let Some(((at, end), position)) = behind else {
            return Ok(());
        };
        if idle_polls >= idle_limit {
            return Err(E::from(LogError::Stalled {
                at: at.clone(),
                position: *position,
                end: *end,
                waited_ms: u64::try_from(stall.as_millis()).unwrap_or(u64::MAX),
            }));
        }
        let records = reader.poll(BATCH, POLL)?;
        let delivered = !records.is_empty();
        for record in records {
            on_record(record)?;
        }
        let now = self::positions(reader, targets)?;
        let moved = delivered || now != positions;
        idle_polls = if moved { 0 } else { idle_polls + 1 };
        positions = now;
    }
}

fn positions<R: LogReader>(
    reader: &R,
    targets: &[(TopicPartition, u64)],
) -> Result<Vec<u64>, LogError> {
    targets.iter().map(|(at, _)| reader.position(at)).collect()
}
