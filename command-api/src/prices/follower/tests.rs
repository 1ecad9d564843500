//! Readers that miss something, and what holds readers up.

use cartwright_event_log::memory::{Fault, MemoryLog};
use cartwright_event_log::{LogWriter, NewRecord};
use cartwright_events::catalog::{ProductCreated, ProductEvent};
use cartwright_events::{Currency, Event};

use super::bent::BentLog;
use super::*;
use crate::prices::Progress;

const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_OFTEN: Duration = Duration::from_millis(100);

fn wait_until(table: &PriceTable, wanted: impl Fn(&Progress) -> bool) {
    let begun = Instant::now();
    while !wanted(&table.progress().borrow()) {
        assert!(begun.elapsed() < PATIENCE, "it does not come to that");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// The next product of a partition.
fn next(seqs: &mut [u64; 2], partition: u32) -> NewRecord {
    let seq = &mut seqs[partition as usize];
    *seq += 1;
    let aggregate_id = format!("mug-{partition}-{seq}");
    let body = ProductCreated {
        name: "Mug".to_owned(),
        description: None,
        price_minor: 500,
        currency: Currency::new("GBP").unwrap(),
    };
    let event = Event {
        aggregate_id: aggregate_id.clone(),
        version: 1,
        occurred_at: Timestamp::EPOCH,
        body: ProductEvent::Created(body).into(),
    };
    NewRecord {
        topic: Arc::from(Stream::Product.topic()),
        partition,
        key: aggregate_id.into_bytes(),
        value: Some(Codec::fixed().encode_event(&event)),
        headers: vec![
            ("seq", seq.to_string().into_bytes()),
            ("writer_epoch", b"1".to_vec()),
        ],
    }
}

/// A catalog of two partitions.
struct Catalog {
    log: MemoryLog,
    seqs: [u64; 2],
}

impl Catalog {
    /// Writes a product.
    fn write(&mut self, partition: u32) {
        let record = next(&mut self.seqs, partition);
        let mut writer = self.log.writer("catalog").unwrap();
        writer.take_over().unwrap();
        writer.commit(vec![record]).unwrap();
    }

    /// Writes to the first partition, and to no other, until the table is so far.
    fn write_until(&mut self, table: &PriceTable, wanted: impl Fn(&Progress) -> bool) {
        let begun = Instant::now();
        while !wanted(&table.progress().borrow()) {
            assert!(begun.elapsed() < PATIENCE, "it stands still");
            self.write(0);
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

/// A reader can miss that there is more of one partition. That others move says nothing of it.
#[test]
fn a_partition_that_stands_still_is_read_anew_although_others_move() {
    for purpose in [ReaderPurpose::Recovery, ReaderPurpose::Tailing] {
        let log = MemoryLog::waiting();
        log.create_topic(Stream::Product.topic(), 2);
        let bent = BentLog::new(log.clone(), Stream::Product.topic());
        let still = TopicPartition::new(Stream::Product.topic(), 1);
        bent.deafen_next(purpose, still);
        let mut catalog = Catalog { log, seqs: [0; 2] };
        catalog.write(1);
        let table = PriceTable::new(2, 1);
        let thread = Follower::spawn(table.clone(), bent.clone(), Codec::fixed(), LOOK_OFTEN);
        catalog.write_until(&table, |now| now.state == TableState::Following);
        catalog.write(1);
        catalog.write_until(&table, |now| now.seqs[1] == 2);
        assert!(bent.is_deaf());
        assert!(thread.unwrap().stop(PATIENCE));
    }
}

/// Before an open transaction another reader would read no further either. Whose it is has to be known.
#[test]
fn the_transaction_that_holds_prices_up_is_named_until_it_ends() {
    for is_loaded in [false, true] {
        let log = MemoryLog::waiting();
        log.create_topic(Stream::Product.topic(), 2);
        let (table, mut seqs) = (PriceTable::new(2, 1), [0; 2]);
        let follow = || {
            let (table, log) = (table.clone(), log.clone());
            Follower::spawn(table, log, Codec::fixed(), LOOK_OFTEN).unwrap()
        };
        let is_following = |now: &Progress| now.state == TableState::Following;
        let early = is_loaded.then(follow);
        if is_loaded {
            wait_until(&table, is_following);
        }
        let mut stranger = log.writer("stranger").unwrap();
        stranger.take_over().unwrap();
        let fault = Fault::UnknownCommit { committed: false };
        log.inject_for("stranger", fault);
        stranger.commit(vec![next(&mut seqs, 1)]).unwrap_err();
        let thread = early.unwrap_or_else(follow);
        wait_until(&table, |now| {
            let held_up = now.held_up.as_deref().unwrap_or_default();
            held_up.contains("the transaction of stranger") && is_following(now) == is_loaded
        });
        stranger.take_over().unwrap();
        wait_until(&table, |now| is_following(now) && now.held_up.is_none());
        assert!(thread.stop(PATIENCE));
    }
}
