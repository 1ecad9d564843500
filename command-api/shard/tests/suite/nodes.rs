//! Who owns what, through starts, leaves, deaths and freezes of nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cartwright_event_log::memory::Fault;
use cartwright_event_log::{
    EventLog, GroupEvent, GroupReader, LogWriter, NewRecord, TopicPartition,
};
use cartwright_events::Timestamp;
use cartwright_shard::nodes::{
    ALLOCATOR_GROUP, ALLOCATOR_TRANSACTIONAL_ID, NODE_TRANSACTIONAL_ID, NodeOptions, OWNERS_TOPIC,
    ShardHost,
};
use cartwright_shard::{Inputs, Ownership, ShardOptions, Step, Submission};
use proptest::prelude::*;
use tokio::sync::oneshot;

use crate::cluster::{Cluster, STEP_MS, id, shard};
use crate::toy::add;

/// Nodes are upgraded one after the other, and the newer one has written what the older can't read.
#[test]
fn a_shard_goes_to_a_node_that_can_read_its_log_and_stays_there() {
    let mut cluster = Cluster::of([1, 2]);
    for agent in cluster.agents.values_mut() {
        agent.host_mut().too_old_for.insert(shard(0));
    }
    for _ in 0..200 {
        cluster.step();
    }
    let versions = cluster.map().get(shard(0)).map(|now| now.version);
    for _ in 0..100 {
        cluster.step();
    }
    let map = cluster.map();
    assert_eq!(
        map.get(shard(0)).map(|now| now.version),
        versions,
        "where nobody can serve it, it stays"
    );
    cluster.start(3);
    cluster.settle();
    assert_eq!(cluster.owners()[0], id(3));
    // Whoever joins later knows as well that it must not go back.
    cluster.start(4);
    cluster
        .agents
        .get_mut(&4)
        .expect("a node")
        .host_mut()
        .too_old_for = BTreeSet::from([shard(0)]);
    cluster.settle();
    assert_eq!(cluster.owners()[0], id(3));
    // An upgraded node is another start of it.
    cluster.kill(3);
    cluster.kill(1);
    cluster.start(1);
    cluster.settle();
    assert_eq!(cluster.owners()[0], id(1));
}

#[test]
fn one_node_owns_all() {
    let mut cluster = Cluster::of([1]);
    cluster.settle();
    assert_eq!(cluster.loads(), BTreeMap::from([(1, 6)]));
}

#[test]
fn a_node_that_joins_gets_its_part_and_nothing_else_moves() {
    let mut cluster = Cluster::of([1, 2]);
    cluster.settle();
    let before = cluster.owners();
    cluster.start(3);
    cluster.settle();
    cluster.assert_even();
    let after = cluster.owners();
    let moved = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after);
    assert_eq!(moved.count(), 2, "{before:?} {after:?}");
}

#[test]
fn a_shard_is_served_until_its_successor_is_ready() {
    let mut cluster = Cluster::of([1]);
    cluster.settle();
    cluster.start(2);
    let mut handed_over = 0;
    for _ in 0..200 {
        let before = cluster.owners();
        cluster.step();
        for (partition, (before, after)) in before.iter().zip(&cluster.owners()).enumerate() {
            if before != after {
                handed_over += 1;
                let ready = cluster.agents[&2].host().ownership(shard(partition as u32));
                let ready = ready.expect("its successor runs it");
                let is_ready = matches!(ready, Ownership::Standby | Ownership::Serving { .. });
                assert!(is_ready, "{ready}");
            }
        }
    }
    assert_eq!(handed_over, 3);
}

#[test]
fn a_node_that_leaves_is_released_when_others_have_all_of_it() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.settle();
    let leader = cluster
        .agents
        .iter()
        .find(|(_, agent)| agent.status().leads);
    let leaver = *leader.expect("a leader").0;
    cluster.agents.get_mut(&leaver).unwrap().leave();
    while !cluster.agents[&leaver].is_released() {
        cluster.step();
        assert!(cluster.now_ms < 60_000, "not released");
    }
    cluster.agents.get_mut(&leaver).unwrap().finish();
    cluster.kill(leaver);
    cluster.settle();
    assert_eq!(cluster.loads().values().sum::<usize>(), 6);
    cluster.assert_even();
}

#[test]
fn the_last_node_to_leave_waits_for_nobody() {
    let mut cluster = Cluster::of([1]);
    cluster.settle();
    let agent = cluster.agents.get_mut(&1).unwrap();
    agent.leave();
    assert!(agent.is_released());
}

#[test]
fn the_shards_of_a_dead_node_are_served_again_within_the_detection_time() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.settle();
    let follower = cluster
        .agents
        .iter()
        .find(|(_, agent)| !agent.status().leads);
    let dead = *follower.expect("a follower").0;
    cluster.kill(dead);
    let took_ms = cluster.settle();
    let limit_ms = NodeOptions::default().dead_after_ms + 10 * STEP_MS;
    assert!(took_ms <= limit_ms, "{took_ms} ms");
    cluster.assert_even();
}

#[test]
fn a_frozen_owner_writes_nothing_when_it_wakes_and_finds_its_way_back() {
    let mut cluster = Cluster::of([1, 2]);
    cluster.settle();
    let map = cluster.map();
    let (lost, _) = map
        .iter()
        .find(|(_, now)| now.owner.node == id(1))
        .expect("node 1 owns something");
    cluster.freeze(1);
    cluster.settle();
    assert_eq!(cluster.loads(), BTreeMap::from([(2, 6)]));

    // It wakes in the middle of what it was doing: deciding a command.
    let (reply, replied) = oneshot::channel();
    let submission = Submission {
        command: add("a"),
        command_id: "late".to_owned(),
        correlation_id: "late".to_owned(),
        traceparent: None,
        idempotency: None,
        expected_version: None,
        deadline: Timestamp::from_micros(i64::MAX),
        reply,
    };
    let host = cluster.agents.get_mut(&1).unwrap().host_mut();
    let (shard, _) = host.shards.get_mut(&lost).expect("it runs it still");
    let step = shard.step(Inputs {
        commands: vec![submission],
        ..Inputs::default()
    });
    assert_eq!(step, Step::Ended);
    let answer = replied.blocking_recv().expect("an answer");
    assert!(
        matches!(answer, cartwright_shard::Reply::Unknown { .. }),
        "{answer:?}"
    );
    cluster.frozen.clear();
    cluster.settle();
    cluster.assert_even();
}

#[test]
fn an_owner_that_was_fenced_by_a_stranger_is_assigned_anew() {
    let mut cluster = Cluster::of([1]);
    cluster.settle();
    let before = cluster.map().get(shard(0)).unwrap().version;
    let mut stranger = cluster.log.writer("cartwright-inventory-0").unwrap();
    stranger.take_over().unwrap();
    // The owner learns of it when it writes next.
    let host = cluster.agents.get_mut(&1).unwrap().host_mut();
    let (owner, _) = host.shards.get_mut(&shard(0)).unwrap();
    let keep_alive = ShardOptions::default().keep_alive_ms;
    cluster.clock.advance_millis(keep_alive);
    assert_eq!(owner.step(Inputs::default()), Step::Ended);
    cluster.clock.advance_millis(-keep_alive);
    cluster.settle();
    assert!(cluster.map().get(shard(0)).unwrap().version > before);
}

#[test]
fn a_later_start_under_the_same_name_ends_the_earlier_one() {
    let mut cluster = Cluster::of([1]);
    cluster.settle();
    let earlier = cluster.agents.remove(&1).unwrap();
    cluster.agents.insert(9, earlier);
    cluster.start(1);
    for _ in 0..200 {
        cluster.step();
    }
    assert!(cluster.agents[&9].status().superseded);
    assert!(!cluster.agents[&1].status().superseded);
    cluster.kill(9);
    cluster.settle();
    assert_eq!(cluster.loads(), BTreeMap::from([(1, 6)]));
}

#[test]
fn an_outage_of_the_log_kills_nobody() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.settle();
    let before = cluster.map();
    // Nobody hears anybody for a minute, then all go on in some order.
    cluster.now_ms += 60_000;
    for _ in 0..100 {
        cluster.step();
    }
    assert_eq!(cluster.map(), before);
}

#[test]
fn a_node_whose_beats_do_not_arrive_says_so() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.settle();
    let beats = format!("{NODE_TRANSACTIONAL_ID}{}", id(2));
    for _ in 0..100 {
        cluster.log.inject_for(&beats, Fault::FailNextCommit);
    }
    while cluster.log.pending_faults() > 0 {
        cluster.step();
    }
    assert!(cluster.agents[&2].status().is_unheard);
    for other in [1, 3] {
        assert!(!cluster.agents[&other].status().is_unheard);
        assert_eq!(cluster.agents[&other].status().others, 1);
    }
    cluster.settle();
    cluster.assert_even();
    for agent in cluster.agents.values() {
        assert!(!agent.status().is_unheard);
        assert_eq!(agent.status().others, 2);
    }
}

/// It learns of that by its own writing, long before the group tells.
#[test]
fn an_allocator_that_was_deposed_does_not_fence_the_elected_one() {
    let mut cluster = Cluster::of([1]);
    cluster.settle();
    // A member that has something to give back and does not, so that nobody is elected anew.
    let mut member = cluster
        .log
        .group_reader(ALLOCATOR_GROUP, &[OWNERS_TOPIC])
        .unwrap();
    let mut takes_part = false;
    while !takes_part || !cluster.agents[&1].status().leads {
        cluster.step();
        let event = member.poll(1, Duration::ZERO).unwrap();
        takes_part |= matches!(event, GroupEvent::Assigned(at) if !at.is_empty());
        assert!(cluster.now_ms < 60_000, "not elected");
    }
    let mut elected = cluster.log.writer(ALLOCATOR_TRANSACTIONAL_ID).unwrap();
    elected.take_over().unwrap();
    // Something to plan, by which the deposed one learns of it.
    cluster.host(1).failing.insert(shard(0));
    for _ in 0..40 {
        cluster.step();
    }
    assert!(!cluster.agents[&1].status().leads);
    let record = NewRecord {
        topic: OWNERS_TOPIC.into(),
        partition: 0,
        key: Vec::new(),
        value: None,
        headers: Vec::new(),
    };
    elected.commit(vec![record]).expect("fenced");
}

#[derive(Debug, Clone)]
enum Event {
    Start(usize),
    Kill(usize),
    Freeze(usize),
    Thaw,
    Leave(usize),
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (0_usize..4).prop_map(Event::Start),
        (0_usize..4).prop_map(Event::Kill),
        (0_usize..4).prop_map(Event::Freeze),
        Just(Event::Thaw),
        (0_usize..4).prop_map(Event::Leave),
        (1_u64..120).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happened: once it is quiet, every shard is served by the node that the map names,
    /// evenly, and no version was ever given to two owners.
    #[test]
    fn after_any_trouble_every_shard_is_served_evenly(events in events()) {
        let mut cluster = Cluster::of([0, 1]);
        let mut leavers = BTreeSet::new();
        for event in events {
            match event {
                Event::Start(node) => {
                    if !cluster.agents.contains_key(&node) {
                        leavers.remove(&node);
                        cluster.start(node);
                    }
                }
                Event::Kill(node) => cluster.kill(node),
                Event::Freeze(node) => cluster.freeze(node),
                Event::Thaw => cluster.frozen.clear(),
                Event::Leave(node) => {
                    if let Some(agent) = cluster.agents.get_mut(&node) {
                        leavers.insert(node);
                        agent.leave();
                    }
                }
                Event::Pass(steps) => (0..steps).for_each(|_| cluster.step()),
            }
        }
        cluster.frozen.clear();
        for node in leavers {
            cluster.kill(node);
        }
        if cluster.agents.is_empty() {
            cluster.start(3);
        }
        cluster.settle();
        cluster.assert_even();
        let mut versions = BTreeMap::new();
        let at = TopicPartition::new(OWNERS_TOPIC, 0);
        for record in cluster.log.committed(&at).unwrap() {
            let value: serde_json::Value =
                serde_json::from_slice(&record.value.unwrap_or_default()).unwrap();
            let version = value["version"].as_u64().unwrap();
            let last = versions.insert(record.key, version);
            prop_assert_eq!(version, last.unwrap_or(0) + 1);
        }
    }
}
