//! Settings of a shard.

use std::time::Duration;

use serde::Deserialize;

/// Limits and times of a shard. Every default is meant for production.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShardOptions {
    /// Commands that may wait; one more is refused with a time to retry.
    pub mailbox_capacity: usize,
    /// Records after which a group takes no more commands. A limit for memory and for the broker's
    /// request size, not for speed: larger groups are cheaper.
    pub group_records: usize,
    /// Bytes of events and messages after which a group takes no more commands: a writer refuses a
    /// transaction above 64 MiB.
    pub group_bytes: usize,
    /// Bytes of what the journal says of a group's commands (outcomes, keys, ids) after which it takes
    /// no more: that is one record, and a writer refuses one above 900,000 bytes.
    pub group_outcome_bytes: usize,
    /// Inbox messages that may wait in memory.
    pub inbox_batch: usize,
    /// How long after it was written a command in the inbox waits for prices to hold the position that
    /// its caller names, in milliseconds.
    pub position_wait_ms: i64,
    /// How long nothing may come of the inbox although there is something, in milliseconds, before
    /// the shard says what holds it up.
    pub inbox_stuck_after_ms: u64,
    /// Results remembered by idempotency key; the oldest goes first.
    pub results_kept: usize,
    /// How long a result is remembered, in milliseconds.
    pub results_ttl_ms: i64,
    /// Events and results after which a new round of snapshots begins; never before there are half as
    /// many as there are aggregates and results in memory. Bounds what a take-over reads.
    pub checkpoint_tail: usize,
    /// A new round begins when the one that a take-over would stand on is older than this, in
    /// milliseconds, or the journal where there is no round yet, however little has happened. Far less than the journal is kept for: a round is
    /// of no use without all of the journal since it began.
    pub checkpoint_age_ms: i64,
    /// Transactions without a result that a take-over may read again for the results among them.
    /// Where results are further between, rounds of snapshots hold them.
    pub results_reach: u64,
    /// Bytes of snapshots in one transaction; a quarter of them in one that has commands.
    pub snapshot_group_bytes: usize,
    /// At least so many for each event and result in it, about one snapshot: however large groups are,
    /// a round ends within as many events as it holds aggregates, and as many leave as finish.
    pub snapshot_bytes_per_event: usize,
    /// A finished aggregate that was left alone for so long leaves memory, in milliseconds.
    pub archive_after_ms: i64,
    /// Finished aggregates that may stay in memory for that time; the oldest leave first.
    pub finished_kept: usize,
    /// Aggregates that have left memory after which a page of the index of them is written: with more, a
    /// take-over reads more of their snapshots, with fewer, more pages.
    pub archive_page: usize,
    /// Bytes of an aggregate, by the same estimate as for `memory_bytes`, beyond which it takes no command:
    /// each of its snapshots is written in one transaction.
    pub aggregate_bytes: usize,
    /// Aggregates in memory beyond which none is created.
    pub live_max: usize,
    /// Bytes that a shard's state may take, by an estimate of its aggregates, its remembered results
    /// and its index of what has left memory. From three quarters on finished aggregates leave at
    /// once; results take what is left, a sixteenth at least, the oldest going first; with the others
    /// at fifteen sixteenths no aggregate is created. Not less than a few MiB.
    pub memory_bytes: usize,
    /// Callers that may wait for an outcome at a time.
    pub waiters: usize,
    /// Timers decided in one group.
    pub timers_per_group: usize,
    /// An idle shard writes after so long, in milliseconds: a transactional id that is not used
    /// expires after seven days.
    pub keep_alive_ms: i64,
    /// Pause between two transactions, in milliseconds. Zero is right unless a trace says otherwise.
    pub commit_gap_ms: u64,
    /// How long a recovery may stand still before it is given up and begun again, in milliseconds.
    pub recovery_stall_ms: u64,
    /// First pause before a failed take-over is tried again, in milliseconds; doubles each time.
    pub take_over_backoff_ms: u64,
    /// Longest such pause, in milliseconds.
    pub take_over_backoff_max_ms: u64,
    /// How far the node's clock may be behind the log's, or jump forward, in milliseconds, before it does
    /// not serve.
    pub max_clock_skew_ms: i64,
    /// Generation of the log in position tokens; raised when a log is restored or made anew.
    pub log_generation: u32,
}

impl Default for ShardOptions {
    fn default() -> Self {
        Self {
            mailbox_capacity: 2_048,
            group_records: 20_000,
            group_bytes: 16 * 1024 * 1024,
            group_outcome_bytes: 512 * 1024,
            inbox_batch: 2_000,
            position_wait_ms: 5_000,
            inbox_stuck_after_ms: 10_000,
            results_kept: 200_000,
            results_ttl_ms: 24 * 3_600_000,
            checkpoint_tail: 100_000,
            checkpoint_age_ms: 3 * 24 * 3_600_000,
            results_reach: 50_000,
            snapshot_group_bytes: 256 * 1024,
            snapshot_bytes_per_event: 1_024,
            archive_after_ms: 600_000,
            finished_kept: 50_000,
            archive_page: 20_000,
            aggregate_bytes: 8 * 1024 * 1024,
            live_max: 2_000_000,
            memory_bytes: 4 * 1_024 * 1_024 * 1_024,
            waiters: 20_000,
            timers_per_group: 500,
            keep_alive_ms: 24 * 3_600_000,
            commit_gap_ms: 0,
            recovery_stall_ms: 30_000,
            take_over_backoff_ms: 100,
            take_over_backoff_max_ms: 5_000,
            max_clock_skew_ms: 5_000,
            log_generation: 1,
        }
    }
}

impl ShardOptions {
    pub(crate) fn recovery_stall(&self) -> Duration {
        Duration::from_millis(self.recovery_stall_ms)
    }
}
