//! Settings of a node among nodes.

use std::time::Duration;

use serde::Deserialize;

/// Times of a node among nodes, in milliseconds. Every default is meant for production.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeOptions {
    /// How often a node beats. Default 500.
    pub beat_ms: u64,
    /// A node whose beats have not been seen for so long is taken for dead and its shards are given
    /// to others. Default 3,000.
    pub dead_after_ms: u64,
    /// An owner that says that its shard was taken from it is given a newer assignment after so
    /// long. Default 500.
    pub reassign_after_ms: u64,
    /// A shard that has ended by itself, as after a panic, is given another assignment after
    /// `reassign_after_ms`; each time that it ends again the pause doubles, up to this. Default
    /// 60,000.
    pub failed_pause_max_ms: u64,
    /// A successor waits so long for the owner before it to let go, then takes over all the same.
    /// Default 4,000.
    pub handover_ms: u64,
    /// How often the agent looks at its shards while nothing comes from the log. Default 20.
    pub look_ms: u64,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            beat_ms: 500,
            dead_after_ms: 3_000,
            reassign_after_ms: 500,
            failed_pause_max_ms: 60_000,
            handover_ms: 4_000,
            look_ms: 20,
        }
    }
}

impl NodeOptions {
    pub(crate) fn look(&self) -> Duration {
        Duration::from_millis(self.look_ms)
    }
}
