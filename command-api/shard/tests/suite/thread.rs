//! The shard on its own thread: mailbox, inbox pump, backpressure and a graceful stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cartwright_event_log::memory::{Fault, MemoryLog};
use cartwright_event_log::{
    EventLog, LogReader, LogWriter, NewRecord, ReaderPurpose, TopicPartition,
};
use cartwright_events::codec::Codec;
use cartwright_events::messages::ReserveStock;
use cartwright_events::{Context, Message, Timestamp};
use cartwright_shard::{
    Begin, Mailbox, Outcome, Ownership, Reply, ShardOptions, ShardThread, Submission, SystemClock,
    spawn,
};
use tokio::sync::oneshot;

use crate::bent::{Bent, BentLog};
use crate::rig::{SNAPSHOTS, TOPICS};
use crate::toy::{Command, TORN, Toy, add};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn empty_log() -> MemoryLog {
    let log = MemoryLog::waiting();
    for topic in TOPICS.iter().chain(&["checkout.inbox.v1"]) {
        log.create_topic(topic, 1);
    }
    log
}

pub(crate) fn start(options: ShardOptions) -> (MemoryLog, ShardThread<Command>) {
    let log = empty_log();
    let shard = spawn(
        Toy,
        0,
        log.clone(),
        Codec::fixed(),
        options,
        Arc::new(SystemClock),
        Begin::TakeOver,
    );
    (log, shard.expect("a thread"))
}

fn submission(sku: &str) -> (Submission<Command>, oneshot::Receiver<Reply>) {
    let (reply, receiver) = oneshot::channel();
    let submission = Submission {
        command: add(sku),
        command_id: format!("command-{sku}-{:?}", Instant::now()),
        correlation_id: "request".to_owned(),
        traceparent: None,
        expected_version: None,
        idempotency: None,
        deadline: Timestamp::now().plus_millis(20_000),
        reply,
    };
    (submission, receiver)
}

pub(crate) fn submit(mailbox: &Mailbox<Command>, sku: &str) -> oneshot::Receiver<Reply> {
    let (submission, receiver) = submission(sku);
    mailbox.submit(submission).expect("room");
    receiver
}

#[test]
fn replies_come_and_a_stop_decides_what_was_accepted() {
    let (_log, shard) = start(ShardOptions::default());
    let receivers: Vec<_> = (0..500).map(|_| submit(&shard.mailbox, "a")).collect();
    let mailbox = shard.mailbox.clone();
    assert!(shard.stop(PATIENCE));
    let versions: Vec<u64> = receivers
        .into_iter()
        .map(|receiver| match receiver.blocking_recv() {
            Ok(Reply::Decided(Outcome::Accepted(answer))) => answer.version,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(versions, (1..=500).collect::<Vec<u64>>());
    assert_eq!(mailbox.ownership(), Ownership::Stopped);
    let (late, _) = submission("a");
    assert!(mailbox.submit(late).is_err(), "nobody is there to take it");
}

#[test]
fn a_full_mailbox_gives_the_command_back_with_the_time_that_the_shard_needs_for_it() {
    const CAPACITY: usize = 8;
    const EACH_MS: u64 = 300;
    let options = ShardOptions {
        mailbox_capacity: CAPACITY,
        // So long takes each, at least.
        commit_gap_ms: EACH_MS,
        ..ShardOptions::default()
    };
    let (log, shard) = start(options);
    // By the first it has seen how long they take; the second is in its hands until the pause after it.
    for _ in 0..2 {
        let reply = submit(&shard.mailbox, "a").blocking_recv();
        assert!(matches!(reply, Ok(Reply::Decided(_))), "{reply:?}");
    }
    let mut kept = Vec::new();
    let full = loop {
        let (next, receiver) = submission("a");
        match shard.mailbox.submit(next) {
            Ok(()) => kept.push(receiver),
            Err(full) => break full,
        }
        assert!(kept.len() < 1_000_000, "the mailbox has no limit");
    };
    assert!(full.value.command_id.starts_with("command-a"));
    let least_ms = (1 + CAPACITY as u64) * EACH_MS;
    let range = least_ms..=30_000;
    assert!(range.contains(&full.retry_after_ms), "{full:?}");
    drop(log);
    assert!(shard.stop(PATIENCE));
}

/// A shard whose "a" is finished and has left memory.
fn with_a_finished_one() -> (MemoryLog, ShardThread<Command>) {
    let options = ShardOptions {
        archive_after_ms: 0,
        ..ShardOptions::default()
    };
    let (log, shard) = start(options);
    for _ in 0..3 {
        let reply = submit(&shard.mailbox, "a").blocking_recv();
        assert!(matches!(reply, Ok(Reply::Decided(_))), "{reply:?}");
    }
    // At three it is finished, and leaves with a snapshot.
    let reader = log.reader(ReaderPurpose::Recovery).expect("a reader");
    let snapshots = TopicPartition::new(SNAPSHOTS, 0);
    let begun = Instant::now();
    while reader.watermarks(&snapshots).expect("watermarks").1 == 0 {
        assert!(begun.elapsed() < PATIENCE, "it does not leave");
        std::thread::yield_now();
    }
    (log, shard)
}

/// The thread has to read from the archive while the shard serves, not only after a take-over.
#[test]
fn what_has_left_memory_is_fetched_for_a_command() {
    let (_log, shard) = with_a_finished_one();
    match submit(&shard.mailbox, "a").blocking_recv() {
        Ok(Reply::Decided(Outcome::Accepted(answer))) => assert_eq!(answer.version, 4),
        other => panic!("{other:?}"),
    }
    assert!(shard.stop(PATIENCE));
}

/// A checkout that is repeated, when the order has long been shipped.
#[test]
fn the_outcome_of_what_has_left_memory_is_told() {
    let (_log, shard) = with_a_finished_one();
    let told = shard.mailbox.watch("a".to_owned()).blocking_recv();
    assert_eq!(told.map(|answer| answer.version), Ok(3));
    assert!(shard.stop(PATIENCE));
}

/// Puts so many messages into the shard's inbox that each ask for an answer.
fn ask(log: &MemoryLog, messages: usize) {
    let order_id = cartwright_events::OrderId::new("order-1").expect("an id");
    let items = Vec::new();
    let message = Message::ReserveStock(ReserveStock { order_id, items });
    let mut sender = log.writer("sender").expect("a writer");
    sender.take_over().expect("a take-over");
    let record = NewRecord {
        topic: Arc::from("inventory.inbox.v1"),
        partition: 0,
        key: Vec::new(),
        value: Some(Codec::fixed().encode_message(Context::Inventory, &message)),
        headers: Vec::new(),
    };
    sender.commit(vec![record; messages]).expect("a commit");
}

/// Waits until there are so many answers.
fn wait_for_answers(log: &MemoryLog, answers: usize) {
    let inbox = TopicPartition::new("checkout.inbox.v1", 0);
    let begun = Instant::now();
    while log.committed(&inbox).expect("the topic").len() < answers {
        assert!(begun.elapsed() < PATIENCE, "no answer");
        std::thread::yield_now();
    }
}

#[test]
fn messages_arrive_by_the_inbox_and_are_answered() {
    let (log, shard) = start(ShardOptions::default());
    ask(&log, 1);
    wait_for_answers(&log, 1);
    assert!(shard.stop(PATIENCE));
}

#[test]
fn a_fenced_shard_says_so_and_ends() {
    let (log, shard) = start(ShardOptions::default());
    let mut ownership = shard.mailbox.ownership_changes();
    wait_until(&mut ownership, |ownership| {
        matches!(ownership, Ownership::Serving { .. })
    });
    let mut rival = log.writer("cartwright-inventory-0").expect("a writer");
    rival.take_over().expect("a take-over");
    let reply = submit(&shard.mailbox, "a").blocking_recv();
    assert!(matches!(reply, Ok(Reply::Unknown { .. })), "{reply:?}");
    let fenced = Ownership::Fenced { epoch: 1 };
    wait_until(&mut ownership, |ownership| *ownership == fenced);
}

/// Kafka fences whoever has a transaction open for too long; who was away can't tell that from another
/// process, but by the log.
#[test]
fn a_fenced_shard_serves_again_unless_another_process_has_served_since() {
    let log = empty_log();
    let begin = |begin| {
        let (log, options) = (log.clone(), ShardOptions::default());
        let clock = Arc::new(SystemClock);
        let shard = spawn(Toy, 0, log, Codec::fixed(), options, clock, begin);
        shard.expect("a thread")
    };
    let comes_to = |shard: &ShardThread<Command>, wanted: Ownership| {
        wait_until(&mut shard.mailbox.ownership_changes(), |now| *now == wanted);
    };
    let first = begin(Begin::TakeOver);
    comes_to(&first, Ownership::Serving { epoch: 1 });
    log.inject_for("cartwright-inventory-0", Fault::FenceNext);
    let reply = submit(&first.mailbox, "a").blocking_recv();
    assert!(matches!(reply, Ok(Reply::Unknown { .. })), "{reply:?}");
    assert_eq!(log.fired(&Fault::FenceNext), 1);
    comes_to(&first, Ownership::Fenced { epoch: 1 });

    let again = begin(Begin::Reclaim { epoch: 1 });
    comes_to(&again, Ownership::Serving { epoch: 2 });
    let other = begin(Begin::TakeOver);
    comes_to(&other, Ownership::Serving { epoch: 3 });
    let reply = submit(&again.mailbox, "a").blocking_recv();
    assert!(matches!(reply, Ok(Reply::Unknown { .. })), "{reply:?}");
    comes_to(&again, Ownership::Fenced { epoch: 2 });

    let late = begin(Begin::Reclaim { epoch: 2 });
    comes_to(&late, Ownership::Replaced);
    let reply = submit(&other.mailbox, "a").blocking_recv();
    assert!(matches!(reply, Ok(Reply::Decided(_))), "{reply:?}");
    assert!(other.stop(PATIENCE));
}

/// Whoever looks at it has to see that nobody is there.
#[test]
fn a_shard_that_panics_says_so_and_takes_no_more() {
    let (_log, shard) = start(ShardOptions::default());
    let mut ownership = shard.mailbox.ownership_changes();
    let reply = submit(&shard.mailbox, TORN).blocking_recv();
    assert!(reply.is_err(), "{reply:?}");
    wait_until(&mut ownership, Ownership::is_final);
    match shard.mailbox.ownership() {
        Ownership::Refused { reason } => assert!(reason.contains("a torn state"), "{reason}"),
        other => panic!("{other}"),
    }
    let (late, _) = submission("a");
    assert!(shard.mailbox.submit(late).is_err(), "nobody is there");
    assert!(!shard.stop(PATIENCE), "it has not ended well");
}

/// A stranger's transaction that stays open holds up every message behind it.
#[test]
fn what_holds_the_inbox_up_is_named_until_it_has_gone() {
    let (log, shard) = start(ShardOptions {
        inbox_stuck_after_ms: 1,
        ..ShardOptions::default()
    });
    let mut stranger = log.writer("stranger").expect("a writer");
    stranger.take_over().expect("a take-over");
    log.inject_for("stranger", Fault::UnknownCommit { committed: false });
    let record = NewRecord {
        topic: Arc::from("inventory.inbox.v1"),
        partition: 0,
        key: Vec::new(),
        value: Some(Vec::new()),
        headers: Vec::new(),
    };
    stranger.commit(vec![record]).expect_err("it stays open");
    let trouble = |wanted: fn(&Option<String>) -> bool| {
        let begun = Instant::now();
        while !wanted(&shard.mailbox.inbox_trouble()) {
            assert!(begun.elapsed() < PATIENCE, "the trouble is not told");
            std::thread::yield_now();
        }
        shard.mailbox.inbox_trouble()
    };
    let named = trouble(Option::is_some).expect("a trouble");
    assert!(named.contains("the transaction of stranger"), "{named}");
    stranger.take_over().expect("a take-over");
    trouble(Option::is_none);
    assert!(shard.stop(PATIENCE));
}

/// A reader can miss that there is more, as after its broker was away.
#[test]
fn an_inbox_whose_reader_brings_nothing_is_read_by_another() {
    let inbox = TopicPartition::new("inventory.inbox.v1", 0);
    let log = BentLog::new(empty_log(), "inventory.inbox.v1");
    log.deafen_next(ReaderPurpose::Tailing, inbox);
    let options = ShardOptions {
        inbox_stuck_after_ms: 1,
        ..ShardOptions::default()
    };
    let (codec, clock) = (Codec::fixed(), Arc::new(SystemClock));
    let shard = spawn(Toy, 0, log.clone(), codec, options, clock, Begin::TakeOver);
    let shard = shard.expect("a thread");
    ask(&log.log, 3);
    wait_for_answers(&log.log, 3);
    assert!(log.is_deaf());
    assert!(shard.stop(PATIENCE));
    let answers = TopicPartition::new("checkout.inbox.v1", 0);
    let answers = log.log.committed(&answers).expect("the topic");
    assert_eq!(answers.len(), 3, "none is read twice");
}

/// What was kept of an inbox ends one day where nothing has come for long. Nothing is lost with it.
#[test]
fn a_shard_serves_again_whose_inbox_was_emptied_by_age() {
    let (log, shard) = start(ShardOptions::default());
    ask(&log, 1);
    wait_for_answers(&log, 1);
    let inbox = TopicPartition::new("inventory.inbox.v1", 0);
    let reader = log.reader(ReaderPurpose::Recovery).expect("a reader");
    let (_, end) = reader.watermarks(&inbox).expect("an end");
    let begun = Instant::now();
    while last_inbox_position(&log) < end {
        assert!(
            begun.elapsed() < PATIENCE,
            "the end of the inbox is not noted"
        );
        let reply = submit(&shard.mailbox, "a").blocking_recv();
        assert!(matches!(reply, Ok(Reply::Decided(_))), "{reply:?}");
    }
    assert!(shard.stop(PATIENCE));
    log.delete_records(&inbox, end);
    let (codec, clock) = (Codec::fixed(), Arc::new(SystemClock));
    let options = ShardOptions::default();
    let again = spawn(Toy, 0, log.clone(), codec, options, clock, Begin::TakeOver);
    let again = again.expect("a thread");
    ask(&log, 1);
    wait_for_answers(&log, 2);
    assert!(again.stop(PATIENCE));
}

/// As the journal has it.
fn last_inbox_position(log: &MemoryLog) -> u64 {
    let journal = TopicPartition::new("inventory.journal.v1", 0);
    let last = log.committed(&journal).expect("the topic").pop();
    let value = last.and_then(|record| record.value).unwrap_or_default();
    let journal = Codec::fixed().decode_journal(Context::Inventory, &value);
    journal.expect("a journal record").inbox_position
}

/// A reader that has died brings nothing any more: the shard would wait for ever, and busily.
#[test]
fn a_shard_ends_when_the_thread_that_reads_its_inbox_has_died() {
    let log = BentLog::new(empty_log(), "inventory.inbox.v1");
    let shard = spawn(
        Toy,
        0,
        log.clone(),
        Codec::fixed(),
        ShardOptions::default(),
        Arc::new(SystemClock),
        Begin::TakeOver,
    );
    let shard = shard.expect("a thread");
    let mut ownership = shard.mailbox.ownership_changes();
    let reply = submit(&shard.mailbox, "a").blocking_recv();
    assert!(matches!(reply, Ok(Reply::Decided(_))), "{reply:?}");
    log.bend(Bent::Broken);
    wait_until(&mut ownership, Ownership::is_final);
    match shard.mailbox.ownership() {
        Ownership::Refused { reason } => assert!(reason.contains("the inbox"), "{reason}"),
        other => panic!("{other}"),
    }
}

/// Whoever takes over next waits for the end of the claim, not for that of the threads.
#[test]
fn a_shard_has_let_go_when_its_claim_has_ended() {
    let (_log, shard) = start(ShardOptions::default());
    let mut ownership = shard.mailbox.ownership_changes();
    wait_until(&mut ownership, |ownership| {
        matches!(ownership, Ownership::Serving { .. })
    });
    assert!(!shard.has_let_go());
    shard.let_go();
    wait_until(&mut ownership, |ownership| *ownership == Ownership::Stopped);
    assert!(shard.has_let_go());
    assert!(shard.stop(PATIENCE));
}

pub(crate) fn wait_until(
    ownership: &mut tokio::sync::watch::Receiver<Ownership>,
    wanted: impl Fn(&Ownership) -> bool,
) {
    let begun = Instant::now();
    while !wanted(&ownership.borrow_and_update()) {
        assert!(begun.elapsed() < PATIENCE, "still {}", *ownership.borrow());
        std::thread::yield_now();
    }
}
