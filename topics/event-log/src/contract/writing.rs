//! Checks of writers.

use super::{Subject, commit, record, records, values};
use crate::{CommitError, EventLog, LogWriter, TopicPartition};

pub(super) fn a_writer_has_to_take_over_first<L: EventLog>(subject: &Subject<'_, L>) {
    let at = TopicPartition::new(subject.topic("first", 1), 0);
    let mut writer = subject.log.writer(&at.topic).expect("a writer");
    assert_eq!(
        writer.commit(records(&at, &["too early"])),
        Err(CommitError::TakeOverFirst)
    );
    writer.take_over().expect("a take-over");
    commit(&mut writer, records(&at, &["a"]));
    assert_eq!(values(&subject.read_all(&at)), ["a"]);
}

pub(super) fn an_empty_transaction_is_refused<L: EventLog>(subject: &Subject<'_, L>) {
    let at = TopicPartition::new(subject.topic("empty", 1), 0);
    let mut writer = subject.writer(&at.topic);
    assert_eq!(writer.commit(Vec::new()), Err(CommitError::Empty));
    // It changed nothing, so that the writer goes on without a take-over.
    assert!(writer.commit(records(&at, &["a"])).is_ok());
}

pub(super) fn a_record_beyond_the_limit_is_refused<L: EventLog>(subject: &Subject<'_, L>) {
    let at = TopicPartition::new(subject.topic("large", 1), 0);
    let mut writer = subject.writer(&at.topic);
    let mut large = record(&at, "");
    large.value = Some(vec![0; 2_000_000]);
    let refused = writer.commit(vec![record(&at, "small"), large]);
    assert!(
        matches!(refused, Err(CommitError::TooLarge { .. })),
        "{refused:?}"
    );
    assert!(writer.commit(records(&at, &["a"])).is_ok());
    assert_eq!(values(&subject.read_all(&at)), ["a"]);
}

pub(super) fn committed_records_are_read_in_order<L: EventLog>(subject: &Subject<'_, L>) {
    let at = TopicPartition::new(subject.topic("order", 1), 0);
    let mut writer = subject.writer(&at.topic);
    let mut expected = Vec::new();
    let mut offsets = Vec::new();
    for group in 0..5 {
        let group: Vec<String> = (0..20).map(|index| format!("{group}-{index}")).collect();
        let new = group.iter().map(|value| record(&at, value)).collect();
        offsets.extend(commit(&mut writer, new).offsets);
        expected.extend(group);
    }
    let read = subject.read_all(&at);
    assert_eq!(values(&read), expected);
    let read_offsets: Vec<u64> = read.iter().map(|record| record.offset).collect();
    assert_eq!(read_offsets, offsets, "receipts name the records' offsets");
    assert!(offsets.is_sorted());
}

pub(super) fn a_failed_transaction_never_shows<L: EventLog>(subject: &Subject<'_, L>) {
    let at = TopicPartition::new(subject.topic("failed", 1), 0);
    let nowhere = TopicPartition::new(at.topic.clone(), 99);
    let mut writer = subject.writer(&at.topic);
    commit(&mut writer, records(&at, &["before"]));
    let failed = writer.commit(vec![
        record(&at, "of a transaction with a record that has no place"),
        record(&nowhere, "that record"),
    ]);
    assert!(
        matches!(failed, Err(CommitError::NotCommitted { .. })),
        "{failed:?}"
    );
    writer.take_over().expect("a take-over after the failure");
    commit(&mut writer, records(&at, &["after"]));
    assert_eq!(values(&subject.read_all(&at)), ["before", "after"]);
}

pub(super) fn after_a_failure_the_writer_has_to_take_over<L: EventLog>(subject: &Subject<'_, L>) {
    let at = TopicPartition::new(subject.topic("again", 1), 0);
    let mut writer = subject.writer(&at.topic);
    let nowhere = TopicPartition::new(at.topic.clone(), 99);
    assert!(writer.commit(records(&nowhere, &["lost"])).is_err());
    assert_eq!(
        writer.commit(records(&at, &["too early"])),
        Err(CommitError::TakeOverFirst)
    );
    writer.take_over().expect("a take-over after the failure");
    commit(&mut writer, records(&at, &["a"]));
    assert_eq!(values(&subject.read_all(&at)), ["a"]);
}

pub(super) fn an_older_writer_is_fenced_and_nothing_of_it_shows<L: EventLog>(
    subject: &Subject<'_, L>,
) {
    let at = TopicPartition::new(subject.topic("fenced", 1), 0);
    let mut older = subject.writer(&at.topic);
    commit(&mut older, records(&at, &["older"]));
    let mut newer = subject.log.writer(&at.topic).expect("a second writer");
    commit(&mut older, records(&at, &["still the holder"]));
    newer.take_over().expect("the second take-over");

    for attempt in ["first", "second"] {
        let refused = older.commit(records(&at, &[attempt]));
        match attempt {
            "first" => assert_eq!(refused, Err(CommitError::Fenced)),
            _ => assert!(refused.is_err(), "{refused:?}"),
        }
    }
    commit(&mut newer, records(&at, &["newer"]));
    assert!(older.commit(records(&at, &["third"])).is_err());
    assert_eq!(
        values(&subject.read_all(&at)),
        ["older", "still the holder", "newer"]
    );
}

pub(super) fn a_fenced_writer_may_take_over_again<L: EventLog>(subject: &Subject<'_, L>) {
    let at = TopicPartition::new(subject.topic("back", 1), 0);
    let mut first = subject.writer(&at.topic);
    let mut second = subject.writer(&at.topic);
    assert_eq!(
        first.commit(records(&at, &["fenced"])),
        Err(CommitError::Fenced)
    );
    first.take_over().expect("to take it back");
    commit(&mut first, records(&at, &["first"]));
    assert_eq!(
        second.commit(records(&at, &["fenced too"])),
        Err(CommitError::Fenced)
    );
    assert_eq!(values(&subject.read_all(&at)), ["first"]);
}

pub(super) fn a_transaction_spans_topics_and_partitions<L: EventLog>(subject: &Subject<'_, L>) {
    let events = subject.topic("events", 2);
    let inbox = subject.topic("inbox", 3);
    let places = [
        TopicPartition::new(events.clone(), 0),
        TopicPartition::new(events.clone(), 1),
        TopicPartition::new(inbox.clone(), 2),
    ];
    let nowhere = TopicPartition::new(inbox, 99);
    let everywhere = |value: &str| {
        places
            .iter()
            .map(|at| record(at, value))
            .collect::<Vec<_>>()
    };

    let mut writer = subject.writer(&events);
    let receipt = commit(&mut writer, everywhere("together"));
    assert_eq!(receipt.offsets, [0, 0, 0]);
    let mut failing = everywhere("none of them");
    failing.push(record(&nowhere, "nowhere"));
    assert!(writer.commit(failing).is_err());
    writer.take_over().expect("a take-over after the failure");
    for at in &places {
        assert_eq!(values(&subject.read_all(at)), ["together"], "{at}");
    }
}

pub(super) fn writers_of_other_ids_do_not_disturb_each_other<L: EventLog>(
    subject: &Subject<'_, L>,
) {
    let at = TopicPartition::new(subject.topic("shared", 1), 0);
    let mut left = subject.writer(&format!("{}-left", at.topic));
    let mut right = subject.writer(&format!("{}-right", at.topic));
    commit(&mut left, records(&at, &["left"]));
    commit(&mut right, records(&at, &["right"]));
    commit(&mut left, records(&at, &["left again"]));
    assert_eq!(
        values(&subject.read_all(&at)),
        ["left", "right", "left again"]
    );
}
