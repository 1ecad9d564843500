//! The simulation can fail: it finds every deliberate bug within the stated number of seeds.

use cartwright_sim::{BUGS, Weather, hunt, run};

/// What is said of a run that does not come to its end: that shows nothing of what a bug has broken.
const STUCK: [&str; 3] = ["still wait", "not come to rest", "does not end"];

#[test]
fn every_planted_bug_is_found() {
    let missed: Vec<&str> = BUGS
        .iter()
        .filter(|planted| match hunt(planted.bug, 0, planted.seeds) {
            Ok((tried, violation)) => {
                println!("{}, {tried} seeds: {violation}", planted.name);
                STUCK.iter().any(|stuck| violation.problem.contains(stuck))
            }
            Err(_) => true,
        })
        .map(|planted| planted.name)
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn a_bug_is_found_again_by_its_seed() {
    let planted = BUGS.first().expect("a bug");
    let (tried, violation) = hunt(planted.bug, 0, planted.seeds).expect("found");
    let weather = Weather {
        bug: Some(planted.bug),
        ..Weather::default()
    };
    assert_eq!(run(tried - 1, weather), Err(violation));
}
