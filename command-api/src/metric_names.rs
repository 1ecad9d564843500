//! The names of this service's own metrics.

/// Counter: commands by `context` and `outcome`: `accepted`, the reason of a rejection, or why there was
/// no decision here: `queued` in the inbox of its shard, `forwarded` to another node and answered there,
/// or what kept it from being decided.
pub const COMMANDS: &str = "cartwright_commands_total";

/// Gauge: 1 while the shard of a `context` and `partition` serves, 0 otherwise.
pub const SHARD_SERVING: &str = "cartwright_shard_serving";

/// Counter: times that the shard of a `context` and `partition` has ended by itself, as after a panic.
pub const SHARD_FAILED: &str = "cartwright_shard_failed_total";

/// Gauge: commands that wait in the mailbox of the shard of a `context` and `partition`.
pub const MAILBOX_DEPTH: &str = "cartwright_shard_mailbox_depth";

/// Counter: requests handed on to another node, by `outcome`: `answered`, `no_answer` or `moved`.
pub const FORWARDED: &str = "cartwright_forwarded_total";

/// Gauge: 1 while nothing comes of the inbox of the shard of a `context` and `partition` although there
/// is something, 0 otherwise.
pub const INBOX_STUCK: &str = "cartwright_shard_inbox_stuck";
