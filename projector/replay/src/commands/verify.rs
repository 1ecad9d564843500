//! `verify`: whether two versions agree, and whether a version is what the log says.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cartwright_event_log::kafka::KafkaLog;
use cartwright_events::Timestamp;
use cartwright_events::codec::Codec;
use cartwright_folds::{Fold, fold_of};
use cartwright_read_model::versions::{Outcome, State, Verification, Version, Versions};
use cartwright_read_model::{Projection, declaration, is_meant_to_differ};

use super::differences::{Report, text};
use super::from_log::{goes_on, with_log};
use crate::context::Context;
use crate::exit::Exit;
use crate::given_up::with_given_up;
use crate::reading;
use crate::registry::Home;
use crate::verify::{Ends, Findings, IsCompared, Limits, Side, Stored, compare, made_by};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The projection.
    projection: String,
    /// The version to verify. Default: the live one that is not current.
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// The version to compare it with. Default: the current one.
    #[arg(long, value_name = "N")]
    against: Option<u32>,
    /// Compare every row with a fold of the log in memory too, not only where columns are declared
    /// to differ.
    #[arg(long)]
    from_log: bool,
    /// How long to wait for a version to have applied what the log holds, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience_s: u64,
}

/// Compares two versions and records the outcome with the version.
///
/// # Errors
/// An unknown version, or what the stores and the log say.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let home = Home::open(context, &arguments.projection)?;
    let versions = home.versions()?;
    let number = match arguments.version {
        Some(number) => number,
        None => other_than_current(&versions)?,
    };
    let version = versions.get(number);
    let version = version.with_context(|| format!("there is no {}", home.label(number)))?;
    let against = arguments.against.unwrap_or(versions.current);
    if against == number {
        bail!("{} cannot be compared with itself", home.label(number));
    }
    let other = versions.get(against);
    let other = other.with_context(|| format!("there is no {}", home.label(against)))?;
    for each in [version, other] {
        if each.state != State::Live {
            bail!(
                "{} is {}, not live",
                home.label(each.number),
                each.state.word()
            );
        }
    }
    let comparisons = compare_all(context, &home, version, other, arguments)?;
    let outcome = worst(&comparisons);
    let report = Report {
        projection: home.projection.name,
        version: number,
        against,
        outcome,
        rows: comparisons.iter().map(|each| each.rows).max().unwrap_or(0),
        differences: differing(&comparisons),
        comparisons,
    };
    let verification = Verification {
        against,
        at: Timestamp::now(),
        outcome,
        rows: report.rows,
        differences: report.differences,
    };
    home.change(|versions| versions.verified(number, verification.clone()))?;
    context.output.result(&report, text);
    Ok(match outcome {
        Outcome::Passed => Exit::Done,
        Outcome::Failed => Exit::Refused,
        Outcome::Unsettled => Exit::Unfinished,
    })
}

/// The live version that is not current, when there is one only, or only one that is newer.
///
/// # Errors
/// None, or several.
fn other_than_current(versions: &Versions) -> anyhow::Result<u32> {
    let others = versions.versions.iter();
    let others: Vec<u32> = others
        .filter(|each| each.state == State::Live && each.number != versions.current)
        .map(|each| each.number)
        .collect();
    let newer: Vec<u32> = others
        .iter()
        .copied()
        .filter(|each| *each > versions.current)
        .collect();
    match (others.as_slice(), newer.as_slice()) {
        ([number], _) | (_, [number]) => Ok(*number),
        ([], _) => bail!("no version but the current one is live"),
        (several, _) => bail!("several versions are live: {several:?}; say which"),
    }
}

/// Rows and parked records that differ: one may do so from the other version and from the log.
fn differing(comparisons: &[Findings]) -> u64 {
    let rows = comparisons.iter().flat_map(|each| &each.differences);
    let rows: HashSet<_> = rows.map(|each| (each.table, &each.key)).collect();
    let parked = comparisons
        .iter()
        .flat_map(|each| each.parked_left_only.union(&each.parked_right_only));
    let parked: HashSet<_> = parked.collect();
    (rows.len() + parked.len()) as u64
}

fn worst(comparisons: &[Findings]) -> Outcome {
    let outcomes: Vec<Outcome> = comparisons.iter().map(Findings::outcome).collect();
    let worst = [Outcome::Failed, Outcome::Unsettled];
    let found = worst.into_iter().find(|worst| outcomes.contains(worst));
    found.unwrap_or(Outcome::Passed)
}

fn compare_all(
    context: &Context,
    home: &Home<'_>,
    version: &Version,
    other: &Version,
    arguments: &Arguments,
) -> anyhow::Result<Vec<Findings>> {
    let patience = Duration::from_secs(arguments.patience_s);
    let name = home.projection.name;
    let plan = with_given_up(context, home, home.plan(version)?)?;
    // The other version may be one that this code only knows as declared elsewhere.
    let old = declaration(name, other.declared).unwrap_or(plan.projection);
    let log = context.log()?;
    let ends = || ends(&log, plan.projection);
    let mut left = Stored::new(context, home, &log, old, other.number, patience);
    let mut right = Stored::new(
        context,
        home,
        &log,
        plan.projection,
        version.number,
        patience,
    );
    let tables = plan.projection.tables;
    let is_compared =
        |table: &str, column: &str| !is_meant_to_differ(plan.projection, old, table, column);
    context
        .output
        .remark(format!("comparing {} with {}", right.label(), left.label()));
    let mut findings = compare(
        &mut left,
        &mut right,
        tables,
        &is_compared,
        &ends,
        Limits::default(),
    )?;
    let folds = [fold_of(old), Some(plan.fold)];
    let folds: Vec<_> = folds.into_iter().flatten().collect();
    let codec = context.codec()?;
    tell_made_by(&log, &codec, &folds, &ends()?, &mut findings);
    let wanted = arguments.from_log || leaves_something_out(old, plan.projection, &is_compared);
    let then = wanted && goes_on(&findings);
    let rows = findings.rows;
    let mut comparisons = vec![findings];
    if then {
        comparisons.extend(with_log(context, &log, &plan, rows, &mut right)?);
    }
    Ok(comparisons)
}

/// Adds the events that made the rows that differ. What was found stands without them, too.
pub(super) fn tell_made_by(
    log: &KafkaLog,
    codec: &Codec,
    folds: &[Fold],
    ends: &Ends,
    findings: &mut Findings,
) {
    if let Err(error) = made_by(log, codec, folds, ends, &mut findings.differences) {
        findings.events_incomplete = Some(format!("{error:#}"));
    }
}

/// Whether a comparison with `old` says nothing of some column of `new`, which only the log can judge then:
/// one that both have and that is not compared, or one of a table that `old` has otherwise or not at all.
fn leaves_something_out(old: &Projection, new: &Projection, is_compared: IsCompared<'_>) -> bool {
    new.tables.iter().any(|table| {
        let mut columns = table.columns();
        !old.tables.contains(table) || columns.any(|column| !is_compared(table.name, column.name))
    })
}

/// Where the partitions that hold anything end now.
pub(super) fn ends(log: &KafkaLog, projection: &Projection) -> anyhow::Result<Ends> {
    let mut ends = reading::ends(log, projection)?;
    ends.retain(|_, end| *end > 0);
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::tables::projections::{SALES, SALES_1};

    use super::*;

    fn over_the_same_tables(
        version: u32,
        differs: &'static [(&'static str, &'static str)],
    ) -> Projection {
        Projection {
            name: SALES.name,
            version,
            fold_version: version,
            store: SALES.store,
            streams: SALES.streams,
            tables: SALES.tables,
            differs,
        }
    }

    #[test]
    fn what_a_comparison_leaves_out_is_judged_by_the_log_whichever_version_declares_it() {
        let one = over_the_same_tables(1, &[]);
        let two = over_the_same_tables(2, &[("sales_orders", "units")]);
        let three = over_the_same_tables(3, &[]);
        let but_units = |table: &str, column: &str| (table, column) != ("sales_orders", "units");
        let every = |_: &str, _: &str| true;
        for (old, new) in [(&one, &two), (&two, &one), (&one, &three), (&three, &one)] {
            let versions = (old.version, new.version);
            assert!(leaves_something_out(old, new, &but_units), "{versions:?}");
        }
        for (old, new) in [(&two, &three), (&two, &two)] {
            assert!(!leaves_something_out(old, new, &every));
        }
        for (old, new) in [(&SALES_1, &SALES), (&SALES, &SALES_1)] {
            assert!(leaves_something_out(old, new, &every), "other tables");
        }
    }

    #[test]
    fn of_several_live_versions_the_newer_one_is_meant() {
        let now = Timestamp::EPOCH;
        let add = |versions: &Versions, number| {
            let added = versions.add(&SALES, number, Default::default(), now);
            added.and_then(|added| added.built(number)).expect("live")
        };
        let one = Versions::begin(&SALES, 1, now);
        assert!(other_than_current(&one).is_err());
        let mut versions = add(&add(&one, 2), 3);
        assert!(other_than_current(&versions).is_err(), "2 or 3");
        versions.current = 2;
        assert_eq!(other_than_current(&versions).expect("one"), 3);
        versions.current = 3;
        assert!(other_than_current(&versions).is_err(), "1 or 2");
    }
}
