//! Where those are that have left memory: pages of the index, and what is written while somebody reads.

use std::collections::BTreeMap;
use std::time::Duration;

use cartwright_event_log::{EventLog, LogReader, ReaderPurpose, Record, TopicPartition};
use cartwright_shard::{Inputs, Ownership, Shard, Step};

use crate::archive::{with_one_that_left_long_ago, write_rounds};
use crate::bent::{Bent, BentLog};
use crate::rig::{Rig, SNAPSHOTS, leave_at_once, small_rounds, version};
use crate::toy::{Toy, add};

/// Ten that left memory, each on its own, a page for every three of them, and a round that says so.
fn with_pages() -> (Rig, Vec<String>) {
    let mut rig = Rig::with(|options| {
        small_rounds(options);
        leave_at_once(options);
        options.archive_page = 3;
    });
    let ids: Vec<String> = (0..10).map(|number| format!("sku-{number}")).collect();
    for id in &ids {
        for _ in 0..3 {
            let _ = rig.decide(add(id), None);
        }
        rig.settle();
    }
    let _ = rig.decide(add("b"), None);
    write_rounds(&mut rig);
    assert_eq!(rig.snapshots_of("page"), 3);
    (rig, ids)
}

/// Answers what the shard asks, from a log whose topic of snapshots nobody may read from its beginning.
fn read_pages_alone(rig: &mut Rig) {
    let bent = BentLog::new(rig.log.clone(), SNAPSHOTS);
    bent.bend(Bent::Broken);
    let at = TopicPartition::new(SNAPSHOTS, 0);
    let asks = rig.shard.take_asks();
    let answers = asks.iter().map(|ask| {
        let answer = ask.answer(&bent, &at, Duration::from_millis(200));
        answer.expect("an answer")
    });
    let archive: Vec<_> = answers.collect();
    rig.shard.step(Inputs {
        archive,
        ..Inputs::default()
    });
}

fn all_come_back(rig: &mut Rig, ids: &[String], expected: u64) {
    for id in ids {
        let (again, mut caller) = rig.add(id);
        rig.step(vec![again]);
        rig.read_archive();
        assert_eq!(version(caller.reply()), expected, "{id}");
    }
}

#[test]
fn a_take_over_reads_pages_of_the_index_and_not_every_snapshot() {
    let (mut rig, ids) = with_pages();
    assert_eq!(rig.restart(), Ok(Step::Idle));
    read_pages_alone(&mut rig);
    all_come_back(&mut rig, &ids, 4);
    // What came back has left again, changed, and is on later pages.
    rig.settle();
    write_rounds(&mut rig);
    assert!(rig.snapshots_of("page") > 5);
    assert_eq!(rig.restart(), Ok(Step::Idle));
    read_pages_alone(&mut rig);
    all_come_back(&mut rig, &ids, 5);
    let (fresh, mut caller) = rig.add("fresh");
    rig.step(vec![fresh]);
    assert_eq!(version(caller.reply()), 1, "known to be new at once");
}

#[test]
fn compaction_leaves_every_page_and_the_last_snapshots_of_all_who_have_left() {
    let (mut rig, ids) = with_pages();
    let at = TopicPartition::new(SNAPSHOTS, 0);
    for expected in [4, 5] {
        assert_ne!(rig.log.compact(&at, u64::MAX), []);
        assert_eq!(rig.restart(), Ok(Step::Idle));
        read_pages_alone(&mut rig);
        all_come_back(&mut rig, &ids, expected);
        rig.settle();
        write_rounds(&mut rig);
    }
}

#[test]
fn pages_that_cannot_be_read_only_cost_time_and_are_written_again() {
    let (mut rig, ids) = with_pages();
    let at = TopicPartition::new(SNAPSHOTS, 0);
    let pages = || {
        let all = rig.log.committed(&at).expect("the topic").into_iter();
        let is_page = |record: &Record| record.header("kind") == Some(b"page");
        all.filter(is_page).collect::<Vec<Record>>()
    };
    // What stands before the second page is gone, and with it the first one.
    let second = pages()[1].offset;
    rig.log.delete_records(&at, second);
    assert_eq!(rig.restart(), Ok(Step::Idle));
    rig.read_archive();
    // The latest snapshots of these are still there.
    all_come_back(&mut rig, &ids[6..], 4);
    write_rounds(&mut rig);
    assert_eq!(rig.restart(), Ok(Step::Idle));
    read_pages_alone(&mut rig);
    all_come_back(&mut rig, &ids[6..], 5);
}

/// Otherwise its owner waits for it until it stops waiting, and creates wait after that.
#[test]
fn a_successor_gets_ready_where_every_page_takes_half_a_second() {
    let (mut rig, ids) = with_pages();
    let log = BentLog::new(rig.log.clone(), SNAPSHOTS);
    log.bend(Bent::Late);
    let mut successor = rig.rival_on(log);
    for _ in 0..10 {
        assert_eq!(successor.prepare(), Ok(Step::Idle));
    }
    knows_every_id(&mut rig, successor, &ids);
}

/// A transaction that is open hides the end of the log: of where the aggregates are that left memory, nothing.
#[test]
fn a_successor_gets_ready_while_its_owner_has_a_transaction_open_all_the_time() {
    let (mut rig, ids) = with_pages();
    let log = BentLog::new(rig.log.clone(), SNAPSHOTS);
    let mut successor = rig.rival_on(log.clone());
    assert_eq!(successor.prepare(), Ok(Step::Idle));
    let at = TopicPartition::new(SNAPSHOTS, 0);
    let reader = rig.log.reader(ReaderPurpose::Recovery).expect("a reader");
    let (_, end) = reader.watermarks(&at).expect("an end");
    log.say_ends(BTreeMap::from([(at, (end + 1, end))]));
    for _ in 0..10 {
        assert_eq!(successor.prepare(), Ok(Step::Idle));
    }
    log.say_ends(BTreeMap::new());
    knows_every_id(&mut rig, successor, &ids);
}

/// A reader can miss that there is more, as after its broker was away.
#[test]
fn a_reader_of_the_archive_that_brings_nothing_is_sent_there_anew() {
    let rig = with_one_that_left_long_ago();
    let log = BentLog::new(rig.log.clone(), SNAPSHOTS);
    log.bend(Bent::Deaf);
    let mut successor = rig.rival_on(log.clone());
    assert_eq!(successor.prepare(), Ok(Step::Idle));
    let is_ready =
        |successor: &Shard<Toy, BentLog>| *successor.ownership().borrow() == Ownership::Standby;
    assert!(!is_ready(&successor), "it has heard nothing");
    log.bend(Bent::Not);
    for _ in 0..3 {
        assert_eq!(successor.prepare(), Ok(Step::Idle));
    }
    assert!(is_ready(&successor));
}

/// It says that it is ready, and creates at once when it has taken over.
fn knows_every_id(rig: &mut Rig, mut successor: Shard<Toy, BentLog>, ids: &[String]) {
    assert_eq!(*successor.ownership().borrow(), Ownership::Standby);
    assert_eq!(successor.take_over(), Ok(Step::Idle));
    let (fresh, mut caller) = rig.add("fresh");
    let (known, mut waiting) = rig.add(&ids[0]);
    successor.step(Inputs {
        commands: vec![fresh, known],
        ..Inputs::default()
    });
    assert_eq!(version(caller.reply()), 1, "known to be new at once");
    assert_eq!(waiting.reply(), None, "it has to come back first");
}

/// While an aggregate comes back its next event may be in its partition before the snapshot that it applies
/// to is in the other, and be committed before the event is read.
#[test]
fn who_stands_by_reads_no_event_before_the_snapshot_that_it_applies_to() {
    let mut rig = with_one_that_left_long_ago();
    // No round begins from here on.
    rig.options.checkpoint_tail = 1_000;
    assert_eq!(rig.restart(), Ok(Step::Idle));
    rig.read_archive();
    let topics = [
        "inventory.stock.events.v1",
        "inventory.journal.v1",
        SNAPSHOTS,
    ];
    let places = topics.map(|topic| TopicPartition::new(topic, 0));
    let reader = rig.log.reader(ReaderPurpose::Recovery).expect("a reader");
    let end = |at: &TopicPartition| reader.watermarks(at).expect("an end").1;
    let before = places.each_ref().map(end);
    let (again, mut caller) = rig.add("a");
    rig.step(vec![again]);
    rig.read_archive();
    assert_eq!(version(caller.reply()), 4);

    let log = BentLog::new(rig.log.clone(), SNAPSHOTS);
    let [events, journal, snapshots] = places;
    let [events_before, journal_before, snapshots_before] = before;
    log.say_ends(BTreeMap::from([
        (events.clone(), (end(&events), events_before)),
        (journal.clone(), (end(&journal), journal_before)),
        (snapshots, (snapshots_before, snapshots_before)),
    ]));
    let mut successor = rig.rival_on(log.clone());
    for _ in 0..3 {
        assert_eq!(successor.prepare(), Ok(Step::Idle));
    }
    log.say_ends(BTreeMap::new());
    assert_eq!(successor.prepare(), Ok(Step::Idle));
    assert_eq!(successor.take_over(), Ok(Step::Idle));
    let (again, mut caller) = rig.add("a");
    successor.step(Inputs {
        commands: vec![again],
        ..Inputs::default()
    });
    assert_eq!(version(caller.reply()), 5);
}
