//! The simulation can fail: it finds every deliberate bug within the stated number of seeds.

use cartwright_sim::{BUGS, Weather, hunt, run};

#[test]
fn every_planted_bug_is_found() {
    let missed: Vec<&str> = BUGS
        .iter()
        .filter(|planted| match hunt(planted.bug, 0, planted.seeds) {
            Ok((tried, violation)) => {
                println!("{}, {tried} seeds: {violation}", planted.name);
                false
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
