//! The names of this service's own metrics.

/// Counter: commands by `context` and `outcome`: `accepted`, the reason of a rejection, or why there
/// was no decision.
pub const COMMANDS: &str = "cartwright_commands_total";

/// Gauge: 1 while the shard of a `context` and `partition` serves, 0 otherwise.
pub const SHARD_SERVING: &str = "cartwright_shard_serving";
