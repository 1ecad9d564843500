//! Whether partitions move: lag as time, and positions that stand still while the log goes on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cartwright_event_log::{EventLog, TopicPartition};
use cartwright_events::Timestamp;

use crate::progress::PartitionReport;

/// What was seen of each partition.
#[derive(Debug, Default)]
pub(crate) struct Motion(BTreeMap<TopicPartition, Stand>);

#[derive(Debug)]
struct Stand {
    next_offset: Option<u64>,
    since: Instant,
}

impl Motion {
    /// Looks at a partition at `now`; answers for how long its position has stood still although
    /// there is something to read, or to apply.
    pub(crate) fn look(&mut self, report: &PartitionReport, now: Instant) -> Duration {
        let next_offset = report.position.map(|position| position.next_offset);
        let stand = self.0.entry(report.at.clone()).or_insert(Stand {
            next_offset,
            since: now,
        });
        // When the log can't be asked nothing is known, and nothing is claimed.
        let has_work =
            report.behind.is_some_and(|behind| behind > 0) || report.oldest_waiting.is_some();
        if stand.next_offset != next_offset || !has_work {
            *stand = Stand {
                next_offset,
                since: now,
            };
        }
        now.saturating_duration_since(stand.since)
    }

    /// Forgets all partitions.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The moment up to which everything recorded is known to be applied at `now`, which the lag is
/// counted from: that of the first record that was read and waits or, before it is read, of the last
/// that was applied, which is older. Where the store does not tell the position, that of `before`.
pub(crate) fn unapplied_since(
    report: &PartitionReport,
    before: Option<Timestamp>,
    now: Timestamp,
) -> Timestamp {
    match (report.oldest_waiting, report.behind, report.position) {
        (Some(oldest), ..) => oldest,
        (None, Some(0), _) => now,
        (None, _, Some(position)) if position.recorded_at > Timestamp::EPOCH => {
            position.recorded_at
        }
        _ => before.unwrap_or(now),
    }
}

/// The transaction that keeps a partition's records from its readers, if that is what does.
pub(crate) fn held_up_by<L: EventLog>(log: &L, at: &TopicPartition) -> Option<String> {
    match log.open_transactions(at) {
        Ok(open) => open.first().map(ToString::to_string),
        Err(error) => {
            tracing::warn!(%at, %error, "can't tell which transactions are open");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cartwright_event_log::memory::{Fault, MemoryLog};
    use cartwright_event_log::{LogWriter, NewRecord};
    use cartwright_read_model::Position;

    use super::*;

    fn report(next_offset: u64, behind: Option<u64>) -> PartitionReport {
        PartitionReport {
            at: TopicPartition::new("t", 0),
            position: Some(Position {
                generation: 1,
                next_offset,
                seq: next_offset,
                recorded_at: Timestamp::from_micros(5_000_000),
            }),
            parked_keys: 0,
            parked_records: 0,
            behind,
            oldest_waiting: None,
        }
    }

    #[test]
    fn a_position_stands_still_only_while_there_is_something_to_read() {
        let mut motion = Motion::default();
        let begin = Instant::now();
        let mut at = |seconds, next_offset, behind| {
            let now = begin + Duration::from_secs(seconds);
            motion.look(&report(next_offset, behind), now).as_secs()
        };
        assert_eq!(at(0, 1, Some(5)), 0);
        assert_eq!(at(10, 1, Some(9)), 10);
        assert_eq!(at(20, 2, Some(9)), 0, "it has moved");
        assert_eq!(at(50, 2, Some(0)), 0, "there is nothing to read");
        assert_eq!(at(60, 2, Some(3)), 10);
        assert_eq!(at(70, 2, None), 0, "nobody knows");
    }

    #[test]
    fn a_position_stands_still_also_when_all_is_read_and_not_applied() {
        let mut motion = Motion::default();
        let begin = Instant::now();
        let refused = PartitionReport {
            oldest_waiting: Some(Timestamp::from_micros(6_000_000)),
            ..report(2, Some(0))
        };
        let mut at = |seconds, report: &PartitionReport| {
            let now = begin + Duration::from_secs(seconds);
            motion.look(report, now).as_secs()
        };
        assert_eq!(at(0, &refused), 0);
        assert_eq!(at(40, &refused), 40);
        assert_eq!(at(50, &report(3, Some(0))), 0, "it is applied");
    }

    #[test]
    fn the_transaction_that_holds_a_partition_up_is_named() {
        let log = MemoryLog::new();
        log.create_topic("t", 1);
        let at = TopicPartition::new("t", 0);
        assert_eq!(held_up_by(&log, &at), None);
        let mut writer = log.writer("somebody").expect("a writer");
        writer.take_over().expect("a take-over");
        let fault = Fault::UnknownCommit { committed: false };
        log.inject(fault);
        let record = NewRecord {
            topic: Arc::clone(&at.topic),
            partition: 0,
            key: Vec::new(),
            value: None,
            headers: Vec::new(),
        };
        assert!(writer.commit(vec![record]).is_err());
        assert!(log.fired(&fault) > 0);
        let reason = held_up_by(&log, &at).expect("it is open");
        assert!(reason.contains("somebody"), "{reason}");
    }

    #[test]
    fn lag_is_the_age_of_the_oldest_record_that_waits() {
        let now = Timestamp::from_micros(9_000_000);
        let since = |report: &PartitionReport, before: Option<i64>| {
            let before = before.map(Timestamp::from_micros);
            unapplied_since(report, before, now).as_micros()
        };
        assert_eq!(since(&report(1, Some(0)), None), 9_000_000, "nothing waits");
        assert_eq!(since(&report(1, Some(2)), None), 5_000_000, "at most");
        assert_eq!(
            since(&report(1, None), None),
            5_000_000,
            "also without the log"
        );
        let read = PartitionReport {
            oldest_waiting: Some(Timestamp::from_micros(7_500_000)),
            ..report(1, Some(2))
        };
        assert_eq!(since(&read, None), 7_500_000);
        let unknown = PartitionReport {
            position: None,
            ..report(1, None)
        };
        assert_eq!(since(&unknown, Some(3_000_000)), 3_000_000, "as before");
        assert_eq!(since(&unknown, None), 9_000_000, "from now on");
    }
}
