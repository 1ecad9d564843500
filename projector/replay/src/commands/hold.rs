//! `pause`, `resume`, `cancel`: what is done with a build.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use cartwright_read_model::builds::BUILDER_LIFE;
use cartwright_read_model::control::Reader;
use cartwright_read_model::tables::OLDER;
use cartwright_read_model::versions::{Refused, State, Versions};
use cartwright_read_model::{PROJECTIONS, Projection, declaration};
use serde_json::json;

use super::builder::{living_builder, said};
use super::drive::drive;
use super::readers::{POLL, READS_S, until_followed};
use crate::context::Context;
use crate::exit::Exit;
use crate::registry::Home;

/// How long readers may take to hear that a version goes.
const READERS_LIMIT: Duration = Duration::from_secs(60);

/// Which build.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projection.
    projection: String,
    /// The version. Default: the one that is being built; for `cancel` also one whose removal was broken off.
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// Partitions read at a time, by `resume`.
    #[arg(long, default_value_t = 4)]
    parallel: usize,
}

/// Makes a build hold still after the batch in hand.
///
/// # Errors
/// No such build, or what the store said.
pub fn pause(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let number = building(&home, arguments)?;
    home.change(|versions| versions.pause(number, true))?;
    told(context, &home, number, "is to hold still");
    Ok(Exit::Done)
}

/// Lets a build go on; builds here when the process that began it is gone.
///
/// # Errors
/// No such build, or what the stores and the log said.
pub fn resume(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let number = building(&home, arguments)?;
    home.change(|versions| versions.pause(number, false))?;
    if let Some(builder) = living_builder(&home, number)? {
        let goes_on = format!("goes on in process {}", builder.pid);
        told(context, &home, number, &goes_on);
        return Ok(Exit::Done);
    }
    drive(context, &home, number, arguments.parallel)
}

/// Ends a build, or forgets what was built for a trial or of a point in time, and removes every
/// trace of it. Killed in the middle and run again, it comes to its end.
///
/// # Errors
/// A version that is or was live, or is current and being built anew, or what the store said.
pub fn cancel(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let number = to_cancel(context, &home, arguments)?;
    let versions = home.versions()?;
    let version = versions.get(number);
    match version {
        Some(_) => {
            // Its build may have come to its end just now.
            let is_read = Cell::new(false);
            let cancelled = home.change(|versions| {
                let version = versions.get(number);
                let readable = version.filter(|version| version.state == State::Frozen);
                is_read.set(readable.is_some_and(|version| version.name().is_some()));
                versions.cancel(number)
            })?;
            if is_read.get() {
                until_unread(&home, number, cancelled.revision)?;
            }
        }
        // Cancelled before: it may have been a point in time, which is read until everybody has seen that
        // it is gone.
        None => until_unread(&home, number, versions.revision)?,
    }
    let removed = removed(home.projection, version.map(|version| version.declared));
    // Whoever builds it hears of it within a second; its rows must not come back. Keys and indexes would
    // take their time, also when nobody waits for them any more.
    let patience = Instant::now() + BUILDER_LIFE * 2;
    loop {
        for declared in &removed {
            context.wait(home.control.interrupt(declared, number))?;
        }
        if said(&home, number)?.builder.is_none() {
            break;
        }
        if Instant::now() > patience {
            bail!(
                "the process that builds {} does not end",
                home.label(number)
            );
        }
        std::thread::sleep(POLL);
    }
    for declared in &removed {
        context.wait(home.control.remove_version(declared, number))?;
    }
    told(context, &home, number, "is gone");
    Ok(Exit::Done)
}

/// The declarations whose tables a version may have: its own, or every one of the projection where that is
/// not known any more.
fn removed(projection: &'static Projection, declared: Option<u32>) -> Vec<&'static Projection> {
    match declared.and_then(|version| declaration(projection.name, version)) {
        Some(declared) => vec![declared],
        None => {
            let all = PROJECTIONS.into_iter().chain(OLDER);
            all.filter(|each| each.name == projection.name).collect()
        }
    }
}

/// Waits until every reader has seen that a point in time is `gone`, which a revision of the versions says,
/// and until those that have begun to read by its name are done.
fn until_unread(home: &Home<'_>, number: u32, gone: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + READERS_LIMIT;
    let knows = |reader: &Reader| reader.revision >= gone;
    let (readers, following) = until_followed(home, knows, deadline)?;
    if following < readers {
        let late = readers - following;
        bail!(
            "{late} of {readers} readers have not seen that {label} goes; try again: \
             `replay cancel {name} --version {number}`",
            label = home.label(number),
            name = home.projection.name
        );
    }
    std::thread::sleep(Duration::from_secs(READS_S));
    Ok(())
}

fn told(context: &Context, home: &Home<'_>, number: u32, what: &str) {
    let label = home.label(number);
    let value = json!({"projection": home.projection.name, "version": number, "message": what});
    context.output.result(&value, |_| format!("{label} {what}"));
}

/// The version asked for, or the only one that is being built: also the current one, which is built anew
/// after its store was lost.
fn building(home: &Home<'_>, arguments: &Arguments) -> anyhow::Result<u32> {
    let (versions, name) = (home.versions()?, home.projection.name);
    let building = being_built(&versions);
    match arguments.version {
        Some(number) if number != versions.current || building.contains(&number) => {
            known(name, &versions, number)
        }
        Some(number) => bail!("{} is not being built", home.label(number)),
        None => only_one(name, &building, &[]),
    }
}

/// A number that has been used.
fn known(name: &str, versions: &Versions, number: u32) -> anyhow::Result<u32> {
    ensure!(
        number <= versions.highest,
        "{name}@{number} is not being built"
    );
    Ok(number)
}

/// The version to cancel, where it is known without a look at the store: the one asked for, or the only one
/// that is being built. One that was cancelled before may be asked for again, in case its removal did not
/// come to its end. Never the current one: without it the projection could not be read again.
///
/// # Errors
/// The current version, or several.
fn asked_to_cancel(
    name: &str,
    versions: &Versions,
    asked: Option<u32>,
) -> anyhow::Result<Option<u32>> {
    let current = versions.current;
    let mut building = being_built(versions);
    let is_anew = building.contains(&current);
    building.retain(|number| *number != current);
    match asked {
        Some(number) if number == current && is_anew => {
            Err(Refused::IsCurrent(current)).with_context(|| built_anew(name, current))
        }
        Some(number) if number == current => bail!("{name}@{number} is not being built"),
        Some(number) => known(name, versions, number).map(Some),
        None if building.is_empty() && is_anew => {
            Err(Refused::IsCurrent(current)).with_context(|| built_anew(name, current))
        }
        None if building.is_empty() => Ok(None),
        None => only_one(name, &building, &[]).map(Some),
    }
}

fn built_anew(name: &str, current: u32) -> String {
    format!(
        "{name}@{current} is built anew after its store was lost and cannot be cancelled (`replay pause` \
         makes it hold still)"
    )
}

/// The same; where none is being built, one that was cancelled and of which something is there still.
fn to_cancel(context: &Context, home: &Home<'_>, arguments: &Arguments) -> anyhow::Result<u32> {
    let (versions, name) = (home.versions()?, home.projection.name);
    if let Some(number) = asked_to_cancel(name, &versions, arguments.version)? {
        return Ok(number);
    }
    let mut left = Vec::new();
    for number in cancelled(&versions) {
        for declared in removed(home.projection, None) {
            if context.wait(home.control.has_traces(declared, number))? {
                left.push(number);
                break;
            }
        }
    }
    only_one(name, &[], &left)
}

fn being_built(versions: &Versions) -> Vec<u32> {
    let building = versions.versions.iter();
    let building = building.filter(|version| version.state == State::Building);
    building.map(|version| version.number).collect()
}

/// The numbers that have been used, by versions that are no more.
fn cancelled(versions: &Versions) -> impl Iterator<Item = u32> {
    (1..=versions.highest).filter(|number| versions.get(*number).is_none())
}

/// The only version that is being built, or else the only one of those that were cancelled and are not wholly
/// gone.
fn only_one(name: &str, building: &[u32], left: &[u32]) -> anyhow::Result<u32> {
    match (building, left) {
        ([number], _) | ([], [number]) => Ok(*number),
        ([], []) => bail!("no version of {name} is being built"),
        ([], several) => {
            bail!(
                "several versions of {name} are cancelled and not gone: {several:?}; say --version"
            )
        }
        (several, _) => {
            bail!("several versions of {name} are being built: {several:?}; say --version")
        }
    }
}

#[cfg(test)]
mod tests {
    use cartwright_events::Timestamp;
    use cartwright_read_model::tables::projections::{SALES, SALES_1};
    use cartwright_read_model::versions::Build;

    use super::*;

    #[test]
    fn of_a_version_that_is_not_known_any_more_the_tables_of_every_declaration_go() {
        let numbers = |declared| {
            let removed = removed(&SALES, declared).into_iter();
            let mut numbers: Vec<u32> = removed.map(|each| each.version).collect();
            numbers.sort_unstable();
            numbers
        };
        let all = vec![SALES_1.version, SALES.version];
        assert_eq!(numbers(Some(SALES_1.version)), [SALES_1.version]);
        assert_eq!(numbers(None), all);
        assert_eq!(numbers(Some(99)), all, "this code does not declare it");
    }

    #[test]
    fn the_current_version_is_never_cancelled_though_it_is_being_built() {
        let now = Timestamp::EPOCH;
        let anew = Versions::begin_anew(&SALES, 3, now);
        for asked in [None, Some(3)] {
            let error = asked_to_cancel("sales", &anew, asked).expect_err("current");
            let refused = error.downcast_ref::<Refused>();
            assert_eq!(refused, Some(&Refused::IsCurrent(3)), "{error:#}");
        }
        let beside = anew.add(&SALES, 4, Build::default(), now).expect("begun");
        let chosen = |versions, asked| asked_to_cancel("sales", versions, asked).ok();
        assert_eq!(chosen(&beside, None), Some(Some(4)), "the other one");
        assert_eq!(chosen(&beside, Some(3)), None);
        assert_eq!(chosen(&beside, Some(9)), None, "never used");
        let built = anew.built(3).expect("built");
        assert_eq!(chosen(&built, Some(3)), None);
        assert_eq!(chosen(&built, None), Some(None), "none is being built");
    }

    #[test]
    fn a_cancel_that_was_killed_is_about_the_same_version_when_it_is_run_again() {
        let now = Timestamp::EPOCH;
        let one = Versions::begin(&SALES, 2, now);
        let building = one.add(&SALES, 3, Build::default(), now).expect("begun");
        assert_eq!(being_built(&building), [3]);
        let killed = building.cancel(3).expect("cancelled");
        assert_eq!(being_built(&killed), [0; 0]);
        assert_eq!(cancelled(&killed).collect::<Vec<_>>(), [1, 3]);
        let chosen = |building: &[u32], left: &[u32]| only_one("sales", building, left).ok();
        assert_eq!(chosen(&[], &[3]), Some(3), "3 has tables");
        assert_eq!(
            chosen(&[4], &[3]),
            Some(4),
            "what is being built comes first"
        );
        for (building, left) in [(&[][..], &[][..]), (&[], &[3, 5]), (&[4, 6], &[3])] {
            assert_eq!(chosen(building, left), None, "{building:?}, {left:?}");
        }
    }
}
