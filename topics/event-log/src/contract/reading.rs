//! Checks of readers without a group.

use std::time::{Duration, Instant};

use super::{POLL, Subject, commit, eventually, read_to_end, record, records, values};
use crate::{
    EventLog, LogError, LogReader, LogWriter, NewRecord, ReaderPurpose, Start, TopicPartition,
};

pub(super) fn keys_values_headers_and_times_come_back<L: EventLog>(subject: &Subject<'_, L>) {
    let at = TopicPartition::new(subject.topic("whole", 1), 0);
    let all_bytes: Vec<u8> = (0..=255).collect();
    let new = vec![
        NewRecord {
            key: all_bytes.clone(),
            value: Some(all_bytes.clone()),
            headers: vec![
                ("ce_id", b"1".to_vec()),
                ("again", all_bytes.clone()),
                ("again", Vec::new()),
            ],
            ..record(&at, "")
        },
        NewRecord {
            value: None,
            ..record(&at, "")
        },
        NewRecord {
            value: Some(Vec::new()),
            ..record(&at, "")
        },
    ];
    let mut writer = subject.writer(&at.topic);
    commit(&mut writer, new.clone());

    let read = subject.read_all(&at);
    assert_eq!(read.len(), new.len());
    for (read, new) in read.iter().zip(&new) {
        assert_eq!(read.topic_partition(), at);
        assert_eq!(read.key.as_deref(), Some(new.key.as_slice()));
        assert_eq!(read.value, new.value, "a tombstone is not an empty value");
        let headers: Vec<(&str, &[u8])> = read.headers.iter().collect();
        let expected: Vec<(&str, &[u8])> = new
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_slice()))
            .collect();
        assert_eq!(headers, expected);
    }
    assert_eq!(read[0].header("ce_id"), Some(b"1".as_slice()));

    // 2020 to 2100: the broker's clock, in microseconds.
    let range = 1_577_836_800_000_000..4_102_444_800_000_000;
    assert!(range.contains(&read[0].timestamp_us), "{read:?}");
    assert!(read.is_sorted_by_key(|record| record.timestamp_us));
}

pub(super) fn positions_count_control_records_and_reach_the_high_watermark<L: EventLog>(
    subject: &Subject<'_, L>,
) {
    let at = TopicPartition::new(subject.topic("position", 1), 0);
    let mut reader = subject.reader(&at);
    assert_eq!(reader.watermarks(&at).expect("watermarks"), (0, 0));
    assert_eq!(reader.position(&at).expect("a position"), 0);

    let mut writer = subject.writer(&at.topic);
    commit(&mut writer, records(&at, &["a", "b"]));
    // The broker writes the control record after it has acknowledged the commit.
    super::eventually("two records and a control record", || {
        (reader.watermarks(&at).expect("watermarks") == (0, 3)).then_some(())
    });
    let last = read_to_end(&mut reader, &at).pop().expect("records");
    assert_eq!(last.offset, 1);
    assert_eq!(reader.position(&at).expect("a position"), 3);

    let receipt = commit(&mut writer, records(&at, &["c"]));
    assert_eq!(receipt.offsets, [3]);
    assert_eq!(values(&read_to_end(&mut reader, &at)), ["c"]);
    assert_eq!(reader.position(&at).expect("a position"), 5);
}

pub(super) fn aborted_records_are_passed_by_the_position<L: EventLog>(subject: &Subject<'_, L>) {
    let at = TopicPartition::new(subject.topic("aborted", 1), 0);
    let nowhere = TopicPartition::new(at.topic.clone(), 99);
    let mut writer = subject.writer(&at.topic);
    commit(&mut writer, records(&at, &["a"]));
    assert!(
        writer
            .commit(vec![record(&at, "aborted"), record(&nowhere, "lost")])
            .is_err()
    );
    // Ends what may still be open, so that the high watermark can be reached.
    writer.take_over().expect("a take-over after the failure");
    let mut reader = subject.reader(&at);
    assert_eq!(values(&read_to_end(&mut reader, &at)), ["a"]);
    let (_, high) = reader.watermarks(&at).expect("watermarks");
    assert_eq!(reader.position(&at).expect("a position"), high);
}

pub(super) fn reading_starts_where_told<L: EventLog>(subject: &Subject<'_, L>) {
    let at = TopicPartition::new(subject.topic("start", 1), 0);
    let mut writer = subject.writer(&at.topic);
    let offsets = commit(&mut writer, records(&at, &["a", "b", "c"])).offsets;
    let (_, high) = subject.reader(&at).watermarks(&at).expect("watermarks");
    let cases = [
        (Start::Beginning, vec!["a", "b", "c"]),
        (Start::Offset(offsets[1]), vec!["b", "c"]),
        (Start::Offset(offsets[2] + 1), vec![]),
        (Start::Offset(high), vec![]),
    ];
    for (start, expected) in cases {
        let mut reader = subject
            .log
            .reader(ReaderPurpose::Recovery)
            .expect("a reader");
        reader
            .assign(&[(at.clone(), start)])
            .expect("an assignment");
        assert_eq!(
            values(&read_to_end(&mut reader, &at)),
            expected,
            "{start:?}"
        );
    }
}

pub(super) fn a_start_out_of_range_is_an_error<L: EventLog>(subject: &Subject<'_, L>) {
    let at = TopicPartition::new(subject.topic("range", 1), 0);
    let mut writer = subject.writer(&at.topic);
    commit(&mut writer, records(&at, &["a"]));
    let mut reader = subject
        .log
        .reader(ReaderPurpose::Recovery)
        .expect("a reader");
    let mut result = reader.assign(&[(at.clone(), Start::Offset(1_000))]);
    let started = Instant::now();
    while result.is_ok() && started.elapsed() < super::PATIENCE {
        result = reader.poll(10, POLL).map(|records| {
            assert_eq!(values(&records), Vec::<String>::new(), "a silent jump");
        });
    }
    assert!(
        matches!(&result, Err(LogError::OutOfRange { at: place, .. }) if *place == at),
        "{result:?}"
    );
}

pub(super) fn unknown_topics_and_partitions_are_errors<L: EventLog>(subject: &Subject<'_, L>) {
    let topic = subject.topic("known", 3);
    assert_eq!(subject.log.partition_count(&topic), Ok(3));
    let unknown = format!("{topic}.unknown");
    assert!(matches!(
        subject.log.partition_count(&unknown),
        Err(LogError::UnknownTopic { .. })
    ));
    let mut reader = subject
        .log
        .reader(ReaderPurpose::Recovery)
        .expect("a reader");
    let nowhere = TopicPartition::new(topic, 3);
    assert!(matches!(
        reader.assign(&[(nowhere.clone(), Start::Beginning)]),
        Err(LogError::UnknownPartition(at)) if at == nowhere
    ));
    assert!(matches!(
        reader.position(&nowhere),
        Err(LogError::NotAssigned(_))
    ));
}

pub(super) fn an_assignment_replaces_the_earlier_one<L: EventLog>(subject: &Subject<'_, L>) {
    let topic = subject.topic("replace", 2);
    let left = TopicPartition::new(topic.clone(), 0);
    let right = TopicPartition::new(topic.clone(), 1);
    let mut writer = subject.writer(&topic);
    commit(&mut writer, vec![record(&left, "l"), record(&right, "r")]);
    let mut reader = subject.reader(&left);
    assert_eq!(values(&read_to_end(&mut reader, &left)), ["l"]);
    reader
        .assign(&[(right.clone(), Start::Beginning)])
        .expect("a second assignment");
    assert_eq!(values(&read_to_end(&mut reader, &right)), ["r"]);
    assert!(reader.position(&left).is_err());
    // The same partition again, from its beginning: no memory of the first time.
    reader
        .assign(&[(right.clone(), Start::Beginning)])
        .expect("a third assignment");
    assert_eq!(reader.position(&right).expect("a position"), 0);
    assert_eq!(values(&read_to_end(&mut reader, &right)), ["r"]);
}

pub(super) fn a_paused_partition_delivers_nothing<L: EventLog>(subject: &Subject<'_, L>) {
    let topic = subject.topic("pause", 2);
    let running = TopicPartition::new(topic.clone(), 0);
    let paused = TopicPartition::new(topic.clone(), 1);
    let mut reader = subject
        .log
        .reader(ReaderPurpose::Recovery)
        .expect("a reader");
    let both = [&running, &paused].map(|at| (at.clone(), Start::Beginning));
    reader.assign(&both).expect("an assignment");
    reader
        .pause(std::slice::from_ref(&paused))
        .expect("a pause");
    let mut writer = subject.writer(&topic);
    commit(
        &mut writer,
        vec![record(&paused, "held"), record(&running, "runs")],
    );
    assert_eq!(values(&read_to_end(&mut reader, &running)), ["runs"]);
    assert_eq!(reader.position(&paused).expect("a position"), 0);
    reader
        .resume(std::slice::from_ref(&paused))
        .expect("to resume");
    assert_eq!(values(&read_to_end(&mut reader, &paused)), ["held"]);
}

pub(super) fn a_reader_follows_the_end<L: EventLog>(subject: &Subject<'_, L>) {
    let at = TopicPartition::new(subject.topic("tail", 1), 0);
    let mut writer = subject.writer(&at.topic);
    let mut reader = subject
        .log
        .reader(ReaderPurpose::Tailing)
        .expect("a reader");
    reader
        .assign(&[(at.clone(), Start::Beginning)])
        .expect("an assignment");
    assert_eq!(reader.poll(10, POLL), Ok(Vec::new()));
    for value in ["a", "b", "c"] {
        commit(&mut writer, records(&at, &[value]));
        let read = eventually("a new record at the end", || {
            let read = reader.poll(10, POLL).expect("to poll");
            (!read.is_empty()).then_some(read)
        });
        assert_eq!(values(&read), [value]);
    }
}

pub(super) fn reading_to_an_open_end_stalls_in_bounded_time<L: EventLog>(subject: &Subject<'_, L>) {
    let at = TopicPartition::new(subject.topic("stall", 1), 0);
    let mut writer = subject.writer(&at.topic);
    commit(&mut writer, records(&at, &["a"]));
    let mut reader = subject.reader(&at);
    let beyond = [(at.clone(), 10)];
    let stall = Duration::from_millis(200);
    let result = crate::read_to(&mut reader, &beyond, stall, |_| Ok::<(), LogError>(()));
    assert!(
        matches!(&result, Err(LogError::Stalled { end: 10, .. })),
        "{result:?}"
    );
}

/// Reads a partition that compaction has taken the record at `gap` from, `next` being the first one behind
/// it. Apart from the suite, since it needs a partition that is compacted by then.
///
/// # Panics
///
/// When reading from the gap, or over it, does not go on with `next` and come to the end.
pub fn reading_goes_on_over_gaps<L: EventLog>(log: &L, at: &TopicPartition, gap: u64, next: u64) {
    for start in [Start::Beginning, Start::Offset(gap)] {
        let mut reader = log.reader(ReaderPurpose::Recovery).expect("a reader");
        reader
            .assign(&[(at.clone(), start)])
            .expect("an assignment");
        let (_, high) = reader.watermarks(at).expect("watermarks");
        let read = read_to_end(&mut reader, at);
        let mut offsets = read.iter().map(|record| record.offset);
        let behind = offsets.find(|offset| *offset >= gap);
        assert_eq!(behind, Some(next), "read from {start:?}");
        let position = reader.position(at).expect("a position");
        assert!(position >= high, "{position} of {high}, from {start:?}");
    }
}
