//! What a build would read.

use cartwright_event_log::TopicPartition;
use cartwright_events::Stream;
use cartwright_replay::build::{Cut, End};
use cartwright_replay::estimate::{Partition, partition, seconds};

use crate::history::{price_changed, product_created};
use crate::setup::{Entry, TestLog, partition_of};

#[test]
fn a_point_in_time_is_found_and_what_lies_before_it_counted() {
    let mut log = TestLog::new();
    log.write([Entry::Event(&product_created("cup", 5))]);
    for version in 2..=40 {
        log.log.advance(std::time::Duration::from_secs(1));
        log.write([Entry::Event(&price_changed("cup", version, 6))]);
    }
    let at = TopicPartition::new(Stream::Product.topic(), partition_of("cup"));
    let look = |cut| {
        // Each record is followed by the mark of its commit.
        let end = End { offset: 80, cut };
        partition(&log.log, &log.codec, Stream::Product, &at, &end).expect("looked")
    };
    let whole = look(None);
    assert_eq!((whole.offsets, whole.records), (80, 40));
    let first = look(Some(Cut::Seq(10)));
    assert!((19..=20).contains(&first.offsets), "{first:?}");
    assert_eq!(first.records, 10);
    assert!(first.bytes < whole.bytes / 3, "{first:?} of {whole:?}");
    let last = log.log.now_us();
    let most = look(Some(Cut::Time(last)));
    assert!((77..=78).contains(&most.offsets), "{most:?}");
    assert_eq!(look(Some(Cut::Time(0))).records, 0);
}

#[test]
fn partitions_are_read_several_at_a_time() {
    let taking = |seconds| Partition {
        topic: String::new(),
        partition: 0,
        offsets: 0,
        records: 0,
        bytes: 0,
        seconds,
    };
    let even = [4.0, 4.0, 4.0, 4.0].map(taking);
    assert_eq!(seconds(&even, 4), 4.0);
    assert_eq!(seconds(&even, 2), 8.0);
    assert_eq!(seconds(&even, 9), 4.0, "no more than there are");
    let uneven = [12.0, 1.0, 1.0].map(taking);
    assert_eq!(seconds(&uneven, 4), 12.0, "the longest is not made shorter");
}
