//! Commands that wait for an aggregate which is not in memory: how many, and for how long.

use cartwright_shard::{Clock as _, Reply, Step};

use crate::archive::with_one_that_left_long_ago;
use crate::rig::{Caller, Rig, version};

/// A shard that has taken over and does not know yet what has left memory.
fn without_an_index(most_held: usize) -> Rig {
    let mut rig = with_one_that_left_long_ago();
    rig.options.mailbox_capacity = most_held;
    assert_eq!(rig.restart(), Ok(Step::Idle));
    rig
}

/// A caller whose command for a new "sku" waits, for so many milliseconds at most.
fn waits(rig: &mut Rig, sku: &str, left_ms: i64) -> Caller {
    let (mut fresh, mut caller) = rig.add(sku);
    fresh.deadline = rig.clock.now().plus_millis(left_ms);
    rig.step(vec![fresh]);
    assert_eq!(caller.reply(), None, "{sku}");
    caller
}

#[test]
fn only_so_many_wait_and_the_next_is_told_when_one_of_them_has_to_go() {
    let mut rig = without_an_index(2);
    let mut longer = waits(&mut rig, "longer", 7_000);
    let mut sooner = waits(&mut rig, "sooner", 3_000);
    rig.clock.advance_millis(1_000);
    let (third, mut refused) = rig.add("third");
    rig.step(vec![third]);
    let retry_after_ms = 2_000;
    assert_eq!(refused.reply(), Some(Reply::Overloaded { retry_after_ms }));
    rig.read_archive();
    assert_eq!(version(longer.reply()), 1);
    assert_eq!(version(sooner.reply()), 1);
    assert_eq!(rig.counter("third").version, 0, "nothing was begun");
}

/// Whoever came before it and may wait for longer makes nobody wait beyond a deadline.
#[test]
fn each_that_waits_is_given_up_at_its_own_deadline() {
    let mut rig = without_an_index(10);
    let waiting_ms = [3_000, 1_000, 4_000, 2_000];
    let callers = waiting_ms.map(|left_ms| {
        let caller = waits(&mut rig, &format!("sku-{left_ms}"), left_ms);
        (left_ms, caller)
    });
    let mut callers = Vec::from(callers);
    for passed_ms in [1_000, 2_000, 3_000] {
        rig.clock.advance_millis(1_000);
        // A deadline is the last moment at which its command may be decided.
        rig.clock.advance_millis(i64::from(passed_ms == 1_000));
        rig.step(Vec::new());
        let late = callers.extract_if(.., |(left_ms, _)| *left_ms <= passed_ms);
        for (left_ms, mut caller) in late {
            assert_eq!(caller.reply(), Some(Reply::DeadlinePassed), "{left_ms} ms");
        }
        for (left_ms, caller) in &mut callers {
            assert_eq!(caller.reply(), None, "{left_ms} ms");
        }
    }
    rig.read_archive();
    let (_, last) = callers.first_mut().expect("the most patient");
    assert_eq!(version(last.reply()), 1);
    assert_eq!(rig.counter("sku-1000").version, 0, "nothing was begun");
}
