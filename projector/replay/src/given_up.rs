//! Records that operators gave up under one version, and their way into the next: without it each
//! version would park them again, and a fold of the log would never agree with one that was repaired.

use std::collections::BTreeSet;

use cartwright_events::Stream;
use cartwright_projector::Plan;
use cartwright_read_model::tables::SKIPPED;
use cartwright_read_model::{FromCell, Position, PositionKey, Row, Value};

use crate::audit::Place;
use crate::context::Context;
use crate::registry::Home;

/// What is added to the reason of a record that was given up under another version.
const CARRIED_OVER: &str = "carried over from version";

/// The plan of a version with the records that were given up under it.
///
/// # Errors
/// What the store said.
pub fn with_given_up(context: &Context, home: &Home<'_>, plan: Plan) -> anyhow::Result<Plan> {
    Ok(without(plan, given_up(context, home, plan.version)?))
}

/// The records that were given up under a version.
///
/// # Errors
/// What the store said.
pub fn given_up(
    context: &Context,
    home: &Home<'_>,
    version: u32,
) -> anyhow::Result<BTreeSet<Place>> {
    let rows = skipped(context, home, version)?;
    Ok(places(&rows, context.generation()).collect())
}

/// The plan without these records. The set lives as long as the process, which builds or verifies a few
/// versions.
#[must_use]
pub fn without(plan: Plan, given_up: BTreeSet<Place>) -> Plan {
    match given_up.is_empty() {
        true => plan,
        false => Plan {
            given_up: Some(Box::leak(Box::new(given_up))),
            ..plan
        },
    }
}

/// The records that rows of [`SKIPPED`] are about, of the log's `generation`.
pub fn places(rows: &[Row], generation: u32) -> impl Iterator<Item = Place> {
    rows.iter().filter_map(move |row| place(row, generation))
}

fn place(row: &Row, generation: u32) -> Option<Place> {
    let of = u32::from_cell(row.value("generation"))?;
    let topic = String::from_cell(row.value("topic"))?;
    let partition = FromCell::from_cell(row.value("log_partition"))?;
    let offset = FromCell::from_cell(row.value("record_offset"))?;
    (of == generation).then_some((Stream::of_topic(&topic)?, partition, offset))
}

fn skipped(context: &Context, home: &Home<'_>, version: u32) -> anyhow::Result<Vec<Row>> {
    let key = [home.projection.name.into(), version.into()];
    Ok(context.wait(home.control.rows(&SKIPPED, &key))?)
}

/// Gives up under the version `to` what was given up under `from` and has not been read by it yet;
/// answers how many records that are.
///
/// # Errors
/// What the store said.
pub fn carry_over(context: &Context, home: &Home<'_>, from: u32, to: u32) -> anyhow::Result<u64> {
    let (rows, positions) = (skipped(context, home, from)?, home.positions(to)?);
    let mut carried = 0;
    for row in rows {
        let Some(place) = place(&row, context.generation()) else {
            continue;
        };
        // What the new version has read it has parked, and that takes a request of its own.
        if place.2 < next_offset(&positions, place) {
            continue;
        }
        let (key, cells) = carried_row(&row, from, to);
        context.wait(home.control.put(&SKIPPED, &key, &cells))?;
        carried += 1;
    }
    Ok(carried)
}

fn next_offset(positions: &[(PositionKey, Position)], (stream, partition, _): Place) -> u64 {
    let mut positions = positions.iter();
    let found = positions.find(|(key, _)| (key.stream, key.partition) == (stream, partition));
    found.map_or(0, |(_, position)| position.next_offset)
}

/// The same row under another version: who gave the record up and why stays.
#[must_use]
pub fn carried_row(row: &Row, from: u32, to: u32) -> (Vec<Value>, Vec<(&'static str, Value)>) {
    let key = SKIPPED.key().map(|column| match column.name {
        "projection_version" => to.into(),
        name => row.value(name).clone(),
    });
    let cells = SKIPPED.cells.iter().map(|column| {
        let value = match (column.name, row.value(column.name)) {
            ("note", Value::Text(note)) if !note.contains(CARRIED_OVER) => {
                format!("{note} ({CARRIED_OVER} {from})").into()
            }
            (_, value) => value.clone(),
        };
        (column.name, value)
    });
    (key.collect(), cells.collect())
}
