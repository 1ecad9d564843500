//! Reading parts of the log once, up to where they end now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use cartwright_event_log::{
    EventLog, LogReader, ReaderPurpose, Record, Start, TopicPartition, read_to,
};
use cartwright_events::codec::CodecError;
use cartwright_read_model::Projection;

/// How long reading may stand still.
const STALL: Duration = Duration::from_secs(20);
/// How long one record may take to come.
const ONE_RECORD: Duration = Duration::from_secs(10);

/// Where each partition of a projection's topics ends now.
///
/// # Errors
/// When the log does not answer or has no such topic.
pub fn ends(
    log: &impl EventLog,
    projection: &Projection,
) -> anyhow::Result<BTreeMap<TopicPartition, u64>> {
    let reader = log.reader(ReaderPurpose::Recovery)?;
    let mut ends = BTreeMap::new();
    for stream in projection.streams {
        for number in 0..log.partition_count(stream.topic())? {
            let at = TopicPartition::new(stream.topic(), number);
            let (_, end) = reader.watermarks(&at)?;
            ends.insert(at, end);
        }
    }
    Ok(ends)
}

/// Every partition of `topic`, from its beginning.
///
/// # Errors
/// When the log does not answer or has no such topic.
pub fn whole_topic(
    log: &impl EventLog,
    topic: &str,
) -> anyhow::Result<Vec<(TopicPartition, Start)>> {
    let name: Arc<str> = topic.into();
    let partitions = 0..log.partition_count(topic)?;
    Ok(partitions
        .map(|partition| TopicPartition::new(Arc::clone(&name), partition))
        .map(|at| (at, Start::Beginning))
        .collect())
}

/// Reads each partition from its start to its end as it is now, in order within each. Answers how
/// far each was read.
///
/// # Errors
/// When the log does not answer, when reading makes no progress, or what `on_record` says.
pub fn read_once(
    log: &impl EventLog,
    starts: &[(TopicPartition, Start)],
    on_record: impl FnMut(&Record) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<(TopicPartition, u64)>> {
    if starts.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = log.reader(ReaderPurpose::Recovery)?;
    reader.assign(starts)?;
    let ends = starts
        .iter()
        .map(|(at, _)| Ok((at.clone(), reader.watermarks(at)?.1)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    read_within(&mut reader, &ends, on_record)?;
    Ok(ends)
}

/// Reads each partition from its start to an end that it had before, in order within each.
///
/// # Errors
/// When the log does not answer, when reading makes no progress, or what `on_record` says.
pub fn read_again(
    log: &impl EventLog,
    parts: &[(TopicPartition, Start, u64)],
    on_record: impl FnMut(&Record) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    let mut reader = log.reader(ReaderPurpose::Recovery)?;
    let starts = parts.iter().map(|(at, start, _)| (at.clone(), *start));
    reader.assign(&starts.collect::<Vec<_>>())?;
    let ends = parts.iter().map(|(at, _, end)| (at.clone(), *end));
    read_within(&mut reader, &ends.collect::<Vec<_>>(), on_record)
}

fn read_within<R: LogReader>(
    reader: &mut R,
    ends: &[(TopicPartition, u64)],
    mut on_record: impl FnMut(&Record) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let end_of = |at: &TopicPartition| ends.iter().find(|(end, _)| end == at).map(|(_, end)| *end);
    read_to(reader, ends, STALL, |record| {
        // Records beyond an end may come too; the next reading takes them.
        let within = end_of(&record.topic_partition()).is_some_and(|end| record.offset < end);
        match within {
            true => on_record(&record),
            false => Ok(()),
        }
    })
}

/// What decoding a record came to, for whoever goes on when it can't be read: not when nobody can tell.
///
/// # Errors
/// [`CodecError::RegistryUnavailable`], which says nothing of the record.
pub fn decided<T>(decoded: Result<T, CodecError>) -> Result<Result<T, CodecError>, CodecError> {
    match decoded {
        Err(error @ CodecError::RegistryUnavailable(_)) => Err(error),
        decided => Ok(decided),
    }
}

/// The first record from `offset` on and before `end`; `None` when the log holds none there. Takes the
/// reader's assignment.
///
/// # Errors
/// When the log does not answer in time.
pub fn record_from<R: LogReader>(
    reader: &mut R,
    at: &TopicPartition,
    offset: u64,
    end: u64,
) -> anyhow::Result<Option<Record>> {
    let (low, high) = reader.watermarks(at)?;
    let (offset, end) = (offset.max(low), end.min(high));
    if offset >= end {
        return Ok(None);
    }
    reader.assign(&[(at.clone(), Start::Offset(offset))])?;
    let deadline = Instant::now() + ONE_RECORD;
    while reader.position(at)? < end {
        let records = reader.poll(1, Duration::from_millis(20))?;
        if let Some(record) = records.into_iter().next() {
            return Ok((record.offset < end).then_some(record));
        }
        ensure!(
            Instant::now() < deadline,
            "{at} at {offset}: no answer in time"
        );
    }
    Ok(None)
}
