//! The end of a build.

use std::time::{Duration, Instant};

use anyhow::bail;
use cartwright_projector::Plan;
use cartwright_read_model::builds::Builder;
use cartwright_read_model::versions::{Refused, State, Took, Version, Versions};

use super::builder::say;
use super::drive::ROUND;
use crate::build::{Board, Signal};
use crate::context::Context;
use crate::reached::position;
use crate::registry::Home;

/// What remains to be done when all rows are there: keys and indexes, which may take as long as the rows
/// did, and the handing over to projectors. It goes on saying that somebody builds, and holds still before
/// either when it is told to; keys and indexes are not interrupted by that. Answers whether the version is
/// there then: not when it was cancelled meanwhile.
pub(super) fn finish(
    context: &Context,
    home: &Home<'_>,
    plan: &Plan,
    me: &Builder,
    board: &Board,
    begun: Instant,
) -> anyhow::Result<bool> {
    let number = plan.version;
    if let Some(ended) = until_it_goes_on(context, home, number, me, board) {
        return Ok(ended);
    }
    let completed = std::thread::scope(|scope| {
        let complete = || context.wait(home.control.complete(plan.projection, number));
        let completing = scope.spawn(complete);
        while !completing.is_finished() {
            // A store that does not answer now is the other thread's matter.
            let _ = say(home, number, me, board);
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
    let ended = completed.and_then(|()| {
        loop {
            if let Some(ended) = until_it_goes_on(context, home, number, me, board) {
                return Ok(ended);
            }
            check_kept(home, plan, board)?;
            let took = took(home, plan, board, begun)?;
            match home.change(|versions| built(versions, number, took)) {
                Ok(_) => return Ok(true),
                // Told to hold still a moment ago.
                Err(error) if error.downcast_ref() == Some(&Refused::Paused(number)) => {}
                Err(error) => return Err(error),
            }
        }
    });
    match ended {
        Ok(ended) => Ok(ended),
        Err(error) => ended_elsewhere(home.versions()?.get(number)).ok_or(error),
    }
}

/// Rows are written without waiting until they are on disk. What a store lost that ended in the middle is read
/// again while its partition is read; of one that was done nobody would notice, and a point in time stays as
/// it is.
fn check_kept(home: &Home<'_>, plan: &Plan, board: &Board) -> anyhow::Result<()> {
    let stored = home.positions(plan.version)?;
    for (at, progress) in board.partitions() {
        let position = position(&stored, plan.generation, &at);
        let next = position.map_or(0, |position| position.next_offset);
        if next < progress.next_offset {
            let (label, read) = (home.label(plan.version), progress.next_offset);
            bail!(
                "the store has lost rows of {label} that it had taken: {at} was read to offset {read}, and it \
                 holds it to {next}; run it again, and it is read from there"
            );
        }
    }
    Ok(())
}

/// The build has come to its end, unless it is to hold still.
fn built(versions: &Versions, number: u32, took: Option<Took>) -> Result<Versions, Refused> {
    match versions.get(number).is_some_and(holds_still) {
        true => Err(Refused::Paused(number)),
        false => versions.built_in(number, took),
    }
}

/// Whether a version is being built and is to hold still meanwhile.
pub(super) fn holds_still(version: &Version) -> bool {
    let build = version.build.as_ref();
    version.state == State::Building && build.is_some_and(|build| build.paused)
}

/// Holds still for as long as the version is to, and goes on saying that somebody builds. Answers whether
/// the version is there when the build has ended meanwhile, by another process or by a cancel.
fn until_it_goes_on(
    context: &Context,
    home: &Home<'_>,
    number: u32,
    me: &Builder,
    board: &Board,
) -> Option<bool> {
    loop {
        match home.versions() {
            Ok(versions) => {
                let version = versions.get(number);
                if let Some(ended) = ended_elsewhere(version) {
                    return Some(ended);
                }
                if !version.is_some_and(holds_still) {
                    board.tell(Signal::Go);
                    return None;
                }
                if board.signal() != Signal::Hold {
                    let label = home.label(number);
                    let told = format!("{label} holds still; `replay resume` lets it go on");
                    context.output.remark(told);
                }
                board.tell(Signal::Hold);
            }
            // As while it is read: told, and waited for.
            Err(error) => context.output.remark(format!("{error:#}")),
        }
        let _ = say(home, number, me, board);
        std::thread::sleep(ROUND);
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
    let events = home.events(plan.version)?;
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
    fn a_build_that_is_to_hold_still_is_not_done_before_it_goes_on() {
        let now = Timestamp::EPOCH;
        let building = Versions::begin(&SALES, 2, now).add(&SALES, 3, Build::default(), now);
        let building = building.expect("begun");
        let held = building.pause(3, true).expect("held");
        assert!(held.get(3).is_some_and(holds_still));
        assert_eq!(built(&held, 3, None), Err(Refused::Paused(3)));
        let going = held.pause(3, false).expect("going on");
        let live = built(&going, 3, None).expect("built");
        assert_eq!(live.get(3).map(|each| each.state), Some(State::Live));
        // As documents of older code have it.
        let mut stale = live.get(3).cloned().expect("there");
        stale.build.get_or_insert_default().paused = true;
        assert!(!holds_still(&stale), "nothing is built");
    }

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
