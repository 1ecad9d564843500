//! Random schedules of writers and faults against an oracle: what was answered
//! and what is visible always agree.

use std::collections::BTreeSet;

use cartwright_event_log::memory::{Fault, MemoryLog, MemoryWriter};
use cartwright_event_log::{
    CommitError, EventLog, LogReader, LogWriter, NewRecord, ReaderPurpose, Start, TopicPartition,
};
use proptest::prelude::*;

const TOPIC: &str = "events";
const PARTITIONS: u32 = 2;

#[derive(Debug, Clone)]
enum Step {
    Commit { writer: usize, records: usize },
    TakeOver { writer: usize },
    Inject(Fault),
    Advance { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        Just(Fault::FailNextCommit),
        Just(Fault::UnknownCommit { committed: true }),
        Just(Fault::UnknownCommit { committed: false }),
        Just(Fault::FenceNext),
        Just(Fault::StaleEndTxn { noticed: true }),
        Just(Fault::DeliveryFailure),
        Just(Fault::LateProduce),
        Just(Fault::SlowCommit),
        Just(Fault::TakeOverError),
    ];
    // Writers 0 and 1 fight over one transactional id, 2 has its own.
    prop_oneof![
        6 => (0..3_usize, 1..6_usize).prop_map(|(writer, records)| Step::Commit { writer, records }),
        3 => (0..3_usize).prop_map(|writer| Step::TakeOver { writer }),
        3 => fault.prop_map(Step::Inject),
        1 => (0..4_000_u64).prop_map(|ms| Step::Advance { ms }),
    ]
}

/// What the oracle knows of each transaction.
#[derive(Debug, Default)]
struct Oracle {
    committed: BTreeSet<u32>,
    never: BTreeSet<u32>,
    unknown: BTreeSet<u32>,
}

struct World {
    log: MemoryLog,
    writers: Vec<MemoryWriter>,
    oracle: Oracle,
    transactions: u32,
}

/// Number of the transaction, and of how many records this is one.
fn value(transaction: u32, records: usize) -> Vec<u8> {
    format!("{transaction}/{records}").into_bytes()
}

impl World {
    fn new() -> Self {
        let log = MemoryLog::new();
        log.create_topic(TOPIC, PARTITIONS);
        let writers = ["contested", "contested", "own"]
            .iter()
            .map(|id| log.writer(id).expect("a writer"))
            .collect();
        Self {
            log,
            writers,
            oracle: Oracle::default(),
            transactions: 0,
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Commit { writer, records } => self.commit(*writer, *records),
            Step::TakeOver { writer } => {
                let _ = self.writers[*writer].take_over();
            }
            Step::Inject(fault) => self.log.inject(*fault),
            Step::Advance { ms } => self.log.advance(std::time::Duration::from_millis(*ms)),
        }
    }

    fn commit(&mut self, writer: usize, count: usize) {
        self.transactions += 1;
        let transaction = self.transactions;
        let records = (0..count)
            .map(|index| NewRecord {
                topic: TOPIC.into(),
                partition: index as u32 % PARTITIONS,
                key: Vec::new(),
                value: Some(value(transaction, count)),
                headers: Vec::new(),
            })
            .collect();
        let known = match self.writers[writer].commit(records) {
            Ok(_) => &mut self.oracle.committed,
            Err(CommitError::Unknown { .. }) => &mut self.oracle.unknown,
            Err(_) => &mut self.oracle.never,
        };
        known.insert(transaction);
    }

    /// Ends what is open, reads everything by position and compares.
    fn check(&mut self) {
        self.log.clear_faults();
        for writer in &mut self.writers {
            writer.take_over().expect("a take-over");
        }
        let mut seen: Vec<(u32, usize)> = Vec::new();
        for partition in 0..PARTITIONS {
            let at = TopicPartition::new(TOPIC, partition);
            let mut reader = self.log.reader(ReaderPurpose::Recovery).expect("a reader");
            reader
                .assign(&[(at.clone(), Start::Beginning)])
                .expect("an assignment");
            let (_, high) = reader.watermarks(&at).expect("watermarks");
            let mut offset = None;
            cartwright_event_log::read_to(
                &mut reader,
                &[(at.clone(), high)],
                std::time::Duration::from_secs(1),
                |record| {
                    assert!(offset < Some(record.offset), "offsets rise");
                    offset = Some(record.offset);
                    let text = String::from_utf8(record.value.unwrap_or_default()).expect("UTF-8");
                    let (transaction, records) = text.split_once('/').expect("two numbers");
                    seen.push((
                        transaction.parse().expect("a number"),
                        records.parse().expect("a number"),
                    ));
                    Ok::<(), cartwright_event_log::LogError>(())
                },
            )
            .expect("to reach the high watermark");
        }
        for (transaction, records) in &seen {
            let visible = seen
                .iter()
                .filter(|(other, _)| other == transaction)
                .count();
            assert_eq!(visible, *records, "transaction {transaction} is whole");
        }
        let seen: BTreeSet<u32> = seen
            .into_iter()
            .map(|(transaction, _)| transaction)
            .collect();
        assert!(
            seen.is_superset(&self.oracle.committed),
            "acknowledged, so visible"
        );
        assert!(
            seen.is_disjoint(&self.oracle.never),
            "refused, so never visible"
        );
        let rest: BTreeSet<u32> = seen.difference(&self.oracle.committed).copied().collect();
        assert!(rest.is_subset(&self.oracle.unknown));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// As long as writers take over after every doubt that they can notice, a
    /// transaction is visible whole or not at all, and as answered.
    #[test]
    fn what_is_visible_is_what_was_answered(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        world.check();
    }
}

/// The check is able to fail: a stale request that no writer notices shows half
/// of a transaction.
#[test]
#[should_panic(expected = "is whole")]
fn the_check_notices_half_a_transaction() {
    let mut world = World::new();
    for step in [
        Step::TakeOver { writer: 2 },
        Step::Inject(Fault::StaleEndTxn { noticed: false }),
        Step::Commit {
            writer: 2,
            records: 1,
        },
        Step::Commit {
            writer: 2,
            records: 4,
        },
    ] {
        world.run(&step);
    }
    world.check();
}
