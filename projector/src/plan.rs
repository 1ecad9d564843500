//! What a worker builds, and within which limits.

use std::collections::BTreeSet;
use std::time::Duration;

use cartwright_event_log::Record;
use cartwright_events::Stream;
use cartwright_folds::{Fold, fold_of};
use cartwright_read_model::{Projection, projection};
use thiserror::Error;

/// Which projection, as which version, from which log.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The projection, as one version of it is declared.
    pub projection: &'static Projection,
    /// The number of the version to build: the declaration's own, unless it is built again under
    /// another.
    pub version: u32,
    /// Its fold.
    pub fold: Fold,
    /// The log's generation: raised when a log is restored or made anew, so that seqs of another
    /// log are never compared.
    pub generation: u32,
    /// Only records with these keys, for a trial; `None`: all.
    pub keys: Option<&'static BTreeSet<String>>,
    /// Records that operators gave up under another version (stream, partition, offset): they make
    /// nothing of the rows here, either.
    pub given_up: Option<&'static BTreeSet<(Stream, u32, u64)>>,
}

/// There is no projection of that name, or it has no fold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no projection {0:?}")]
pub struct UnknownProjection(pub String);

impl Plan {
    /// The projection called `name` in the newest version that this code declares.
    ///
    /// # Errors
    /// [`UnknownProjection`].
    pub fn named(name: &str, generation: u32) -> Result<Self, UnknownProjection> {
        let unknown = || UnknownProjection(name.to_owned());
        let projection = projection(name).ok_or_else(unknown)?;
        Self::of(projection, projection.version, generation)
    }

    /// The version `number`, built as `projection` declares.
    ///
    /// # Errors
    /// [`UnknownProjection`] when it has no fold.
    pub fn of(
        projection: &'static Projection,
        number: u32,
        generation: u32,
    ) -> Result<Self, UnknownProjection> {
        let unknown = || UnknownProjection(projection.name.to_owned());
        Ok(Self {
            projection,
            version: number,
            fold: fold_of(projection).ok_or_else(unknown)?,
            generation,
            keys: None,
            given_up: None,
        })
    }

    /// Whether a record of `stream` was given up.
    pub(crate) fn gives_up(&self, stream: Stream, record: &Record) -> bool {
        let place = (stream, record.partition, record.offset);
        self.given_up
            .is_some_and(|given_up| given_up.contains(&place))
    }

    /// `name@version`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}@{}", self.projection.name, self.version)
    }

    /// The consumer group: `cartwright-projector-<name>-v<version>`.
    #[must_use]
    pub fn group(&self) -> String {
        format!("{}{}", group_prefix(self.projection), self.version)
    }

    /// The version of `projection` that the members of a consumer group feed, if they feed one.
    #[must_use]
    pub fn version_of_group(projection: &Projection, group: &str) -> Option<u32> {
        group.strip_prefix(&group_prefix(projection))?.parse().ok()
    }

    /// The topics it consumes.
    #[must_use]
    pub fn topics(&self) -> Vec<&'static str> {
        let streams = self.projection.streams.iter();
        streams.map(|stream| stream.topic()).collect()
    }
}

fn group_prefix(projection: &Projection) -> String {
    format!("cartwright-projector-{}-v", projection.name)
}

/// How much a worker takes at a time, and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records taken from the log at a time.
    pub max_records: usize,
    /// Bytes of them, about: how many fit is judged by those before.
    pub max_bytes: usize,
    /// Row operations in one batch. A single event may ask for more; it is never cut.
    pub max_rows: usize,
    /// How long to gather records after the first one.
    pub linger: Duration,
    /// How long to wait for a record.
    pub poll: Duration,
    /// How long to wait before trying a store again, at first.
    pub retry_min: Duration,
    /// How long at most; the time doubles from try to try.
    pub retry_max: Duration,
    /// How often a partition that has been read to its end says so with its position, so that its
    /// rows count as fresh though nothing happens; `None`: never.
    pub heartbeat: Option<Duration>,
    /// Keys that may be parked in one partition; with more the projection stops.
    pub max_parked_keys: usize,
    /// Records that may be parked in one partition, those behind others included; with more the
    /// projection stops.
    pub max_parked_records: usize,
    /// How often to look for requests about parked records.
    pub requests_every: Duration,
    /// Parked records that are read again at a time.
    pub unpark_records: usize,
    /// Bytes of them that are held at a time. A single record may be larger.
    pub unpark_bytes: usize,
    /// How long new records wait at a time while parked ones are read again.
    pub unpark_slice: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_records: 500,
            max_bytes: 32 * 1_024 * 1_024,
            max_rows: 5_000,
            linger: Duration::from_millis(10),
            poll: Duration::from_millis(200),
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            heartbeat: Some(Duration::from_secs(2)),
            max_parked_keys: 1_000,
            max_parked_records: 20_000,
            requests_every: Duration::from_secs(1),
            unpark_records: 10_000,
            unpark_bytes: 32 * 1_024 * 1_024,
            unpark_slice: Duration::from_millis(300),
        }
    }
}
