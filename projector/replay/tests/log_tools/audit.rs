use std::time::Duration;

use cartwright_event_log::{Start, TopicPartition};
use cartwright_events::partition::partition_of;
use cartwright_events::{Event, Stream, Timestamp};
use cartwright_read_model::Position;
use cartwright_replay::audit::{Finding, Limits, Severity, Watch, behind, hold, judge, load, save};
use cartwright_replay::reading::{read_once, whole_topic};

use crate::log::{
    PARTITIONS, TestLog, cancelled, confirmed, created, received, released, reserved,
};

pub const LIMITS: Limits = Limits {
    settle: Duration::from_secs(60),
    refund: Duration::from_secs(3_600),
    shipment: None,
};

pub fn follow(log: &TestLog, watch: &mut Watch) -> u64 {
    let mut records = 0;
    for stream in [Stream::Stock, Stream::Order] {
        let starts: Vec<(TopicPartition, Start)> = whole_topic(&log.log, stream.topic())
            .expect("partitions")
            .into_iter()
            .map(|(at, _)| (at.clone(), watch.start(&at)))
            .collect();
        let ends = read_once(&log.log, &starts, |record| {
            records += 1;
            watch.take(&log.codec, stream, record)
        });
        for (at, end) in ends.expect("read") {
            watch.read_to(&at, end);
        }
    }
    records
}

/// Rules broken now, and a day later.
pub fn rules(watch: &mut Watch, later: bool) -> Vec<(&'static str, String)> {
    found(watch, later)
        .into_iter()
        .map(|finding| (finding.rule, finding.subject))
        .collect()
}

pub fn found(watch: &mut Watch, later: bool) -> Vec<Finding> {
    let seen = watch
        .positions
        .values()
        .flat_map(|partitions| partitions.values());
    let last = seen.filter_map(|seen| seen.recorded_at).max();
    let day_us = if later { 86_400_000_000 } else { 0 };
    let now = last.map_or(0, Timestamp::as_micros) + day_us;
    judge(watch, Timestamp::from_micros(now), &LIMITS)
}

fn write(log: &mut TestLog, events: &[Event]) {
    for event in events {
        log.commit("c", std::slice::from_ref(event), &[]);
    }
}

/// Confirmed and held.
fn held_order() -> TestLog {
    let mut log = TestLog::new();
    write(
        &mut log,
        &[
            received("cup", 1, 9),
            created("o-1", "cup"),
            reserved("cup", 2, "o-1", 2),
            confirmed("o-1"),
        ],
    );
    log
}

#[test]
fn a_shop_in_order_is_found_in_order_and_forgotten_when_settled() {
    let mut log = held_order();
    let mut watch = Watch::new(1);
    assert_eq!(follow(&log, &mut watch), 4);
    assert_eq!(rules(&mut watch, false), []);
    assert_eq!(watch.orders.len(), 1);
    write(&mut log, &[cancelled("o-1", 3, 0)]);
    assert_eq!(follow(&log, &mut watch), 1, "only what is new");
    // The release is on its way: not yet wrong, and wrong when it does not come.
    assert_eq!(rules(&mut watch, false), []);
    let late = rules(&mut watch, true);
    assert_eq!(late, [("holds_differ", "o-1".to_owned())]);
    write(&mut log, &[released("cup", 3, "o-1", 0)]);
    follow(&log, &mut watch);
    assert_eq!(rules(&mut watch, true), []);
    assert!(watch.orders.is_empty() && watch.holds.is_empty());
}

#[test]
fn an_order_that_is_unpaid_past_its_deadline_is_stuck() {
    let mut watch = Watch::new(1);
    follow(&held_order(), &mut watch);
    let at = |text: &str| text.parse::<Timestamp>().expect("a time");
    let before = judge(&watch, at("2100-03-01T23:59:00Z"), &LIMITS);
    assert_eq!(before, []);
    let findings = judge(&watch, at("2100-03-02T00:02:00Z"), &LIMITS);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].rule, "stuck_order");
    assert_eq!(findings[0].severity, Severity::Error);
    let evidence = findings[0].evidence.as_ref().expect("evidence");
    assert_eq!(evidence.topic, Stream::Order.topic());
}

#[test]
fn a_reservation_that_no_order_belongs_to_is_found() {
    let mut log = TestLog::new();
    write(
        &mut log,
        &[received("cup", 1, 9), reserved("cup", 2, "ghost", 2)],
    );
    let mut watch = Watch::new(1);
    follow(&log, &mut watch);
    assert_eq!(rules(&mut watch, false), [], "its order may be on its way");
    let ghost = ("reservation_without_order", "ghost".to_owned());
    assert_eq!(rules(&mut watch, true), [ghost]);
}

#[test]
fn a_gap_and_books_that_do_not_add_up_are_found_with_their_place_until_somebody_takes_note() {
    let mut log = TestLog::new();
    write(&mut log, &[received("cup", 1, 9)]);
    log.skip_seq(Stream::Stock, "cup");
    write(&mut log, &[reserved("cup", 2, "o-1", 7)]);
    log.raw(Stream::Order, "o-1", Some(b"no event".to_vec()));
    let mut watch = Watch::new(1);
    follow(&log, &mut watch);
    let found = rules(&mut watch, false);
    for rule in [
        "seqs_are_dense",
        "reserved_is_the_sum_of_holds",
        "events_can_be_read",
    ] {
        assert!(found.iter().any(|(name, _)| *name == rule), "{found:?}");
    }
    // They stay in the log, and so they stay open: in the file, too, until somebody takes note.
    let file = state_file("kept");
    save(&file, &watch).expect("saved");
    let mut kept = load(&file, 1).expect("the same");
    follow(&log, &mut kept);
    assert_eq!(
        rules(&mut kept, false),
        rules(&mut watch, false),
        "once each"
    );
    assert_eq!(kept.acknowledge(), 3);
    write(&mut log, &[confirmed("o-1")]);
    follow(&log, &mut kept);
    let known = [
        "seqs_are_dense",
        "reserved_is_the_sum_of_holds",
        "events_can_be_read",
    ];
    let again = rules(&mut kept, false);
    assert!(
        !again.iter().any(|(name, _)| known.contains(name)),
        "{again:?}"
    );
    std::fs::remove_file(&file).expect("removed");
}

#[test]
fn more_broken_rules_than_there_is_room_for_are_counted() {
    let mut watch = Watch::new(1);
    watch.more_breaches = 7;
    let findings = judge(&watch, Timestamp::EPOCH, &LIMITS);
    assert_eq!(findings[0].rule, "more_breaches");
    assert_eq!(watch.acknowledge(), 7);
    assert_eq!(judge(&watch, Timestamp::EPOCH, &LIMITS), []);
}

pub fn state_file(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("audit-{name}-{}.json", std::process::id()))
}

#[test]
fn a_view_is_behind_when_what_it_lacks_is_old_however_young_the_last_event() {
    let mut log = TestLog::new();
    let minute = Duration::from_secs(60);
    write(&mut log, &[received("cup", 1, 9)]);
    log.log.advance(10 * minute);
    write(&mut log, &[reserved("cup", 2, "o-1", 2)]);
    let mut watch = Watch::new(1);
    follow(&log, &mut watch);
    let at = TopicPartition::new(Stream::Stock.topic(), partition_of("cup", PARTITIONS));
    // Each record is followed by the mark of its commit.
    let applied = |seq: u64| Position {
        generation: 1,
        next_offset: seq * 2,
        seq,
        recorded_at: Timestamp::EPOCH,
    };
    let look = |log: &TestLog, watch: &Watch, position| {
        let seen = watch.seen(&at.topic, at.partition).expect("read");
        let now = Timestamp::from_micros(log.log.now_us());
        let found = behind(&log.log, "stock@1", &at, position, seen, (now, minute));
        let found = found.expect("looked");
        found.map(|finding| finding.evidence.map_or(0, |at| at.offset))
    };
    assert_eq!(
        look(&log, &watch, Some(applied(2))),
        None,
        "it has all of it"
    );
    let quiet = "a second behind, after a time in which nothing came";
    assert_eq!(look(&log, &watch, Some(applied(1))), None, "{quiet}");
    assert_eq!(look(&log, &watch, None), Some(0), "it was never begun");
    log.log.advance(2 * minute);
    assert_eq!(
        look(&log, &watch, Some(applied(1))),
        Some(2),
        "and stays so"
    );
    for (version, reserved_units) in [(3, 4), (4, 6)] {
        let order = format!("o-{version}");
        write(
            &mut log,
            &[reserved("cup", version, &order, reserved_units)],
        );
    }
    follow(&log, &mut watch);
    assert_eq!(
        look(&log, &watch, Some(applied(1))),
        Some(2),
        "under traffic"
    );
    assert_eq!(look(&log, &watch, Some(applied(2))), None, "it went on");
}

#[test]
fn of_two_audits_over_one_file_the_second_waits_and_then_says_who_has_it() {
    let file = state_file("held");
    let held = hold(&file, Duration::ZERO).expect("free");
    let error = hold(&file, Duration::from_millis(300)).expect_err("taken");
    let holder = format!("process {}, since ", std::process::id());
    assert!(error.to_string().contains(&holder), "{error}");
    // What is held does not go with the file.
    save(&file, &Watch::new(1)).expect("saved");
    assert!(hold(&file, Duration::ZERO).is_err());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| hold(&file, Duration::from_secs(60)));
        drop(held);
        let second = waiting.join().expect("no panic").expect("free again");
        assert!(hold(&file, Duration::ZERO).is_err());
        drop(second);
    });
    std::fs::remove_file(file.with_extension("json.lock")).expect("removed");
    std::fs::remove_file(&file).expect("removed");
}

#[test]
fn the_state_goes_on_where_it_was_and_is_of_its_log() {
    let file = state_file("state");
    let mut log = held_order();
    let mut watch = load(&file, 1).expect("an empty one");
    follow(&log, &mut watch);
    save(&file, &watch).expect("saved");
    let mut again = load(&file, 1).expect("the same");
    assert_eq!(again.orders, watch.orders);
    write(&mut log, &[cancelled("o-1", 3, 0)]);
    assert_eq!(follow(&log, &mut again), 1);
    let other = load(&file, 2).expect_err("another log");
    assert!(other.to_string().contains("generation"), "{other}");
    let text = std::fs::read_to_string(&file).expect("read");
    let older = text.replace(&format!("\"format\":{}", Watch::FORMAT), "\"format\":1");
    assert_ne!(older, text);
    for text in [older, r#"{"generation":1,"orders":{"o-1":{}}}"#.to_owned()] {
        std::fs::write(&file, text).expect("written");
        let error = load(&file, 1).expect_err("another form");
        assert!(error.to_string().contains("another version"), "{error:#}");
    }
    std::fs::remove_file(&file).expect("removed");
}
