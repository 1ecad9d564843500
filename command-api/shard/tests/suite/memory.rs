//! The bound on what a shard holds in memory. A counter counts as 1,024 bytes.

use cartwright_shard::{Reply, Step};

use crate::rig::{Rig, version};
use crate::toy::{Counter, add};

fn is_refused(reply: Option<&Reply>) -> bool {
    matches!(reply, Some(Reply::Overloaded { retry_after_ms }) if *retry_after_ms > 0)
}

/// Creates counters until one is refused, and returns how many there are.
fn fill(rig: &mut Rig) -> usize {
    for number in 0..100 {
        let reply = rig.decide(add(&format!("sku-{number}")), None);
        if is_refused(reply.as_ref()) {
            return number;
        }
        assert_eq!(version(reply), 1);
    }
    panic!("there is no bound");
}

#[test]
fn above_its_bound_a_shard_creates_nothing_and_serves_what_it_has() {
    let mut rig = Rig::with(|options| options.memory_bytes = 16 * 1_024);
    assert_eq!(fill(&mut rig), 16);
    assert_eq!(version(rig.decide(add("sku-0"), None)), 2);
    assert_eq!(rig.restart(), Ok(Step::Idle));
    let reply = rig.decide(add("another"), None);
    assert!(is_refused(reply.as_ref()), "{reply:?}");
    assert_eq!(version(rig.decide(add("sku-0"), None)), 3);
}

#[test]
fn results_give_way_to_aggregates_and_keep_a_least_part() {
    let mut rig = Rig::with(|options| options.memory_bytes = 64 * 1_024);
    assert_eq!(version(rig.decide(add("a"), Some("first"))), 1);
    assert_eq!(
        version(rig.decide(add("a"), Some("first"))),
        1,
        "remembered"
    );
    fill(&mut rig);
    assert_eq!(version(rig.decide(add("sku-0"), Some("last"))), 2);
    assert_eq!(
        version(rig.decide(add("sku-0"), Some("last"))),
        2,
        "remembered"
    );
    assert_eq!(
        version(rig.decide(add("a"), Some("first"))),
        2,
        "decided anew"
    );
}

#[test]
fn what_is_finished_leaves_earlier_when_memory_gets_short() {
    let mut rig = Rig::with(|options| options.memory_bytes = 16 * 1_024);
    for _ in 0..3 {
        let _ = rig.decide(add("done"), None);
    }
    rig.settle();
    assert_eq!(rig.counter("done").on_hand, 3, "there is room");
    for number in 0..12 {
        let _ = rig.decide(add(&format!("sku-{number}")), None);
    }
    rig.settle();
    assert_eq!(rig.counter("done"), Counter::default(), "it has left");
    let (again, mut caller) = rig.add("done");
    rig.step(vec![again]);
    rig.read_archive();
    assert_eq!(version(caller.reply()), 4);
}

#[test]
fn beyond_its_bound_a_shard_takes_no_more_aggregates_but_serves_those_it_has() {
    let mut rig = Rig::with(|options| options.live_max = 2);
    let _ = rig.decide(add("a"), None);
    let _ = rig.decide(add("b"), None);
    let third = rig.decide(add("c"), None);
    assert!(matches!(third, Some(Reply::Overloaded { .. })), "{third:?}");
    assert_eq!(version(rig.decide(add("a"), None)), 2);
}
