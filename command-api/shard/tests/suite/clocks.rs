//! Clocks that are off: behind the log, away from the broker's, or set forward while a shard serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use cartwright_event_log::memory::Fault;
use cartwright_events::Timestamp;
use cartwright_shard::{Clock, Inputs, ManualClock, Ownership, Reply, Step};

use crate::cluster::Cluster;
use crate::rig::Rig;
use crate::toy::add;

#[test]
fn a_clock_that_is_far_behind_the_log_does_not_serve() {
    let mut rig = Rig::new();
    let _ = rig.decide(add("a"), None);
    rig.clock
        .advance_millis(-rig.options.max_clock_skew_ms - 1_000);
    let refused = rig.restart().expect_err("served with a wrong clock");
    assert!(refused.contains("clock"), "{refused}");
}

#[test]
fn a_clock_that_jumps_forward_writes_nothing() {
    let mut rig = Rig::new();
    let _ = rig.decide(add("a"), None);
    let believed = rig.clock.now();
    let jump_ms = rig.options.max_clock_skew_ms + 1_000;
    rig.clock.jump_millis(jump_ms);
    // Idle or not.
    let (submission, mut caller) = rig.add("a");
    assert_eq!(rig.step(vec![submission]), Step::Ended);
    let reply = caller.reply();
    assert!(matches!(reply, Some(Reply::Unknown { .. })), "{reply:?}");
    assert_refused(&rig);
    // Nor does one that stood by meanwhile, or has to read the log back.
    rig.clock.jump_millis(-jump_ms);
    let mut standby = rig.rival();
    assert_eq!(standby.prepare(), Ok(Step::Idle));
    rig.clock.jump_millis(jump_ms);
    assert_eq!(standby.prepare(), Ok(Step::Ended));
    rig.clock.jump_millis(-jump_ms);
    assert_eq!(rig.restart(), Ok(Step::Idle));
    rig.log.inject(Fault::FailNextCommit);
    let (submission, _caller) = rig.add("a");
    assert_eq!(rig.step(vec![submission]), Step::TakeOver);
    rig.clock.jump_millis(jump_ms);
    assert_eq!(rig.shard.take_over(), Ok(Step::Ended));
    assert_refused(&rig);
    assert!(
        rig.journal()
            .iter()
            .all(|journal| journal.decided_at <= believed)
    );
}

#[test]
fn a_node_whose_clock_is_off_has_no_shards_until_it_is_right_again() {
    for off_ms in [-20_000, 20_000] {
        let mut cluster = Cluster::of([1, 2, 3]);
        cluster.settle();
        cluster.kill(2);
        let now = Timestamp::from_micros(cluster.log.now_us()).plus_millis(off_ms);
        cluster.clocks.insert(2, Arc::new(ManualClock::at(now)));
        cluster.start(2);
        cluster.settle();
        assert!(cluster.agents[&2].status().clock_is_off);
        assert_eq!(cluster.loads(), BTreeMap::from([(1, 3), (2, 0), (3, 3)]));
        cluster.clocks[&2].jump_millis(-off_ms);
        cluster.settle();
        cluster.assert_even();
    }
}

#[test]
fn a_node_whose_clock_jumps_forward_has_its_shards_taken_off_and_writes_nothing() {
    let mut cluster = Cluster::of([1]);
    let now = Timestamp::from_micros(cluster.log.now_us());
    cluster.clocks.insert(2, Arc::new(ManualClock::at(now)));
    cluster.start(2);
    cluster.settle();
    cluster.assert_even();
    let clock = Arc::clone(&cluster.clocks[&2]);
    clock.jump_millis(24 * 3_600_000);
    for (shard, _) in cluster.host(2).shards.values_mut() {
        assert_eq!(shard.step(Inputs::default()), Step::Ended);
    }
    cluster.step();
    let (_, why) = cluster.agents[&2].status().failed[0].clone();
    assert!(why.contains("clock"), "{why}");
    cluster.settle();
    assert!(cluster.agents[&2].status().clock_is_off);
    // Where a time of tomorrow had been written, nobody could serve.
    assert_eq!(cluster.loads(), BTreeMap::from([(1, 6), (2, 0)]));
}

fn assert_refused(rig: &Rig) {
    match rig.ownership() {
        Ownership::Refused { reason } => assert!(reason.contains("clock has jumped"), "{reason}"),
        other => panic!("{other}"),
    }
}
