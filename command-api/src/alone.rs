//! This process alone: it owns every shard of its contexts, and starts those again that end by
//! themselves. Among nodes the allocator sees to that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cartwright_shard::nodes::{NodeOptions, ShardHost, ShardId};
use cartwright_shard::{Begin, Ownership};

use crate::host::Host;

/// How often the shards are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The thread that looks after the shards.
#[derive(Debug)]
pub(crate) struct AloneThread {
    finish: Sender<Duration>,
    thread: JoinHandle<bool>,
}

impl AloneThread {
    /// Starts every one of `shards` that `host` can run, and looks after them. Where the machine gives
    /// no thread, those that were started are stopped within `limit`.
    pub(crate) fn start(
        mut host: Host,
        shards: BTreeSet<ShardId>,
        limit: Duration,
    ) -> std::io::Result<Self> {
        if let Err(error) = host.start_all(shards.iter().copied()) {
            // Nothing was accepted yet, so there is nothing to wait for beyond the threads.
            let _ = host.stop_all(limit);
            return Err(error);
        }
        let (finish, told) = channel();
        let thread = thread::Builder::new()
            .name("alone".to_owned())
            .spawn(move || run(host, &shards, &told))?;
        Ok(Self { finish, thread })
    }

    /// Stops every shard. Returns whether all ended within `limit`. Blocks.
    pub(crate) fn finish(self, limit: Duration) -> bool {
        // Gone means ended already.
        let _ = self.finish.send(limit);
        self.thread.join().unwrap_or(false)
    }
}

fn run(mut host: Host, shards: &BTreeSet<ShardId>, told: &Receiver<Duration>) -> bool {
    let mut restarts = Restarts::new(&NodeOptions::default());
    loop {
        match told.recv_timeout(LOOK_EVERY) {
            Ok(limit) => return host.stop_all(limit),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
        for shard in shards {
            // Those of other contexts have none; what was fenced belongs to another process.
            let refuses = matches!(host.ownership(*shard), Some(Ownership::Refused { .. }));
            if restarts.is_due(*shard, refuses, Instant::now()) {
                tracing::warn!(%shard, "starting the shard again");
                host.start(*shard, Begin::TakeOver);
            }
        }
    }
}

/// When a shard may be started again: after a pause that doubles each time that it ends.
struct Restarts {
    /// When each ended last, and the pause after that.
    ended: BTreeMap<ShardId, (Instant, Duration)>,
    first: Duration,
    longest: Duration,
}

impl Restarts {
    fn new(options: &NodeOptions) -> Self {
        Self {
            ended: BTreeMap::new(),
            first: Duration::from_millis(options.reassign_after_ms),
            longest: Duration::from_millis(options.failed_pause_max_ms),
        }
    }

    /// Whether a shard is to be started again now. One that has been well for twice its last pause is
    /// as good as one that never ended.
    fn is_due(&mut self, shard: ShardId, refuses: bool, now: Instant) -> bool {
        let Some((at, pause)) = self.ended.get_mut(&shard) else {
            if refuses {
                self.ended.insert(shard, (now, self.first));
            }
            return false;
        };
        let since = now.saturating_duration_since(*at);
        if !refuses {
            if since > *pause * 2 {
                self.ended.remove(&shard);
            }
            return false;
        }
        let due = since >= *pause;
        if due {
            (*at, *pause) = (now, (*pause * 2).min(self.longest));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use cartwright_events::Context;

    use super::*;

    #[test]
    fn the_pause_doubles_each_time_that_a_shard_ends_and_is_short_again_when_it_was_well() {
        let mut restarts = Restarts::new(&NodeOptions {
            reassign_after_ms: 100,
            failed_pause_max_ms: 300,
            ..NodeOptions::default()
        });
        let shard = ShardId {
            context: Context::Catalog,
            partition: 0,
        };
        let begun = Instant::now();
        let mut ms = 0;
        let mut starts = Vec::new();
        let mut pass = |until_ms: u64, refuses: bool| {
            while ms < until_ms {
                if restarts.is_due(shard, refuses, begun + Duration::from_millis(ms)) {
                    starts.push(ms);
                }
                ms += 50;
            }
        };
        pass(1_200, true);
        pass(2_000, false);
        pass(2_200, true);
        assert_eq!(starts, [100, 300, 600, 900, 2_100]);
    }
}
