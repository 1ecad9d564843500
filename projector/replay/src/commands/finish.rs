//! The end of a build.

use std::time::{Duration, Instant};

use anyhow::bail;
use cartwright_projector::Plan;
use cartwright_read_model::builds::Builder;
use cartwright_read_model::versions::{State, Took, Version};

use super::builder::say;
use super::drive::ROUND;
use crate::build::Board;
use crate::context::Context;
use crate::registry::Home;

/// What remains to be done when all rows are there: keys and indexes, which may take as long as the rows
/// did, and the handing over to projectors. It goes on saying that somebody builds. Answers whether the
/// version is there then: not when it was cancelled meanwhile.
pub(super) fn finish(
    context: &Context,
    home: &Home<'_>,
    plan: &Plan,
    me: &Builder,
    board: &Board,
    begun: Instant,
) -> anyhow::Result<bool> {
    let number = plan.version;
    let completed = std::thread::scope(|scope| {
        let complete = || context.wait(home.control.complete(plan.projection, number));
        let completing = scope.spawn(complete);
        while !completing.is_finished() {
            // A store that does not answer now is the other thread's matter.
            let _ = say(context, home, number, me, board);
            let end = Instant::now() + ROUND;
            while Instant::now() < end && !completing.is_finished() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        match completing.join() {
            Ok(completed) => completed.map_err(anyhow::Error::from),
            Err(_) => bail!("making keys and indexes has ended in a panic"),
        }
    });
    let built = completed.and_then(|()| {
        let took = took(home, plan, board, begun)?;
        home.change(|versions| versions.built_in(number, took))
    });
    match built {
        Ok(_) => Ok(true),
        Err(error) => ended_elsewhere(home.versions()?.get(number)).ok_or(error),
    }
}

/// What came of a build that this process could not end itself: whether the version is there. `None`:
/// nothing yet.
pub(super) fn ended_elsewhere(version: Option<&Version>) -> Option<bool> {
    match version.map(|version| version.state) {
        // Whoever cancels it interrupts what is made of it.
        None => Some(false),
        // Two may read to the end, where one took the other for dead.
        Some(State::Live | State::Frozen) => Some(true),
        Some(State::Building | State::Retiring | State::Retired) => None,
    }
}

/// What the build took, when this process has read every event of it and nothing but the log and the
/// store kept it.
fn took(
    home: &Home<'_>,
    plan: &Plan,
    board: &Board,
    begun: Instant,
) -> anyhow::Result<Option<Took>> {
    let versions = home.versions()?;
    let build = versions.get(plan.version);
    let build = build.and_then(|version| version.build.as_ref());
    let is_slowed =
        build.is_none_or(|build| build.max_rate.is_some() || !build.only_keys.is_empty());
    let positions = home.positions(plan.version)?;
    let events: u64 = positions.iter().map(|(_, position)| position.seq).sum();
    let read: u64 = board.partitions().values().map(|each| each.records).sum();
    let is_telling = !is_slowed && !board.was_held() && events > 0 && read == events;
    Ok(is_telling.then(|| Took {
        events,
        time_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    }))
}

#[cfg(test)]
mod tests {
    use cartwright_events::Timestamp;
    use cartwright_read_model::tables::projections::SALES;
    use cartwright_read_model::versions::{Build, Until, Versions};

    use super::*;

    #[test]
    fn a_build_that_another_process_has_ended_is_done_and_one_that_was_cancelled_is_not() {
        let cut = Build {
            until: Some(Until {
                name: "then".to_owned(),
                time: None,
                ends: [].into(),
            }),
            ..Build::default()
        };
        for build in [Build::default(), cut] {
            let now = Timestamp::EPOCH;
            let building = Versions::begin(&SALES, 2, now).add(&SALES, 3, build, now);
            let building = building.expect("begun");
            assert_eq!(ended_elsewhere(building.get(3)), None);
            let built = building.built_in(3, None).expect("built");
            assert!(built.built_in(3, None).is_err(), "it is only built once");
            assert_eq!(ended_elsewhere(built.get(3)), Some(true));
            let cancelled = building.cancel(3).expect("cancelled");
            assert_eq!(ended_elsewhere(cancelled.get(3)), Some(false));
        }
    }
}
