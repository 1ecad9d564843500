//! The traits. Their documentation is the contract; the contract suite holds
//! every implementation to it.

use std::fmt;
use std::time::Duration;

use crate::{CommitError, LogError, NewRecord, Record, Start, TopicPartition};

/// A log of topics and partitions with transactional writers.
///
/// Cheap to clone: a handle to one cluster.
pub trait EventLog: Clone + Send + Sync + 'static {
    /// See [`LogWriter`].
    type Writer: LogWriter;
    /// See [`LogReader`].
    type Reader: LogReader;
    /// See [`GroupReader`].
    type GroupReader: GroupReader;

    /// A producer, connected and warmed (metadata fetched) but holding nothing
    /// yet: nobody is fenced before [`LogWriter::take_over`].
    fn writer(&self, transactional_id: &str) -> Result<Self::Writer, LogError>;

    /// A read_committed reader without a group. Nothing is assigned yet.
    fn reader(&self, purpose: ReaderPurpose) -> Result<Self::Reader, LogError>;

    /// A member of the consumer group `group`, subscribed to `topics`. The group
    /// only shares the partitions out; positions are the caller's.
    fn group_reader(&self, group: &str, topics: &[&str]) -> Result<Self::GroupReader, LogError>;

    /// Number of partitions of `topic`.
    fn partition_count(&self, topic: &str) -> Result<u32, LogError>;

    /// The transactions that are open on a partition and so hold its read_committed readers up, by
    /// their first offset. For telling why nothing moves: none of it is needed to be correct.
    fn open_transactions(&self, at: &TopicPartition) -> Result<Vec<OpenTransaction>, LogError>;
}

/// A transaction that is open on a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    /// Its first offset in the partition; read_committed readers get no further.
    pub first_offset: u64,
    /// Whose it is; `None` when no coordinator knows (a hanging transaction).
    pub transactional_id: Option<String>,
    /// For how long it has been open, in milliseconds. `None` when its coordinator takes it for ended:
    /// it hangs until the holder of the id takes over.
    pub open_ms: Option<u64>,
}

impl fmt::Display for OpenTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transactional_id {
            Some(id) => write!(f, "the transaction of {id}")?,
            None => f.write_str("a transaction that no coordinator knows")?,
        }
        write!(f, ", open since offset {}", self.first_offset)?;
        match self.open_ms {
            Some(open_ms) => write!(f, " for {open_ms} ms"),
            None if self.transactional_id.is_some() => {
                f.write_str(", which its coordinator takes for ended")
            }
            None => Ok(()),
        }
    }
}

/// What a reader is for, which decides how long the broker holds an empty fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderPurpose {
    /// Read up to a known end as fast as possible: empty fetches return at once,
    /// which costs the broker CPU when it goes on for long.
    Recovery,
    /// Follow the end of a partition. Data arrives no later than with
    /// `Recovery`; only empty answers take longer.
    Tailing,
}

/// A writer that holds a transactional id.
pub trait LogWriter: Send {
    /// Fences every earlier holder of the id and aborts what it left open
    /// (`init_transactions`). May be called again at any time, which also ends
    /// every doubt about earlier transactions of this writer: afterwards nothing
    /// of them can become visible that was not already when this returned.
    fn take_over(&mut self) -> Result<(), LogError>;

    /// Whether a take-over should come before the next commit: nothing is held yet, an earlier
    /// transaction left a doubt, or a connection broke since. After such a break the last transaction
    /// may be half ended, and the failure of the next one would end the rest of it with an abort.
    fn needs_take_over(&self) -> bool;

    /// One transaction that holds all `records`: begin, produce, await every
    /// delivery, commit. All of them become visible to read_committed readers,
    /// or none.
    ///
    /// Blocks until the outcome is known or a bounded time has passed.
    /// The writer refuses with [`CommitError::TakeOverFirst`] before the first
    /// take-over, after an error that left the broker with something of it, and
    /// after a receipt that is [`doubtful`](Receipt::doubtful).
    fn commit(&mut self, records: Vec<NewRecord>) -> Result<Receipt, CommitError>;
}

/// Proof of a committed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Offset of each record, in the order given to `commit`.
    pub offsets: Vec<u64>,
    /// From begin until the commit was acknowledged.
    pub duration: Duration,
    /// Committed, but a connection broke or it took suspiciously long: a second
    /// copy of the commit request may be on its way and would commit half of
    /// the next transaction. Take over before the next commit.
    pub doubtful: bool,
}

/// Reads committed records of partitions that the caller names.
pub trait LogReader: Send {
    /// Reads these partitions from here on, and no others: replaces an earlier
    /// assignment, and ends every pause.
    ///
    /// A start that is out of range is reported here or by a later `poll`.
    fn assign(&mut self, partitions: &[(TopicPartition, Start)]) -> Result<(), LogError>;

    /// Up to `max` records, in order within each partition. Returns as soon as
    /// there are some; empty after `timeout`. Aborted records never show, nor do
    /// those of a transaction that is still open.
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<Vec<Record>, LogError>;

    /// The next offset to be read. Counts control records and aborted records
    /// passed by `poll`, so that it reaches the high watermark when everything
    /// has been read, unless a transaction is open.
    fn position(&self, at: &TopicPartition) -> Result<u64, LogError>;

    /// Low and high watermark as the broker has them now: the first offset that
    /// is still there, and the one that the next record will get. High is the
    /// HIGH watermark and never the last stable offset: open transactions count.
    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError>;

    /// The last stable offset: every transaction with a record before it has
    /// ended, and what it wrote anywhere has been written. It may be behind what
    /// is committed, so it says nothing of where the log ends.
    fn stable_end(&self, at: &TopicPartition) -> Result<u64, LogError>;

    /// Delivers nothing of these partitions until `resume`. Positions stay.
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError>;

    /// Ends a pause.
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError>;
}

/// What a poll of a [`GroupReader`] brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupEvent {
    /// These partitions, and no others, belong to this member now. Nothing of
    /// them is delivered before [`GroupReader::seek_all`] says where to start.
    Assigned(Vec<TopicPartition>),
    /// These partitions are being taken away. The group waits (for a bounded
    /// time) for this member's next poll before it gives them to another: stop
    /// applying before that.
    Revoked(Vec<TopicPartition>),
    /// Committed records; empty when there were none in time.
    Records(Vec<Record>),
}

/// A member of a consumer group that keeps no positions in the log.
///
/// Dropping it leaves the group. A member that does not poll for long is taken
/// for dead and its partitions are given away without its consent: whatever it
/// writes has to be guarded by the expected previous position.
pub trait GroupReader: Send {
    /// The next event. `Records` holds up to `max` records and only of
    /// partitions that are assigned and have a start.
    fn poll(&mut self, max: usize, timeout: Duration) -> Result<GroupEvent, LogError>;

    /// Where to start. To be called after `Assigned` with all of its partitions
    /// (those left out are not read), and later with any assigned partition to
    /// read it again from elsewhere.
    ///
    /// On an error after `Assigned`, call it again or drop the reader: until one
    /// of these is done the next rebalance of the whole group waits.
    fn seek_all(&mut self, starts: &[(TopicPartition, Start)]) -> Result<(), LogError>;

    /// As [`LogReader::position`].
    fn position(&self, at: &TopicPartition) -> Result<u64, LogError>;

    /// As [`LogReader::watermarks`].
    fn watermarks(&self, at: &TopicPartition) -> Result<(u64, u64), LogError>;

    /// As [`LogReader::pause`]. Ends with the partition's being taken away.
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError>;

    /// As [`LogReader::resume`].
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError>;
}
