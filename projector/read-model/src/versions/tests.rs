use std::time::Duration;

use cartwright_events::{Stream, Timestamp};

use super::*;
use crate::position::{Position, PositionKey};
use crate::schema::Projection;
use crate::tables::projections::CATALOG;

static SECOND: Projection = Projection {
    version: 2,
    fold_version: 2,
    ..copy(&CATALOG)
};

static CHANGED: Projection = Projection {
    fold_version: 7,
    ..copy(&CATALOG)
};

const fn copy(of: &Projection) -> Projection {
    Projection {
        name: of.name,
        version: of.version,
        fold_version: of.fold_version,
        store: of.store,
        streams: of.streams,
        tables: of.tables,
        differs: of.differs,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn position(version: u32, partition: u32, seq: u64) -> (PositionKey, Position) {
    let key = PositionKey {
        projection: "catalog",
        version,
        stream: Stream::Product,
        partition,
    };
    let position = Position {
        generation: 1,
        next_offset: seq * 2,
        seq,
        recorded_at: at(1),
    };
    (key, position)
}

/// Version 1 current, version 2 live beside it.
fn two() -> Versions {
    let one = Versions::begin(&CATALOG, 1, at(0));
    let added = one.add(&SECOND, 2, Build::default(), at(10)).unwrap();
    added.built(2).unwrap()
}

fn passed(at: Timestamp) -> Verification {
    Verification {
        against: 1,
        at,
        outcome: Outcome::Passed,
        rows: 9,
        differences: 0,
    }
}

struct Positions(Vec<(PositionKey, Position)>, Vec<(PositionKey, Position)>);

impl Positions {
    fn even() -> Self {
        Self(vec![position(1, 0, 5)], vec![position(2, 0, 5)])
    }

    fn check(&self, now: Timestamp) -> FlipCheck<'_> {
        FlipCheck {
            current: &self.0,
            next: &self.1,
            verified: true,
            max_age: Duration::from_secs(60),
            now,
        }
    }
}

#[test]
fn every_version_that_is_live_is_fed_by_its_own_declaration() {
    let runs = two().runs("catalog", &[&CATALOG, &SECOND]).unwrap();
    assert_eq!(runs, [(1, Run::Feed(&CATALOG)), (2, Run::Feed(&SECOND))]);
    let building = Versions::begin(&CATALOG, 1, at(0))
        .add(&CATALOG, 2, Build::default(), at(1))
        .unwrap();
    let runs = building.runs("catalog", &[&CATALOG]).unwrap();
    assert_eq!(runs, [(1, Run::Feed(&CATALOG)), (2, Run::Rest)]);
}

#[test]
fn a_changed_fold_under_an_unchanged_number_is_refused_and_named() {
    let refused = two().runs("catalog", &[&CHANGED, &SECOND]).unwrap_err();
    assert!(matches!(refused, Refused::IdentityChanged { .. }));
    let text = refused.to_string();
    assert!(
        text.contains("catalog@1") && text.contains("fold version 7"),
        "{text}"
    );
}

#[test]
fn a_fold_that_was_removed_while_its_version_is_live_is_refused_and_a_newer_one_left_alone() {
    let refused = two().runs("catalog", &[&SECOND]).unwrap_err();
    assert!(matches!(refused, Refused::NotDeclared { declared: 1, .. }));
    let runs = two().runs("catalog", &[&CATALOG]).unwrap();
    assert_eq!(runs, [(1, Run::Feed(&CATALOG)), (2, Run::Newer)]);
}

#[test]
fn a_version_is_flipped_to_when_it_is_verified_and_has_read_as_far() {
    let even = Positions::even();
    let verified = two().verified(2, passed(at(100))).unwrap();
    let flipped = verified.flip(2, &even.check(at(110)), false).unwrap();
    assert_eq!((flipped.current, flipped.previous()), (2, Some(1)));
    assert_eq!(flipped.switches.last().unwrap().forced, None);
    assert!(
        flipped.is_readable(1),
        "kept for the way back and for cursors"
    );
}

#[test]
fn a_flip_is_refused_without_a_fresh_passed_verification_or_behind() {
    let even = Positions::even();
    let refused = |versions: &Versions, positions: &Positions, now| {
        versions.flip(2, &positions.check(now), false).unwrap_err()
    };
    assert!(matches!(
        refused(&two(), &even, at(1)),
        Refused::NotVerified { .. }
    ));
    let failed = Verification {
        outcome: Outcome::Failed,
        differences: 3,
        ..passed(at(100))
    };
    let failed = two().verified(2, failed).unwrap();
    assert!(matches!(
        refused(&failed, &even, at(101)),
        Refused::VerificationFailed { differences: 3, .. }
    ));
    let unsettled = Verification {
        outcome: Outcome::Unsettled,
        ..passed(at(100))
    };
    let refusal = refused(&two().verified(2, unsettled).unwrap(), &even, at(101));
    assert!(refusal.to_string().contains("did not settle"), "{refusal}");
    let verified = two().verified(2, passed(at(100))).unwrap();
    assert!(matches!(
        refused(&verified, &even, at(161)),
        Refused::VerificationStale { age_s: 61, .. }
    ));
    for next in [vec![position(2, 0, 4)], vec![position(2, 1, 9)], vec![]] {
        let behind = Positions(vec![position(1, 0, 5)], next);
        assert!(matches!(
            refused(&verified, &behind, at(101)),
            Refused::Behind { .. }
        ));
    }
}

#[test]
fn a_forced_flip_records_the_rule_that_it_broke() {
    let flipped = two()
        .flip(2, &Positions::even().check(at(1)), true)
        .unwrap();
    let forced = flipped.switches.last().unwrap().forced.clone().unwrap();
    assert!(forced.contains("not been verified"), "{forced}");
}

#[test]
fn a_version_that_is_not_fed_or_partial_is_never_flipped_to_not_even_by_force() {
    let one = Versions::begin(&CATALOG, 1, at(0));
    let building = one.add(&CATALOG, 2, Build::default(), at(1)).unwrap();
    let even = Positions::even();
    let refused = building.flip(2, &even.check(at(1)), true).unwrap_err();
    assert!(matches!(refused, Refused::WrongState { .. }));
    let partial = Build {
        only_keys: vec!["cart-1".to_owned()],
        ..Build::default()
    };
    let partial = one
        .add(&CATALOG, 2, partial, at(1))
        .unwrap()
        .built(2)
        .unwrap();
    assert_eq!(partial.get(2).unwrap().state, State::Frozen);
    let refused = partial.flip(2, &even.check(at(1)), true).unwrap_err();
    assert_eq!(refused, Refused::Partial(2));
}

#[test]
fn the_way_back_needs_no_verification_but_positions() {
    let even = Positions::even();
    let flipped = two().flip(2, &even.check(at(50)), true).unwrap();
    let back = FlipCheck {
        verified: false,
        ..even.check(at(60))
    };
    let back = flipped
        .flip(flipped.previous().unwrap(), &back, false)
        .unwrap();
    assert_eq!((back.current, back.previous()), (1, Some(2)));
    assert_eq!(flipped.gone_back_from(), None);
    assert_eq!(back.gone_back_from(), Some(2));
    // Forth again is no way back, though it is the way before that.
    let forth = back.flip(2, &even.check(at(70)), true).unwrap();
    assert_eq!((forth.gone_back_from(), forth.previous()), (None, Some(1)));
}

#[test]
fn only_live_versions_with_larger_numbers_are_newer() {
    let building = two().add(&SECOND, 3, Build::default(), at(20)).unwrap();
    assert_eq!(building.newer(), [2]);
    let built = building.built(3).unwrap();
    assert_eq!(built.newer(), [2, 3]);
    let flipped = built.flip(3, &Positions::even().check(at(30)), true);
    assert_eq!(flipped.unwrap().newer(), [0; 0], "older ones are not");
}

#[test]
fn a_switch_that_was_kept_by_older_code_was_no_way_back() {
    let mut json = serde_json::to_value(two()).unwrap();
    let switch = json["switches"][0].as_object_mut().unwrap();
    assert!(switch.remove("back").is_some());
    assert_eq!(serde_json::from_value::<Versions>(json).unwrap(), two());
}

#[test]
fn a_build_that_was_begun_by_older_code_does_not_tell_where_the_log_ended() {
    let one = Versions::begin(&CATALOG, 1, at(0));
    let building = one.add(&CATALOG, 2, Build::default(), at(1)).unwrap();
    let mut json = serde_json::to_value(&building).unwrap();
    let build = json["versions"][1]["build"].as_object_mut().unwrap();
    assert!(build.remove("log_ends").is_some());
    assert_eq!(serde_json::from_value::<Versions>(json).unwrap(), building);
}

#[test]
fn a_version_is_retired_when_its_cursors_have_died_and_never_while_it_is_current() {
    let grace = Duration::from_secs(30);
    let flipped = two()
        .flip(2, &Positions::even().check(at(50)), true)
        .unwrap();
    assert_eq!(flipped.retire(2, grace, at(99)), Err(Refused::IsCurrent(2)));
    assert!(matches!(
        flipped.retire(1, grace, at(70)),
        Err(Refused::CursorsAlive { left_s: 20, .. })
    ));
    // No list that still goes on is cut off.
    let good = Duration::from_secs(Versions::CURSORS_S);
    for (seconds, goes_on) in [(50, true), (649, true), (650, false), (651, false)] {
        assert_eq!(flipped.goes_on(1, at(seconds)), goes_on, "{seconds}");
        let refused = flipped.retire(1, good, at(seconds)).is_err();
        assert_eq!(refused, goes_on, "{seconds}");
    }
    let retiring = flipped.retire(1, grace, at(81)).unwrap();
    assert!(!retiring.is_readable(1) && !retiring.goes_on(1, at(81)));
    assert_eq!(
        retiring.runs("catalog", &[&SECOND]).unwrap()[0],
        (1, Run::Rest)
    );
    let retired = retiring.retired(1).unwrap();
    assert_eq!(
        retired.retired(1).unwrap().get(1).unwrap().state,
        State::Retired
    );
}

#[test]
fn a_number_is_never_used_twice_not_even_after_a_cancel() {
    let one = Versions::begin(&CATALOG, 1, at(0));
    assert_eq!(one.next_number(&SECOND), 2);
    let cancelled = one
        .add(&SECOND, 2, Build::default(), at(1))
        .and_then(|added| added.cancel(2))
        .unwrap();
    assert_eq!(cancelled.get(2), None);
    assert_eq!(cancelled.next_number(&SECOND), 3);
    let again = cancelled.add(&SECOND, 2, Build::default(), at(2));
    assert_eq!(again, Err(Refused::Used { number: 2, next: 3 }));
    assert!(
        two().cancel(2).is_err(),
        "a live version is retired, not cancelled"
    );
}

#[test]
fn the_current_version_is_not_cancelled_while_it_is_built_anew() {
    let anew = Versions::begin_anew(&SECOND, 3, at(0));
    assert_eq!(anew.cancel(3), Err(Refused::IsCurrent(3)));
    let beside = anew.add(&SECOND, 4, Build::default(), at(1)).unwrap();
    assert_eq!(beside.cancel(4).unwrap().current, 3);
    assert!(anew.pause(3, true).is_ok(), "it may hold still");
}

#[test]
fn where_the_current_version_is_gone_another_one_is_begun_in_its_place() {
    let anew = Versions::begin_anew(&SECOND, 3, at(0));
    let there = anew.begin_again(&SECOND, 4, at(1)).unwrap_err();
    assert!(matches!(there, Refused::WrongState { number: 3, .. }));
    let gone = Versions {
        versions: Vec::new(),
        ..anew
    };
    let used = gone.begin_again(&SECOND, 3, at(1)).unwrap_err();
    assert_eq!(used, Refused::Used { number: 3, next: 4 });
    let again = gone.begin_again(&SECOND, 4, at(1)).unwrap();
    assert_eq!((again.current, again.highest, again.revision), (4, 4, 2));
    assert_eq!(again.get(4).unwrap().state, State::Building);
    assert_eq!(again.previous(), None);
    assert!(again.built(4).unwrap().is_readable(4));
}

#[test]
fn a_version_that_is_built_holds_still_no_more() {
    let one = Versions::begin(&CATALOG, 1, at(0));
    let building = one.add(&CATALOG, 2, Build::default(), at(1)).unwrap();
    let built = building.pause(2, true).and_then(|held| held.built(2));
    let build = built.unwrap().get(2).unwrap().build.clone().unwrap();
    assert!(!build.paused);
}

#[test]
fn a_number_far_ahead_is_refused() {
    let one = Versions::begin(&CATALOG, 1, at(0));
    let add = |number| one.add(&CATALOG, number, Build::default(), at(1));
    assert_eq!(add(102).unwrap().highest, 102);
    let refused = Refused::Ahead {
        number: 103,
        next: 2,
        most: 100,
    };
    assert_eq!(add(103), Err(refused));
    assert!(matches!(add(u32::MAX), Err(Refused::Ahead { .. })));
}

#[test]
fn a_point_in_time_is_found_by_its_name_once_it_is_built() {
    let until = Until {
        name: "year-end".to_owned(),
        time: Some(at(5)),
        ends: [("checkout.order.events.v1-0".to_owned(), 7)].into(),
    };
    let build = Build {
        until: Some(until),
        ..Build::default()
    };
    let one = Versions::begin(&CATALOG, 1, at(0));
    let building = one.add(&CATALOG, 2, build.clone(), at(1)).unwrap();
    assert_eq!(building.named("year-end"), None);
    let built = building.built(2).unwrap();
    assert_eq!(built.named("year-end").unwrap().number, 2);
    let again = built.add(&CATALOG, 3, build, at(2));
    assert_eq!(again, Err(Refused::NameTaken("year-end".to_owned())));
    let json = serde_json::to_string(&built).unwrap();
    assert_eq!(serde_json::from_str::<Versions>(&json).unwrap(), built);
}

#[test]
fn what_a_build_took_and_how_fast_it_may_read_is_kept_with_it() {
    let one = Versions::begin(&CATALOG, 1, at(0));
    let building = one.add(&CATALOG, 2, Build::default(), at(1)).unwrap();
    let build = |versions: &Versions| versions.get(2).unwrap().build.clone().unwrap();
    let paced = building.pace(2, Some(9)).unwrap();
    assert_eq!(build(&paced).max_rate, Some(9));
    assert_eq!(build(&paced.pace(2, None).unwrap()).max_rate, None);
    let took = Some(Took {
        events: 7,
        time_ms: 9,
    });
    let built = building.built_in(2, took).unwrap();
    assert_eq!(build(&built).took, took);
    assert!(built.pace(2, Some(1)).is_err(), "it is not being built");
    let json = serde_json::to_string(&built).unwrap();
    assert_eq!(serde_json::from_str::<Versions>(&json).unwrap(), built);
}

#[test]
fn a_first_version_takes_no_number_under_which_something_is_stored() {
    assert_eq!(Versions::first_number(&SECOND, []), 2);
    assert_eq!(Versions::first_number(&SECOND, [1]), 2);
    assert_eq!(Versions::first_number(&SECOND, [4, 2]), 5);
}
