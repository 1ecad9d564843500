//! A node whose reader of the map brings nothing.

use cartwright_event_log::memory::Fault;
use cartwright_event_log::{EventLog, LogWriter, NewRecord, ReaderPurpose, TopicPartition};
use cartwright_shard::nodes::OWNERS_TOPIC;

use crate::cluster::Cluster;

/// Beats come all the same. An allocator would wait for ever for what it has written, and a node that
/// joins for the map.
#[test]
fn a_node_whose_reader_brings_nothing_of_the_map_reads_it_anew() {
    let owners = TopicPartition::new(OWNERS_TOPIC, 0);
    let mut cluster = Cluster::of([]);
    for node in [1, 2] {
        let owners = owners.clone();
        cluster.bent.deafen_next(ReaderPurpose::Tailing, owners);
        cluster.start(node);
        cluster.settle();
        assert!(cluster.bent.is_deaf());
        assert!(cluster.agents[&node].status().knows_the_map);
    }
    cluster.assert_even();
}

/// Another reader would come no further, and an operator has to know whose transaction it is.
#[test]
fn a_node_names_the_transaction_that_holds_the_map_up() {
    let mut cluster = Cluster::of([]);
    let mut stranger = cluster.log.writer("stranger").expect("a writer");
    stranger.take_over().expect("a take-over");
    let fault = Fault::UnknownCommit { committed: false };
    cluster.log.inject_for("stranger", fault);
    let record = NewRecord {
        topic: OWNERS_TOPIC.into(),
        partition: 0,
        key: Vec::new(),
        value: None,
        headers: Vec::new(),
    };
    stranger.commit(vec![record]).expect_err("it stays open");
    cluster.start(1);
    let node = cluster.agents.get_mut(&1).expect("a node");
    // Without the broker, which would abort it.
    for _ in 0..30 {
        cluster.now_ms += 1_000;
        node.step(cluster.now_ms);
    }
    let status = node.status();
    assert!(!status.knows_the_map);
    let held_up = status.held_up.as_deref().unwrap_or_default();
    assert!(held_up.contains("the transaction of stranger"), "{held_up}");
    stranger.take_over().expect("a take-over");
    cluster.settle();
    while cluster.agents[&1].status().held_up.is_some() {
        cluster.step();
        assert!(cluster.now_ms < 120_000, "it is still said");
    }
}
