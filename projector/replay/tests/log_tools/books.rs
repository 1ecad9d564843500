//! The whole log against itself.

use cartwright_event_log::TopicPartition;
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, Stream};
use cartwright_replay::audit::books;

use crate::log::{PARTITIONS, TestLog, confirmed, received, reserved};
use crate::shop::Shop;

#[test]
fn a_log_as_shards_write_it_breaks_no_rule() {
    let mut shop = Shop::new();
    shop.order("o-1");
    let (log, mut records) = (&shop.log, 0);
    let found = books(&log.log, &log.codec, |_| records += 1).expect("read");
    assert_eq!(found, []);
    assert!(records >= 10, "{records}");
}

#[test]
fn what_breaks_a_rule_is_told_with_its_place() {
    let mut log = TestLog::new();
    log.commit("c", &[received("cup", 1, 9)], &[]);
    log.skip_seq(Stream::Stock, "cup");
    log.commit("c", &[reserved("cup", 2, "o-1", 7)], &[]);
    let found = books(&log.log, &log.codec, |_| {}).expect("read");
    let rules: Vec<&str> = found.iter().map(|finding| finding.rule).collect();
    for rule in [
        "seqs and versions are dense",
        "reserved is the sum of open holds",
        "transactions are dense",
    ] {
        assert!(rules.contains(&rule), "{rules:?}");
    }
    for finding in &found {
        let evidence = finding.evidence.as_ref().expect("evidence");
        let topic = match finding.rule {
            "transactions are dense" => Context::Inventory.journal_topic(),
            _ => Stream::Stock.topic(),
        };
        assert_eq!(evidence.topic, topic, "{finding:?}");
        assert!(evidence.offset > 0, "the second event: {finding:?}");
    }
}

#[test]
fn an_event_that_no_journal_claims_is_told_and_one_whose_record_came_late_is_not() {
    let mut log = TestLog::new();
    log.commit("c", &[received("cup", 1, 9)], &[]);
    let claim = log.halved("c", &[confirmed("o-1")]);
    let found = books(&log.log, &log.codec, |_| {}).expect("read");
    let outside: Vec<_> = found
        .iter()
        .filter(|finding| finding.rule.contains("journaled transaction"))
        .collect();
    assert_eq!(outside.len(), 1, "{found:?}");
    let evidence = outside[0].evidence.as_ref().expect("evidence");
    assert_eq!(evidence.topic, Stream::Order.topic());

    // It is written while the log is being read.
    let mut claim = Some(claim);
    let late = books(&log.log, &log.codec, |_| {
        if let Some(claim) = claim.take() {
            log.write(vec![claim]);
        }
    });
    let late = late.expect("read");
    let outside = late
        .iter()
        .filter(|finding| finding.rule.contains("journaled"));
    assert_eq!(outside.count(), 0, "{late:?}");
}

#[test]
fn a_journal_whose_beginning_is_no_longer_kept_breaks_no_rule() {
    let mut log = TestLog::new();
    for version in 1..=3 {
        log.commit("c", &[received("cup", version, 9 * version as i64)], &[]);
    }
    log.commit("c", &[confirmed("o-1")], &[]);
    let found = || books(&log.log, &log.codec, |_| {}).expect("read");
    let before = found();
    // Every record is followed by the mark of its commit.
    let journal = |context: Context, key| {
        TopicPartition::new(context.journal_topic(), partition_of(key, PARTITIONS))
    };
    let of_stock = journal(Context::Inventory, "cup");
    log.log.delete_records(&of_stock, 2);
    assert_eq!(found(), before, "two of three transactions");
    log.log.delete_records(&of_stock, 4);
    assert_eq!(found(), before, "one of three");
    log.log.delete_records(&of_stock, 6);
    log.log
        .delete_records(&journal(Context::Checkout, "o-1"), 2);
    assert_eq!(found(), before, "none");
}

#[test]
fn an_event_that_cannot_be_read_has_its_seq_and_breaks_no_rule_of_others() {
    let mut log = TestLog::new();
    log.commit("c", &[received("cup", 1, 9)], &[]);
    log.raw(Stream::Stock, "cup", Some(b"no event".to_vec()));
    log.commit("c", &[reserved("cup", 3, "o-1", 2)], &[]);
    let found = books(&log.log, &log.codec, |_| {}).expect("read");
    let rules: Vec<_> = found.iter().map(|finding| finding.rule).collect();
    // It was written past the journal, too.
    assert_eq!(rules, ["transactions are dense"], "{found:?}");
}

#[test]
fn a_journal_that_lacks_its_beginning_though_nothing_was_taken_from_it_is_told() {
    let mut log = TestLog::new();
    let _lost = log.halved("c", &[received("cup", 1, 9)]);
    log.commit("c", &[reserved("cup", 2, "o-1", 2)], &[]);
    let found = books(&log.log, &log.codec, |_| {}).expect("read");
    let told = found.iter().any(|finding| {
        finding
            .detail
            .starts_with("inventory[0]: transaction 2 after 0")
    });
    assert!(told, "{found:?}");
}
