//! What building a version would take, from samples of the log.

use std::time::{Duration, Instant};

use cartwright_event_log::{EventLog, LogReader, ReaderPurpose, Start, TopicPartition};
use cartwright_events::Stream;
use cartwright_events::codec::Codec;
use cartwright_projector::decode;
use serde::Serialize;

use crate::build::{End, first_beyond};

/// Records of each partition that are read for the estimate.
const SAMPLE: usize = 5_000;
const POLL: Duration = Duration::from_millis(500);
/// How long one look into a partition may take.
const LOOK: Duration = Duration::from_secs(10);

/// A partition, as far as it would be read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Partition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// Offsets up to the end or the point in time: records and the marks of transactions.
    #[serde(skip)]
    pub offsets: u64,
    /// Records among them.
    pub records: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Seconds that it takes to read and decode.
    #[serde(skip)]
    pub seconds: f64,
}

/// Looks at one partition up to `end`.
///
/// # Errors
/// When the log does not answer.
pub fn partition(
    log: &impl EventLog,
    codec: &Codec,
    stream: Stream,
    at: &TopicPartition,
    end: &End,
) -> anyhow::Result<Partition> {
    let end = first_beyond(log, at, end)?;
    let mut reader = log.reader(ReaderPurpose::Recovery)?;
    let (low, _) = reader.watermarks(at)?;
    reader.assign(&[(at.clone(), Start::Beginning)])?;
    let (mut read, mut bytes, mut took) = (0_u64, 0_u64, Duration::ZERO);
    let deadline = Instant::now() + LOOK;
    while (read as usize) < SAMPLE && reader.position(at)? < end && Instant::now() < deadline {
        let begun = Instant::now();
        let records = reader.poll(SAMPLE, POLL)?;
        let within = records.iter().filter(|record| record.offset < end);
        for record in within {
            read += 1;
            let value = record.value.as_deref().unwrap_or_default();
            bytes += (record.key.as_ref().map_or(0, Vec::len) + value.len()) as u64;
            // Its result is of no interest here; decoding is what costs time.
            let _ = decode(codec, stream, value);
        }
        // An empty answer is the time of connecting, or of waiting.
        if !records.is_empty() {
            took += begun.elapsed();
        }
    }
    let offsets = end.saturating_sub(low);
    let seen = reader.position(at)?.min(end).saturating_sub(low);
    let whole = offsets as f64 / seen.max(1) as f64;
    Ok(Partition {
        topic: at.topic.to_string(),
        partition: at.partition,
        offsets,
        records: (read as f64 * whole) as u64,
        bytes: (bytes as f64 * whole) as u64,
        seconds: took.as_secs_f64() * whole,
    })
}

/// The seconds that partitions take, so many at a time: the longest one is not made shorter by that.
#[must_use]
pub fn seconds(partitions: &[Partition], parallel: usize) -> f64 {
    let at_once = parallel.clamp(1, partitions.len().max(1));
    let sum: f64 = partitions.iter().map(|each| each.seconds).sum();
    let longest = partitions
        .iter()
        .map(|each| each.seconds)
        .fold(0.0, f64::max);
    (sum / at_once as f64).max(longest)
}
