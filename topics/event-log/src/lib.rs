//! The seam to the log: what a shard and a projector need of Kafka, and no more.
//!
//! Everything here is bytes: keys, values, headers, offsets. The API blocks,
//! because a shard owns one thread and librdkafka's transactional calls block
//! anyway.
//!
//! Two implementations keep the same contract, and one suite ([`contract`])
//! holds both to it:
//!
//! * [`kafka::KafkaLog`]: Kafka through librdkafka.
//! * [`memory::MemoryLog`]: a deterministic model of what Kafka does, with
//!   scripted faults.

pub mod contract;
mod error;
mod headers;
pub mod kafka;
mod limits;
mod log;
pub mod memory;
mod read_to;
mod record;

pub use error::{CommitError, LogError};
pub use headers::Headers;
pub use limits::Limits;
pub use log::{
    EventLog, GroupEvent, GroupReader, LogReader, LogWriter, OpenTransaction, ReaderPurpose,
    Receipt,
};
pub use read_to::read_to;
pub use record::{NewRecord, Record, Start, TopicPartition};
