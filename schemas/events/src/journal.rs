//! The journal: one record per transaction of a shard. Internal.
//!
//! It is what makes recovery exact: which seqs belong to which transaction, how far the inbox was
//! read, and what was decided for whom.

use std::collections::BTreeSet;
use std::num::ParseIntError;

use crate::types::Timestamp;
use crate::wire_record;

/// Header of journal records: the offsets of messages behind the inbox position that are applied too,
/// with commas between. Missing where there are none.
pub const INBOX_PASSED: &str = "inbox_passed";

/// The value of a header [`INBOX_PASSED`].
#[must_use]
pub fn inbox_passed_header(offsets: &BTreeSet<u64>) -> Vec<u8> {
    let offsets: Vec<String> = offsets.iter().map(u64::to_string).collect();
    offsets.join(",").into_bytes()
}

/// The offsets in a header [`INBOX_PASSED`].
///
/// # Errors
/// It is no list of them.
pub fn inbox_passed(header: Option<&[u8]>) -> Result<BTreeSet<u64>, ParseIntError> {
    let text = header.map(String::from_utf8_lossy);
    let offsets = text.iter().flat_map(|text| text.split(','));
    offsets.map(str::parse).collect()
}

wire_record! {
    /// The seqs that one transaction wrote to one topic.
    pub struct SeqRange {
        /// The topic.
        pub topic: String,
        /// First seq written.
        pub first: u64,
        /// Last seq written.
        pub last: u64,
    }
}

wire_record! {
    /// What was decided for one command.
    pub struct DecidedCommand {
        /// The command's id.
        pub command_id: String,
        /// The caller's idempotency key.
        pub idempotency_key: Option<String>,
        /// Digest of the request: the same key with another digest is a misuse.
        pub fingerprint: String,
        /// The outcome, as JSON: what a repeat is answered with.
        pub outcome: String,
    }
}

wire_record! {
    /// An inbox message that could not be decided; it was answered so and will not be tried again.
    pub struct FailedMessage {
        /// Its offset in the inbox partition.
        pub offset: u64,
        /// Why.
        pub reason: String,
    }
}

wire_record! {
    /// One transaction of a shard.
    pub struct JournalRecord {
        /// The writer's epoch: 1 + the largest before it, written first in a take-over.
        pub writer_epoch: u64,
        /// The transaction's number in this partition, dense from 1.
        pub transaction: u64,
        /// The shard's time.
        pub decided_at: Timestamp,
        /// What it wrote, per topic.
        pub ranges: Vec<SeqRange>,
        /// The inbox position after it: the next offset to apply.
        pub inbox_position: u64,
        /// The commands that it decided, rejections included.
        pub decided: Vec<DecidedCommand>,
        /// The messages that it gave up on.
        pub failed: Vec<FailedMessage>,
    }
}
