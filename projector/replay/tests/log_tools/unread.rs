//! Records that can't be read: told where they lie, and never taken for something else.

use cartwright_event_log::NewRecord;
use cartwright_events::partition::partition_of;
use cartwright_events::{Codec, Context, Event, SchemaTopic, Stream};
use cartwright_replay::audit::{Watch, books};
use cartwright_replay::explain::{Kind, explain};
use cartwright_replay::reading::{read_once, whole_topic};

use crate::audit::{follow, rules};
use crate::away::{by_another_writer, that_knows, without_registry};
use crate::log::{
    PARTITIONS, TestLog, cancelled, confirmed, created, received, released, reserved,
};

fn commit(log: &mut TestLog, event: &Event) {
    log.commit("c", std::slice::from_ref(event), &[]);
}

/// An order that is confirmed by a writer of another schema, and cancelled by this one.
fn confirmed_by_another() -> TestLog {
    let mut log = TestLog::new();
    commit(&mut log, &received("cup", 1, 9));
    commit(&mut log, &created("o-1", "cup"));
    commit(&mut log, &reserved("cup", 2, "o-1", 2));
    let confirmed = by_another_writer(log.codec.encode_event(&confirmed("o-1")));
    log.raw(Stream::Order, "o-1", Some(confirmed));
    commit(&mut log, &cancelled("o-1", 3, 0));
    commit(&mut log, &released("cup", 3, "o-1", 0));
    log
}

#[test]
fn an_audit_waits_before_a_record_that_it_cannot_read_yet_and_finds_nothing_that_is_not() {
    let mut log = confirmed_by_another();
    let mut watch = Watch::new(1);
    let unread = [("events_can_be_read", "o-1".to_owned())];
    for _ in 0..2 {
        follow(&log, &mut watch);
        // A watch is kept in a file between two audits.
        assert_eq!(rules(&mut watch, true), unread, "and nothing else, once");
        let kept = serde_json::to_string(&watch).expect("written");
        watch = serde_json::from_str(&kept).expect("read");
        assert_eq!(watch.acknowledge(), 0, "it is not known what it says");
    }
    // Other partitions go on.
    let other = ["o-2", "o-3", "o-4"].into_iter();
    let mut other =
        other.filter(|id| partition_of(id, PARTITIONS) != partition_of("o-1", PARTITIONS));
    let other = other.next().expect("of another partition");
    commit(&mut log, &created(other, "cup"));
    follow(&log, &mut watch);
    let stuck = ("stuck_order", other.to_owned());
    let found = rules(&mut watch, true);
    assert_eq!(found, [unread[0].clone(), stuck.clone()]);

    log.codec = that_knows(SchemaTopic::Events(Stream::Order));
    let kept = serde_json::to_string(&watch).expect("written");
    watch = serde_json::from_str(&kept).expect("read");
    follow(&log, &mut watch);
    assert_eq!(rules(&mut watch, true), [stuck], "it goes on there");
    assert!(!watch.orders.contains_key("o-1") && watch.holds.is_empty());
}

#[test]
fn what_an_order_was_told_and_what_was_decided_is_a_fact_though_it_cannot_be_read() {
    let mut log = confirmed_by_another();
    let checkout = partition_of("o-1", PARTITIONS);
    let record = |topic: &str, key: &str, value: Vec<u8>| NewRecord {
        topic: topic.into(),
        partition: checkout,
        key: key.as_bytes().to_vec(),
        value: Some(value),
        headers: Vec::new(),
    };
    let unreadable = || by_another_writer(vec![0; 9]);
    let (inbox, journal) = (
        Context::Checkout.inbox_topic(),
        Context::Checkout.journal_topic(),
    );
    for (topic, key) in [(inbox, "o-1"), (inbox, "o-2"), (journal, ""), (journal, "")] {
        log.write(vec![record(topic, key, unreadable())]);
    }
    commit(&mut log, &received("hat", 1, 9));
    let explanation = explain(&log.log, &log.codec, "o-1").expect("told");
    let unread = explanation.facts.iter().filter(|fact| {
        let reason = fact.details["unreadable"].as_str();
        reason.is_some_and(|reason| reason.contains("schema 99"))
    });
    let unread: Vec<_> = unread
        .map(|fact| (fact.kind, fact.topic.as_str(), fact.subject.as_str()))
        .collect();
    assert_eq!(
        unread,
        [
            (Kind::Event, Stream::Order.topic(), "o-1"),
            (Kind::Message, inbox, "o-1"),
            (Kind::Unread, journal, "o-1"),
        ]
    );
    let journals = explanation.facts.iter();
    let mut journals = journals.filter(|fact| fact.kind == Kind::Unread);
    assert_eq!(
        journals.next().map(|fact| &fact.details["records"]),
        Some(&2.into())
    );
}

#[test]
fn without_a_registry_nothing_is_said_of_what_it_would_have_to_tell() {
    let away = without_registry();
    let is_away = |result: anyhow::Result<()>, of: &str| {
        let error = result.expect_err(of);
        assert!(
            format!("{error:#}").contains("schema registry"),
            "{of}: {error:#}"
        );
    };
    let said = |log: &TestLog, codec: &Codec| explain(&log.log, codec, "o-1").map(drop);
    let checkout = partition_of("o-1", PARTITIONS);
    let topics = [
        (Context::Checkout.inbox_topic(), "o-1"),
        (Context::Checkout.journal_topic(), ""),
    ];
    for (topic, key) in topics {
        let mut log = TestLog::new();
        commit(&mut log, &created("o-1", "cup"));
        said(&log, &away).expect("nothing is asked of it");
        log.write(vec![NewRecord {
            topic: topic.into(),
            partition: checkout,
            key: key.as_bytes().to_vec(),
            value: Some(by_another_writer(vec![0; 9])),
            headers: Vec::new(),
        }]);
        is_away(said(&log, &away), topic);
    }
    let log = confirmed_by_another();
    is_away(said(&log, &away), "an event");
    is_away(books(&log.log, &away, |_| {}).map(drop), "the books");
    let starts = whole_topic(&log.log, Stream::Order.topic()).expect("partitions");
    let mut watch = Watch::new(1);
    let taken = read_once(&log.log, &starts, |record| {
        watch.take(&away, Stream::Order, record)
    });
    is_away(taken.map(drop), "the watch");
}
