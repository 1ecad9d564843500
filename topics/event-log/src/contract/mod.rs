//! The contract suite: what every implementation of [`EventLog`] has to keep.
//!
//! Each function checks one rule and panics with a message when it is broken.
//! They are ordinary functions, so that any test can run them against any log:
//! the model in memory, a broker started for the purpose, the project's stack.

mod groups;
mod reading;
mod writing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{
    EventLog, LogReader, LogWriter, NewRecord, ReaderPurpose, Receipt, Record, Start,
    TopicPartition,
};

pub use reading::reading_goes_on_over_gaps;

/// How long anything may take before a check fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(50);

/// A rule of the contract and its check.
type Check<L> = (&'static str, fn(&Subject<'_, L>));

/// The log under test, and how to get a topic in it.
pub struct Subject<'a, L> {
    log: &'a L,
    make_topic: &'a dyn Fn(&str, u32) -> String,
}

/// Runs every check and returns their names.
///
/// `make_topic` creates an empty topic with that many partitions and returns its
/// name, which has to be new in every call; the first argument is a hint to put
/// into the name. It returns when the topic can be written to.
///
/// # Panics
///
/// When a rule is broken.
pub fn run_all<L: EventLog>(
    log: &L,
    make_topic: &dyn Fn(&str, u32) -> String,
) -> Vec<&'static str> {
    let subject = Subject { log, make_topic };
    let mut passed = Vec::new();
    for (name, check) in checks::<L>() {
        eprintln!("contract: {name}");
        check(&subject);
        passed.push(name);
    }
    passed
}

/// Runs the check called `name`.
///
/// # Panics
///
/// When the rule is broken or there is none of that name.
pub fn run_one<L: EventLog>(log: &L, make_topic: &dyn Fn(&str, u32) -> String, name: &str) {
    let checks = checks::<L>();
    let found = checks.iter().find(|(candidate, _)| *candidate == name);
    let (_, check) = found.unwrap_or_else(|| panic!("no check called {name}"));
    check(&Subject { log, make_topic });
}

/// The names of all checks.
pub fn names<L: EventLog>() -> Vec<&'static str> {
    checks::<L>().iter().map(|(name, _)| *name).collect()
}

fn checks<L: EventLog>() -> Vec<Check<L>> {
    macro_rules! list {
        ($($module:ident :: $check:ident),* $(,)?) => {
            vec![$((stringify!($check), $module::$check::<L> as fn(&Subject<'_, L>))),*]
        };
    }
    list![
        writing::a_writer_has_to_take_over_first,
        writing::an_empty_transaction_is_refused,
        writing::a_record_beyond_the_limit_is_refused,
        writing::committed_records_are_read_in_order,
        writing::a_failed_transaction_never_shows,
        writing::after_a_failure_the_writer_has_to_take_over,
        writing::an_older_writer_is_fenced_and_nothing_of_it_shows,
        writing::a_fenced_writer_may_take_over_again,
        writing::a_transaction_spans_topics_and_partitions,
        writing::writers_of_other_ids_do_not_disturb_each_other,
        reading::keys_values_headers_and_times_come_back,
        reading::positions_count_control_records_and_reach_the_high_watermark,
        reading::aborted_records_are_passed_by_the_position,
        reading::reading_starts_where_told,
        reading::a_start_out_of_range_is_an_error,
        reading::unknown_topics_and_partitions_are_errors,
        reading::an_assignment_replaces_the_earlier_one,
        reading::a_paused_partition_delivers_nothing,
        reading::a_reader_follows_the_end,
        reading::reading_to_an_open_end_stalls_in_bounded_time,
        groups::one_member_gets_every_partition_and_reads_from_its_starts,
        groups::nothing_is_delivered_before_the_start_is_given,
        groups::two_members_share_the_partitions_and_none_is_in_two_hands,
        groups::a_member_that_leaves_leaves_its_partitions_to_the_other,
        groups::a_member_can_read_again_from_elsewhere,
        groups::a_pause_ends_when_the_partition_is_taken_away,
    ]
}

impl<L: EventLog> Subject<'_, L> {
    fn topic(&self, hint: &str, partitions: u32) -> Arc<str> {
        Arc::from((self.make_topic)(hint, partitions))
    }

    /// A writer that has taken over. Ids follow the topic, which is unique.
    fn writer(&self, id: &str) -> L::Writer {
        let mut writer = self.log.writer(id).expect("a writer");
        writer.take_over().expect("a first take-over");
        writer
    }

    /// A reader of one partition from its beginning.
    fn reader(&self, at: &TopicPartition) -> L::Reader {
        let mut reader = self.log.reader(ReaderPurpose::Recovery).expect("a reader");
        reader
            .assign(&[(at.clone(), Start::Beginning)])
            .expect("an assignment");
        reader
    }

    /// Everything committed in a partition, read to its high watermark.
    fn read_all(&self, at: &TopicPartition) -> Vec<Record> {
        let mut reader = self.reader(at);
        read_to_end(&mut reader, at)
    }
}

fn read_to_end<R: LogReader>(reader: &mut R, at: &TopicPartition) -> Vec<Record> {
    let (_, high) = reader.watermarks(at).expect("watermarks");
    let mut records = Vec::new();
    crate::read_to(reader, &[(at.clone(), high)], PATIENCE, |record| {
        records.push(record);
        Ok::<(), crate::LogError>(())
    })
    .expect("to read to the high watermark");
    records
}

/// Calls `step` until it gives something.
fn eventually<T>(what: &str, mut step: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = step() {
            return found;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
    }
}

fn record(at: &TopicPartition, value: &str) -> NewRecord {
    NewRecord {
        topic: Arc::clone(&at.topic),
        partition: at.partition,
        key: b"key".to_vec(),
        value: Some(value.as_bytes().to_vec()),
        headers: Vec::new(),
    }
}

fn records(at: &TopicPartition, values: &[&str]) -> Vec<NewRecord> {
    values.iter().map(|value| record(at, value)).collect()
}

fn commit<W: LogWriter>(writer: &mut W, records: Vec<NewRecord>) -> Receipt {
    match writer.commit(records.clone()) {
        Ok(receipt) => {
            // A busy machine may make any commit slow.
            if receipt.doubtful {
                writer.take_over().expect("a take-over after doubt");
            }
            receipt
        }
        Err(error) => panic!("a transaction of {} records: {error}", records.len()),
    }
}

fn values(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"")).into_owned())
        .collect()
}
