//! Which version a start is about.

use anyhow::Context as _;
use cartwright_read_model::versions::{Build, Refused, State, Version, Versions};
use cartwright_read_model::{Projection, declaration};

use super::Arguments;

/// The number that was asked for, or that of the same build where it was begun or made, or the next one.
pub(super) fn chosen(
    projection: &'static Projection,
    versions: &Versions,
    arguments: &Arguments,
    build: &Build,
) -> anyhow::Result<u32> {
    if let Some(number) = arguments.to_version {
        return Ok(number);
    }
    let next = versions.next_number(projection);
    let wanted = declared(projection, next, arguments.as_declared)?;
    let finished = || finished(versions, build, wanted).filter(|_| !arguments.again);
    let there = unfinished(versions, build, arguments.as_declared);
    Ok(there.or_else(finished).unwrap_or(next))
}

/// Holds that a version that is there is what a start asks for, or is going to be.
///
/// # Errors
/// [`Refused`]: the number is another version's.
pub(super) fn fits(
    versions: &Versions,
    there: &Version,
    build: &Build,
    (as_declared, declared): (Option<u32>, &Projection),
) -> Result<(), Refused> {
    let number = there.number;
    let otherwise = |how| Refused::Otherwise {
        number,
        state: there.state.word(),
        how,
    };
    // A build goes on by the declaration that it was begun with, unless another one is asked for.
    let by_any = there.state == State::Building && as_declared.is_none();
    let identity = declared.identity();
    let is_by_it = (there.declared, &there.identity) == (declared.version, &identity);
    match there.state {
        State::Retiring | State::Retired => Err(Refused::Used {
            number,
            next: versions.highest + 1,
        }),
        _ if !is_same(there, build) => Err(otherwise("of other records")),
        _ if !by_any && !is_by_it => Err(otherwise("by another declaration")),
        State::Building | State::Live | State::Frozen => Ok(()),
    }
}

/// A build of the same kind that was begun and not finished: what a second start goes on with.
fn unfinished(versions: &Versions, build: &Build, as_declared: Option<u32>) -> Option<u32> {
    let mut building = versions.versions.iter().filter(|version| {
        version.state == State::Building
            && is_same(version, build)
            && as_declared.is_none_or(|declared| declared == version.declared)
    });
    building.next().map(|version| version.number)
}

/// The newest version that a build of the same kind has made, as `declared` says now, and that nobody has
/// switched to: what a second start finds done.
fn finished(versions: &Versions, build: &Build, declared: &Projection) -> Option<u32> {
    let identity = declared.identity();
    let made = versions.versions.iter().filter(|version| {
        let is_there = match version.state {
            State::Live => version.number > versions.current,
            State::Frozen => true,
            State::Building | State::Retiring | State::Retired => false,
        };
        is_there
            && is_same(version, build)
            && (version.declared, &version.identity) == (declared.version, &identity)
    });
    made.map(|version| version.number).max()
}

/// Whether a version is built of the same records. The first of all, that a projector has begun, is of all
/// that there are.
fn is_same(version: &Version, build: &Build) -> bool {
    match &version.build {
        Some(of) => (&of.until, &of.only_keys) == (&build.until, &build.only_keys),
        None => build.until.is_none() && build.only_keys.is_empty(),
    }
}

/// What a new version is built by: what was asked for, the declaration of its number, or the newest.
pub(in crate::commands) fn declared(
    projection: &'static Projection,
    number: u32,
    asked: Option<u32>,
) -> anyhow::Result<&'static Projection> {
    let name = projection.name;
    match asked {
        Some(version) => declaration(name, version)
            .with_context(|| format!("this code does not declare version {version} of {name}")),
        None => Ok(declaration(name, number).unwrap_or(projection)),
    }
}

#[cfg(test)]
mod tests {
    use cartwright_events::Timestamp;
    use cartwright_read_model::tables::projections::{SALES, SALES_1};
    use cartwright_read_model::versions::Until;

    use super::*;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn named(name: &str, second: i64) -> Build {
        Build {
            until: Some(Until {
                name: name.to_owned(),
                time: Some(Timestamp::from_micros(second * 1_000_000)),
                ends: [].into(),
            }),
            ..Build::default()
        }
    }

    fn begun(versions: &Versions, declared: &Projection, build: &Build) -> Versions {
        let number = versions.next_number(declared);
        let added = versions.add(declared, number, build.clone(), NOW);
        added.expect("begun")
    }

    fn built(versions: &Versions, declared: &Projection, build: &Build) -> Versions {
        let begun = begun(versions, declared, build);
        begun.built(begun.highest).expect("built")
    }

    #[test]
    fn a_second_start_goes_on_with_a_build_of_the_same_kind_or_finds_it_done() {
        let (whole, cut) = (Build::default(), named("then", 5));
        let slow = Build {
            max_rate: Some(9),
            ..Build::default()
        };
        let one = Versions::begin(&SALES, 2, NOW);
        assert_eq!(finished(&one, &whole, &SALES), None, "a projector began it");
        let building = begun(&begun(&one, &SALES, &cut), &SALES, &slow);
        assert_eq!(unfinished(&building, &whole, None), Some(4));
        assert_eq!(unfinished(&building, &cut, None), Some(3));
        assert_eq!(finished(&building, &whole, &SALES), None);
        let done = building.built(3).and_then(|each| each.built(4));
        let done = done.expect("built");
        assert_eq!(unfinished(&done, &whole, None), None);
        assert_eq!(finished(&done, &whole, &SALES), Some(4));
        assert_eq!(finished(&done, &cut, &SALES), Some(3));
        for other in [named("then", 6), named("now", 5)] {
            assert_eq!(finished(&done, &other, &SALES), None, "another cut");
        }
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn a_build_that_another_tool_has_registered_meanwhile_is_gone_on_with() {
        let start = |line: &str| {
            let words = ["start", "sales"].into_iter().chain(line.split(' '));
            <Line as clap::Parser>::parse_from(words).arguments
        };
        let (whole, cut) = (Build::default(), named("then", 5));
        let one = Versions::begin(&SALES, 2, NOW);
        for (line, build) in [
            ("--parallel 4", &whole),
            ("--again", &whole),
            ("--to-version 3", &whole),
            ("--until 1970-01-01T00:00:05Z --name then", &cut),
        ] {
            let arguments = start(line);
            let choose = |versions| chosen(&SALES, versions, &arguments, build).expect("a number");
            let number = choose(&one);
            let other = one.add(&SALES, number, build.clone(), NOW).expect("begun");
            let refused = other.add(&SALES, number, build.clone(), NOW);
            assert!(refused.is_err(), "{line}: another one came first");
            assert_eq!(choose(&other), number, "{line}");
        }
    }

    #[test]
    fn a_number_is_of_the_version_that_is_asked_for_or_it_is_refused() {
        let (whole, cut) = (Build::default(), named("then", 5));
        let keys = Build {
            only_keys: vec!["cart-1".to_owned()],
            ..Build::default()
        };
        let one = Versions::begin(&SALES, 2, NOW);
        let fits = |versions: &Versions, number, build: &Build, as_declared| {
            let there = versions.get(number).expect("a version");
            let declared = declared(&SALES, number, as_declared).expect("declared");
            fits(versions, there, build, (as_declared, declared))
        };
        let how = |refused: Result<(), Refused>| match refused {
            Err(Refused::Otherwise { how, .. }) => how,
            other => panic!("{other:?}"),
        };
        assert_eq!(fits(&one, 2, &whole, None), Ok(()), "a projector began it");
        for build in [&cut, &keys] {
            assert_eq!(how(fits(&one, 2, build, None)), "of other records");
        }
        let live = built(&one, &SALES_1, &whole);
        assert_eq!(fits(&live, 3, &whole, Some(1)), Ok(()));
        for asked in [None, Some(2)] {
            let refused = fits(&live, 3, &whole, asked);
            assert_eq!(how(refused), "by another declaration", "{asked:?}");
        }
        let frozen = built(&one, &SALES, &cut);
        assert_eq!(fits(&frozen, 3, &cut, None), Ok(()));
        assert_eq!(how(fits(&frozen, 3, &whole, None)), "of other records");

        let building = begun(&one, &SALES_1, &whole);
        assert_eq!(fits(&building, 3, &whole, None), Ok(()), "it goes on");
        assert_eq!(fits(&building, 3, &whole, Some(1)), Ok(()));
        let other = how(fits(&building, 3, &whole, Some(2)));
        assert_eq!(other, "by another declaration");
        assert_eq!(how(fits(&building, 3, &keys, None)), "of other records");

        let gone = live.retire(3, std::time::Duration::ZERO, NOW);
        let gone = gone.expect("retiring");
        for gone in [gone.clone(), gone.retired(3).expect("retired")] {
            let used = Refused::Used { number: 3, next: 4 };
            assert_eq!(fits(&gone, 3, &whole, Some(1)), Err(used));
        }
    }

    #[test]
    fn what_was_switched_to_or_is_built_by_another_declaration_is_built_again() {
        let whole = Build::default();
        let one = Versions::begin(&SALES, 2, NOW);
        let mut older = built(&one, &SALES_1, &whole);
        assert_eq!(finished(&older, &whole, &SALES), None);
        assert_eq!(finished(&older, &whole, &SALES_1), Some(3));
        let changed = Projection {
            name: SALES_1.name,
            version: SALES_1.version,
            fold_version: SALES_1.fold_version + 9,
            store: SALES_1.store,
            streams: SALES_1.streams,
            tables: SALES_1.tables,
            differs: SALES_1.differs,
        };
        assert_eq!(finished(&older, &whole, &changed), None, "another fold");
        older.current = 3;
        assert_eq!(finished(&older, &whole, &SALES_1), None);
        let mut newer = built(&built(&older, &SALES, &whole), &SALES, &whole);
        assert_eq!(finished(&newer, &whole, &SALES), Some(5), "the newest");
        newer.current = 5;
        assert_eq!(finished(&newer, &whole, &SALES), None, "an older one");
    }
}
