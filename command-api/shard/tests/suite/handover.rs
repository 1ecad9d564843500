//! One shard after the other on the same partition: getting ready, taking over, letting go.

use std::sync::Arc;
use std::time::Instant;

use cartwright_event_log::memory::Fault;
use cartwright_event_log::{ReaderPurpose, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_shard::{
    Begin, Inputs, Outcome, Ownership, Reply, ShardOptions, ShardThread, Step, SystemClock, spawn,
};

use crate::bent::{Bent, BentLog};
use crate::rig::{Rig, SNAPSHOTS, TOPICS, small_rounds, version};
use crate::thread::{PATIENCE, empty_log, start, submit, wait_until};
use crate::toy::{Command, Toy, add};

/// Reading where everything is that has left memory can take longer than a command may wait. A
/// successor has done it before it says that it is ready, and creates at once.
#[test]
fn a_planned_handover_fails_no_create_however_long_the_archive_takes_to_read() {
    let log = BentLog::new(empty_log(), SNAPSHOTS);
    let begin = |begin| {
        let mut options = ShardOptions {
            archive_after_ms: 0,
            ..ShardOptions::default()
        };
        small_rounds(&mut options);
        let (log, clock) = (log.clone(), Arc::new(SystemClock));
        spawn(Toy, 0, log, Codec::fixed(), options, clock, begin).expect("a thread")
    };
    let create = |shard: &ShardThread<Command>, sku: &str| {
        let reply = submit(&shard.mailbox, sku).blocking_recv();
        match reply {
            Ok(Reply::Decided(Outcome::Accepted(answer))) => answer.version,
            other => panic!("{sku}: {other:?}"),
        }
    };
    let first = begin(Begin::TakeOver);
    for _ in 0..3 {
        create(&first, "a");
    }
    // Until a take-over stands on a round that began after "a" has left.
    let mut created = 0;
    let journal = TopicPartition::new("inventory.journal.v1", 0);
    let rounds = || {
        let journal = log.log.committed(&journal).expect("the topic");
        let named = journal
            .iter()
            .filter_map(|record| record.header("checkpoint"));
        named.collect::<std::collections::BTreeSet<_>>().len()
    };
    while rounds() < 3 {
        created += 1;
        assert_eq!(create(&first, &format!("early-{created}")), 1);
    }
    log.bend(Bent::Silent);
    let second = begin(Begin::StandBy);
    let mut ownership = second.mailbox.ownership_changes();
    wait_until(
        &mut ownership,
        |ownership| matches!(ownership, Ownership::Recovering { because } if because.contains("finished")),
    );
    assert_eq!(create(&first, "while-it-reads"), 1);
    log.bend(Bent::Not);
    wait_until(&mut ownership, |ownership| *ownership == Ownership::Standby);
    // What it does not know by now it will not know before the commands have given up.
    log.bend(Bent::Silent);
    let waiting: Vec<_> = (0..20)
        .map(|number| submit(&second.mailbox, &format!("late-{number}")))
        .collect();
    assert!(first.stop(PATIENCE));
    second.serve();
    for reply in waiting {
        let reply = reply.blocking_recv();
        assert!(
            matches!(reply, Ok(Reply::Decided(Outcome::Accepted(_)))),
            "{reply:?}"
        );
    }
    assert_eq!(create(&second, "a"), 4);
    assert!(second.stop(PATIENCE));
}

#[test]
fn a_shard_that_stands_by_fences_nobody_and_knows_all_when_it_takes_over() {
    let (log, first) = start(ShardOptions::default());
    assert!(matches!(
        submit(&first.mailbox, "a").blocking_recv(),
        Ok(Reply::Decided(_))
    ));
    let second = spawn(
        Toy,
        0,
        log.clone(),
        Codec::fixed(),
        ShardOptions::default(),
        Arc::new(SystemClock),
        Begin::StandBy,
    )
    .expect("a thread");
    let mut ownership = second.mailbox.ownership_changes();
    wait_until(&mut ownership, |ownership| *ownership == Ownership::Standby);
    // The owner goes on, and what it writes now is known to its successor all the same.
    let waiting = submit(&second.mailbox, "a");
    assert!(matches!(
        submit(&first.mailbox, "a").blocking_recv(),
        Ok(Reply::Decided(_))
    ));
    assert!(first.stop(PATIENCE));
    second.serve();
    match waiting.blocking_recv() {
        Ok(Reply::Decided(Outcome::Accepted(answer))) => assert_eq!(answer.version, 3),
        other => panic!("{other:?}"),
    }
    assert_eq!(second.mailbox.ownership(), Ownership::Serving { epoch: 2 });
    assert!(second.stop(PATIENCE));
}

/// A reader can miss that there is more, as after its broker was away. The partition has no owner by then.
#[test]
fn a_successor_whose_reader_brings_nothing_takes_over_at_the_first_attempt() {
    let mut rig = Rig::new();
    let log = BentLog::new(rig.log.clone(), SNAPSHOTS);
    log.deafen_next(ReaderPurpose::Recovery, TopicPartition::new(TOPICS[0], 0));
    let mut successor = rig.rival_on(log.clone());
    assert_eq!(version(rig.decide(add("a"), None)), 1);
    assert_eq!(successor.prepare(), Ok(Step::Idle));
    assert!(log.is_deaf());
    assert_eq!(*successor.ownership().borrow(), Ownership::Standby);
    assert_eq!(successor.take_over(), Ok(Step::Idle));
    let (again, mut caller) = rig.add("a");
    successor.step(Inputs {
        commands: vec![again],
        ..Inputs::default()
    });
    assert_eq!(version(caller.reply()), 2);
}

#[test]
fn a_shard_that_stands_by_can_be_called_off() {
    let (log, first) = start(ShardOptions::default());
    let second = spawn(
        Toy,
        0,
        log,
        Codec::fixed(),
        ShardOptions::default(),
        Arc::new(SystemClock),
        Begin::StandBy,
    )
    .expect("a thread");
    assert!(second.stop(PATIENCE));
    assert!(matches!(
        submit(&first.mailbox, "a").blocking_recv(),
        Ok(Reply::Decided(_))
    ));
    assert!(first.stop(PATIENCE));
}

#[test]
fn a_deposed_shard_does_not_take_over_again() {
    let log = empty_log();
    // It is about to read its log back, for whatever doubt, and cannot yet.
    let id = "cartwright-inventory-0";
    for _ in 0..10_000 {
        log.inject_for(id, Fault::TakeOverError);
    }
    let options = ShardOptions {
        take_over_backoff_ms: 1,
        take_over_backoff_max_ms: 1,
        ..ShardOptions::default()
    };
    let clock = Arc::new(SystemClock);
    let begin = Begin::TakeOver;
    let shard = spawn(Toy, 0, log.clone(), Codec::fixed(), options, clock, begin);
    let shard = shard.expect("a thread");
    let begun = Instant::now();
    while log.fired(&Fault::TakeOverError) == 0 {
        assert!(begun.elapsed() < PATIENCE, "it does not try");
        std::thread::yield_now();
    }
    let waiting = submit(&shard.mailbox, "a");
    let fired = log.fired(&Fault::TakeOverError);
    shard.let_go();
    // The attempt that was under way may not succeed: it has begun before.
    while !shard.has_ended() && log.fired(&Fault::TakeOverError) == fired {
        assert!(begun.elapsed() < PATIENCE, "it does not try");
        std::thread::yield_now();
    }
    log.clear_faults();
    assert!(shard.stop(PATIENCE));
    assert!(waiting.blocking_recv().is_err(), "nobody decided it");
    let journal = TopicPartition::new("inventory.journal.v1", 0);
    assert!(log.committed(&journal).expect("the topic").is_empty());
}
