//! This process alone: it owns every shard of its contexts, and starts those again that end by
//! themselves. Among nodes the allocator sees to that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cartwright_shard::nodes::{NodeOptions, ShardHost, ShardId};
use cartwright_shard::{Begin, JumpCheck, Ownership};

use crate::host::Host;

/// Before a shard that was fenced is taken over again: time for another process that did it, if there is
/// one, to read the log back and say in it that it serves.
const FENCED_PAUSE: Duration = Duration::from_secs(10);
/// A clock that has jumped and was not set right for so long is believed: there is no other to tell, and
/// that of a virtual machine that was held is put right by a jump.
const JUMP_BELIEVED_AFTER: Duration = Duration::from_secs(60);
/// How often the shards are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The thread that looks after the shards.
#[derive(Debug)]
pub(crate) struct AloneThread {
    finish: Sender<Duration>,
    thread: JoinHandle<bool>,
}

impl AloneThread {
    /// Starts every one of `shards` that `host` can run, and looks after them: what ends is started again
    /// unless `clock` has jumped. Where the machine gives no thread, those that were started are stopped
    /// within `limit`.
    pub(crate) fn start(
        mut host: Host,
        shards: BTreeSet<ShardId>,
        clock: JumpCheck,
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
            .spawn(move || run(host, &shards, clock, &told))?;
        Ok(Self { finish, thread })
    }

    /// Stops every shard. Returns whether all ended within `limit`. Blocks.
    pub(crate) fn finish(self, limit: Duration) -> bool {
        // Gone means ended already.
        let _ = self.finish.send(limit);
        self.thread.join().unwrap_or(false)
    }
}

fn run(
    mut host: Host,
    shards: &BTreeSet<ShardId>,
    clock: JumpCheck,
    told: &Receiver<Duration>,
) -> bool {
    let mut restarts = Restarts::new(&NodeOptions::default());
    let mut clock = BelievedClock::new(clock);
    loop {
        match told.recv_timeout(LOOK_EVERY) {
            Ok(limit) => return host.stop_all(limit),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if !clock.is_believed(Instant::now()) {
            continue;
        }
        for shard in shards {
            // Those of other contexts have none.
            let ended = host
                .ownership(*shard)
                .and_then(|ownership| again(&ownership));
            if let Some(begin) = restarts.next(*shard, ended, Instant::now()) {
                tracing::warn!(%shard, ?begin, "starting the shard again");
                host.start(*shard, begin);
            }
        }
    }
}

/// How a shard that has ended by itself is started again.
const fn again(ownership: &Ownership) -> Option<Begin> {
    match *ownership {
        Ownership::Refused { .. } => Some(Begin::TakeOver),
        Ownership::Fenced { epoch } => Some(Begin::Reclaim { epoch }),
        _ => None,
    }
}

/// A shard that has ended because the clock jumped would take the new time for right when it is started
/// again.
struct BelievedClock {
    clock: JumpCheck,
    jumped_at: Option<Instant>,
}

impl BelievedClock {
    const fn new(clock: JumpCheck) -> Self {
        Self {
            clock,
            jumped_at: None,
        }
    }

    /// Whether the clock has not jumped, or long ago.
    fn is_believed(&mut self, now: Instant) -> bool {
        if self.clock.now().is_ok() {
            self.jumped_at = None;
            return true;
        }
        let jumped_at = *self.jumped_at.get_or_insert(now);
        let long_ago = now.saturating_duration_since(jumped_at) >= JUMP_BELIEVED_AFTER;
        if long_ago {
            tracing::warn!(
                "this machine's clock has jumped and stays so: it is believed from now on"
            );
            self.clock.believe();
        }
        long_ago
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

    /// How a shard is to be started now that has `ended` so. One that has been well for twice its last
    /// pause is as good as one that never ended.
    fn next(&mut self, shard: ShardId, ended: Option<Begin>, now: Instant) -> Option<Begin> {
        let Some(begin) = ended else {
            let well = |(at, pause): &mut (Instant, Duration)| {
                now.saturating_duration_since(*at) > *pause * 2
            };
            if self.ended.get_mut(&shard).is_some_and(well) {
                self.ended.remove(&shard);
            }
            return None;
        };
        let first = match begin {
            Begin::Reclaim { .. } => FENCED_PAUSE,
            _ => self.first,
        };
        let (at, pause) = self.ended.entry(shard).or_insert((now, first));
        let pause_now = first.max(*pause);
        let due = now.saturating_duration_since(*at) >= pause_now;
        due.then(|| {
            (*at, *pause) = (now, (pause_now * 2).min(self.longest));
            begin
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cartwright_events::{Context, Timestamp};
    use cartwright_shard::ManualClock;

    use super::*;

    #[test]
    fn a_clock_that_has_jumped_is_believed_when_it_is_set_right_or_stays_so() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
        let mut believed = BelievedClock::new(JumpCheck::new(Arc::clone(&clock) as _, 5_000));
        let now = Instant::now();
        assert!(believed.is_believed(now));
        clock.jump_millis(6_000);
        assert!(!believed.is_believed(now));
        clock.jump_millis(-6_000);
        assert!(believed.is_believed(now + JUMP_BELIEVED_AFTER));
        clock.jump_millis(6_000);
        assert!(!believed.is_believed(now + JUMP_BELIEVED_AFTER));
        assert!(believed.is_believed(now + JUMP_BELIEVED_AFTER * 2));
        assert!(believed.is_believed(now + JUMP_BELIEVED_AFTER * 2));
    }

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
                let ended = refuses.then_some(Begin::TakeOver);
                let now = begun + Duration::from_millis(ms);
                if restarts.next(shard, ended, now).is_some() {
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
