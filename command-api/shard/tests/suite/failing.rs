//! Shards that end by themselves, and nodes that are started again.

use cartwright_shard::Ownership;
use cartwright_shard::nodes::{NodeOptions, ShardHost};

use crate::cluster::{Cluster, STEP_MS, id, shard};

fn options() -> NodeOptions {
    NodeOptions::default()
}

#[test]
fn a_shard_that_ends_by_itself_goes_to_another_node_and_readiness_says_why() {
    let mut cluster = Cluster::of([1, 2]);
    cluster.settle();
    let failed_on = if cluster.owners()[0] == id(1) { 1 } else { 2 };
    cluster.host(failed_on).failing.insert(shard(0));
    cluster.step();
    let (failed, why) = cluster.agents[&failed_on].status().failed[0].clone();
    assert_eq!(failed, shard(0));
    assert!(why.contains("a panic"), "{why}");
    let took_ms = cluster.settle();
    assert_eq!(cluster.owners()[0], id(3 - failed_on));
    let limit_ms = options().reassign_after_ms + 20 * STEP_MS;
    assert!(took_ms <= limit_ms, "{took_ms} ms");
    assert!(cluster.agents[&failed_on].status().failed.is_empty());
    // It is not sent back at once, although the other node has one more by now, but it may in the end.
    let version = cluster.version(shard(0));
    for _ in 0..200 {
        cluster.step();
    }
    assert_eq!(cluster.version(shard(0)), version);
    cluster.host(failed_on).failing.clear();
    for _ in 0..options().failed_pause_max_ms * 6 / STEP_MS {
        cluster.step();
    }
    cluster.settle();
    cluster.assert_even();
}

#[test]
fn where_there_is_no_other_node_it_is_started_again_with_longer_and_longer_pauses() {
    let mut cluster = Cluster::of([1]);
    cluster.settle();
    cluster.host(1).failing.insert(shard(0));
    let mut assigned_at_ms = Vec::new();
    let begun_ms = cluster.now_ms;
    while cluster.now_ms < begun_ms + 400_000 {
        let before = cluster.version(shard(0));
        cluster.step();
        if cluster.version(shard(0)) != before {
            assigned_at_ms.push(cluster.now_ms);
        }
    }
    let pauses: Vec<u64> = assigned_at_ms
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert!(pauses.len() > 8, "{pauses:?}");
    let slack_ms = 10 * STEP_MS;
    for (index, pause_ms) in pauses.iter().enumerate() {
        // The first pause was before the first of these.
        let wanted_ms = options().reassign_after_ms << (index + 1).min(20);
        let wanted_ms = wanted_ms.min(options().failed_pause_max_ms);
        let range = wanted_ms..=wanted_ms + slack_ms;
        assert!(range.contains(pause_ms), "{index}: {pauses:?}");
    }
    cluster.host(1).failing.clear();
    for _ in 0..options().failed_pause_max_ms / STEP_MS {
        cluster.step();
    }
    let serves = cluster.host(1).ownership(shard(0));
    assert!(matches!(serves, Some(Ownership::Serving { .. })));
}

#[test]
fn a_successor_that_ends_by_itself_takes_nothing_from_the_owner() {
    let mut cluster = Cluster::of([1]);
    cluster.settle();
    cluster.start(2);
    cluster.host(2).failing = (0..6).map(shard).collect();
    cluster.settle();
    assert_eq!(cluster.owners(), vec![id(1); 6]);
    // A node that leaves has nobody else: its successor is tried again.
    cluster.agents.get_mut(&1).expect("a node").leave();
    for _ in 0..200 {
        cluster.step();
    }
    assert!(!cluster.agents[&1].is_released());
    cluster.host(2).failing.clear();
    for _ in 0..options().failed_pause_max_ms * 2 / STEP_MS {
        cluster.step();
    }
    assert!(cluster.agents[&1].is_released());
    assert_eq!(cluster.owners(), vec![id(2); 6]);
}

#[test]
fn a_node_that_starts_with_an_earlier_clock_is_heard_once_the_start_before_is_dead() {
    let mut cluster = Cluster::of([1, 2]);
    for _ in 0..3 {
        cluster.start(2);
    }
    cluster.settle();
    // It was killed, or it has said that it is gone.
    for says_so in [false, true] {
        if says_so {
            cluster.agents.get_mut(&2).expect("a node").leave();
            while !cluster.agents[&2].is_released() {
                cluster.step();
            }
            cluster.agents.get_mut(&2).expect("a node").finish();
        }
        cluster.kill(2);
        cluster.start_as(2, if says_so { 1 } else { 2 });
        let took_ms = cluster.settle();
        cluster.assert_even();
        assert!(cluster.owners().contains(&id(2)), "nobody hears it");
        assert!(took_ms < 2 * options().dead_after_ms, "{took_ms} ms");
    }
}

/// After a silence of its own a node takes everybody for alive that it knows of.
#[test]
fn a_node_that_died_long_ago_is_not_taken_for_alive_after_a_pause() {
    let mut cluster = Cluster::of([1, 2]);
    cluster.settle();
    cluster.kill(2);
    cluster.settle();
    // Node 1 does not hear itself for a while.
    cluster.now_ms += 60_000;
    cluster.step();
    assert_eq!(cluster.agents[&1].status().others, 0);
}
