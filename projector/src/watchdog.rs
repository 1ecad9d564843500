//! Who has not finished a step for long. A thread that waits for an answer can't say so itself.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use cartwright_service::health::Check;

use crate::board::{Board, Phase, ProjectionState};
use crate::plan::Plan;

/// Since when a step lasts; `None` between steps. Dropped with the thread that takes them.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<Option<Instant>>);

impl Pulse {
    /// Runs one step.
    pub(crate) fn during<T>(&self, step: impl FnOnce() -> T) -> T {
        /// A step that panics has ended, too.
        struct Ended<'a>(&'a Pulse);
        impl Drop for Ended<'_> {
            fn drop(&mut self) {
                self.0.set(None);
            }
        }
        self.set(Some(Instant::now()));
        let _ended = Ended(self);
        step()
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after the threads of a process; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Watchdog(Arc<Mutex<Vec<Watched>>>);

struct Watched {
    pulse: Weak<Pulse>,
    plan: Plan,
    check: Check,
    board: Board,
    limit: Duration,
    /// Up to when the lag that is told was taken to have grown.
    told: Option<Instant>,
}

impl Watchdog {
    /// A pulse that is watched until it is dropped: with a step that lasts longer than `limit`, the
    /// projection is told to be stuck.
    pub(crate) fn watch(
        &self,
        plan: Plan,
        check: Check,
        board: Board,
        limit: Duration,
    ) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse::default());
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.push(Watched {
            pulse: Arc::downgrade(&pulse),
            plan,
            check,
            board,
            limit,
            told: None,
        });
        pulse
    }

    /// Looks at all of them at `now`. Whoever ends its step says itself how it stands then.
    pub(crate) fn look(&self, now: Instant) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain_mut(|each| match each.pulse.upgrade() {
            Some(pulse) => {
                each.look(pulse.since(), now);
                true
            }
            None => false,
        });
    }
}

impl Watched {
    fn look(&mut self, since: Option<Instant>, now: Instant) {
        let silent = since.map(|since| now.saturating_duration_since(since));
        let (Some(since), Some(silent)) = (since, silent.filter(|silent| *silent >= self.limit))
        else {
            self.told = None;
            return;
        };
        let store = self.plan.projection.store.name();
        // A step asks both, and which one is silent only its thread would know.
        let seconds = silent.as_secs();
        let reason = format!("the log or {store} has not answered for {seconds} s");
        if self.told.is_none() {
            tracing::warn!(
                projection = self.plan.label(),
                reason,
                "a step does not end"
            );
        }
        let more = now.saturating_duration_since(self.told.replace(now).unwrap_or(since));
        self.check.not_ok(reason.clone());
        self.board
            .change(&self.plan, |state| stuck(state, &reason, more));
    }
}

/// What is known of the lag grows with the time: what was recorded meanwhile is not applied.
fn stuck(state: &mut ProjectionState, reason: &str, more: Duration) {
    state.enter(Phase::Waiting, Some(reason.to_owned()));
    let let_go = state.let_go.iter_mut().map(|each| &mut each.last);
    for partition in state.partitions.iter_mut().chain(let_go) {
        partition.lag_seconds += more.as_secs_f64();
        partition.stuck = Some(format!(
            "{}[{}]: {reason}",
            partition.topic, partition.partition
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use cartwright_event_log::memory::MemoryLog;
    use cartwright_event_log::{EventLog, ReaderPurpose, TopicPartition};
    use cartwright_events::codec::Codec;
    use cartwright_events::{Stream, Timestamp};
    use cartwright_read_model::{Position, PositionKey};
    use cartwright_service::health::Readiness;
    use cartwright_sinks::{Batch, Loaded, Sink, SinkError};

    use super::*;
    use crate::fixed::FixedPartitions;
    use crate::plan::Limits;
    use crate::runner::{Pace, Runner};
    use crate::worker::Worker;

    /// A store that has been written to and does not answer before it is told to.
    struct Silent {
        asked: Sender<()>,
        answer: Receiver<()>,
    }

    impl Sink for Silent {
        fn prepare(&mut self) -> Result<(), SinkError> {
            Ok(())
        }

        fn load(&mut self, _: &PositionKey, generation: u32) -> Result<Loaded, SinkError> {
            let position = Position {
                generation,
                next_offset: 0,
                seq: 0,
                recorded_at: Timestamp::EPOCH,
            };
            Ok(Loaded {
                position: Some(position),
                parked: Vec::new(),
            })
        }

        fn apply(&mut self, _: &Arc<Batch>) -> Result<(), SinkError> {
            let _ = self.asked.send(());
            // Whoever asks has gone when there is no answer.
            let _ = self.answer.recv();
            Ok(())
        }
    }

    fn until(what: &str, mut is: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_store_that_does_not_answer_is_told_from_outside_until_it_does() {
        let log = MemoryLog::new();
        let topic = Stream::Product.topic();
        log.create_topic(topic, 1);
        let (asked, was_asked) = channel();
        let (answers, answer) = channel();
        let mut sink = Some(Silent { asked, answer });
        let plan = Plan::named("catalog", 1).unwrap();
        let make = move || {
            let reader = log.reader(ReaderPurpose::Recovery).unwrap();
            let source = FixedPartitions::new(reader, vec![TopicPartition::new(topic, 0)]);
            let limits = Limits {
                // A position that moves with the time is something to write.
                heartbeat: Some(Duration::ZERO),
                ..Limits::default()
            };
            let sink = sink.take().ok_or("the only one")?;
            Ok(Worker::new(
                plan,
                limits,
                source,
                Codec::fixed(),
                Box::new(sink),
            ))
        };
        let (readiness, board, watchdog) =
            (Readiness::new(), Board::default(), Watchdog::default());
        let pace = Pace {
            report_every: Duration::ZERO,
            pause: Duration::from_millis(1),
            pause_max: Duration::from_millis(1),
            stuck_after: Duration::from_secs(30),
        };
        let check = readiness.check("projection");
        let nobody = |_: &TopicPartition| None;
        let runner =
            Runner::start(plan, make, nobody, check, board.clone(), pace, &watchdog).unwrap();
        let state = || board.states().remove(0);

        was_asked.recv_timeout(Duration::from_secs(60)).unwrap();
        answers.send(()).unwrap();
        until("it follows", || state().phase == Phase::Following);
        was_asked.recv_timeout(Duration::from_secs(60)).unwrap();
        watchdog.look(Instant::now() + Duration::from_secs(29));
        assert!(readiness.is_ready(), "not yet");
        watchdog.look(Instant::now() + Duration::from_secs(41));
        assert!(!readiness.is_ready());
        assert_eq!(state().phase, Phase::Waiting);
        let reason = state().reason.unwrap();
        assert!(
            reason.starts_with("the log or postgres has not answered for 4"),
            "{reason}"
        );
        let partition = state().partitions.remove(0);
        assert!(
            partition
                .stuck
                .is_some_and(|stuck| stuck.ends_with(&reason))
        );
        assert!(partition.lag_seconds > 40.0);

        answers.send(()).unwrap();
        until("it follows again", || state().phase == Phase::Following);
        assert!(readiness.is_ready());
        runner.stop();
        drop(answers);
        assert!(runner.join());
        watchdog.look(Instant::now());
        assert!(
            watchdog.0.lock().unwrap().is_empty(),
            "nobody to look after"
        );
    }
}
