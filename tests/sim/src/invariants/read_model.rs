//! The read model is what a fresh fold of the log gives: every row, every cell.

use std::collections::{BTreeMap, BTreeSet};

use cartwright_folds::{Fold, Outcome, fold_of};
use cartwright_projector::envelope;
use cartwright_read_model::{PROJECTIONS, Projection, ROW_SEQ, Row, RowOp, Table, Value};

use crate::bug::Bug;
use crate::world::World;

/// By table and key, as text; a row as its cells' text.
type Rows = BTreeMap<(String, String), String>;

/// Every version that is live is compared. Returns how many rows were.
pub(super) fn equals_a_fresh_fold(world: &World) -> Result<u64, String> {
    let mut compared = 0;
    let other = |each: &&Projection| each.name != world.replay.projection.name;
    let others = PROJECTIONS.into_iter().filter(other);
    let others = others.map(|projection| (projection, projection.version));
    let mut last: Option<(&Projection, Rows)> = None;
    for (projection, version) in others.chain(world.replay.live()) {
        let fold = fold_of(projection).ok_or("a projection without a fold")?;
        // Under a bug that gives cells another time, the row's seq would show it at once: what is
        // asked then is whether the cells do.
        let times_lie = matches!(
            world.sim.lock().bug,
            Some(Bug::TimestampFromTheClock | Bug::TiedTimestamps)
        );
        // Nothing is wrong with any record any more.
        let parked = world.stores[&projection.store].parked(projection, version);
        if !parked.is_empty() {
            let name = projection.name;
            return Err(format!(
                "{name}@{version} still has records parked: {parked:?}"
            ));
        }
        let expected = match last.take() {
            Some((of, rows)) if of == projection => rows,
            _ => folded(world, projection, fold, times_lie)?,
        };
        let stored = stored(world, projection, version, times_lie);
        let keys: BTreeSet<_> = expected.keys().chain(stored.keys()).collect();
        for key in keys {
            let (want, have) = (expected.get(key), stored.get(key));
            if want != have {
                return Err(format!(
                    "version {version}: {} {}: the store has {have:?}, the log gives {want:?}",
                    key.0, key.1
                ));
            }
        }
        compared += expected.len() as u64;
        last = Some((projection, expected));
    }
    Ok(compared)
}

/// Nothing is left of a version that was cancelled or retired, and what is read is fed.
pub(super) fn versions_are_there_or_gone(world: &World) -> Result<(), String> {
    let replay = &world.replay;
    let store = &world.stores[&replay.projection.store].memory;
    for (declared, number) in &replay.gone {
        let traces = store.traces(declared, *number);
        if !traces.is_empty() {
            let name = declared.name;
            return Err(format!("{name}@{number} was removed and has {traces:?}"));
        }
    }
    let current = replay.versions.current;
    match replay.live().iter().any(|(_, number)| *number == current) {
        true => Ok(()),
        false => Err(format!("the current version {current} is not live")),
    }
}

fn stored(world: &World, projection: &'static Projection, version: u32, times_lie: bool) -> Rows {
    let store = &world.stores[&projection.store].memory;
    let rows = store.projection_rows(projection, version);
    rows.iter().map(|row| shown(row, times_lie)).collect()
}

fn shown(row: &Row, times_lie: bool) -> ((String, String), String) {
    let (key, cells) = row.values.split_at(row.table.key_len());
    let seq = usize::from(times_lie);
    let cells = &cells[..cells.len() - seq];
    (
        (row.table.name.to_owned(), format!("{key:?}")),
        format!("{cells:?}"),
    )
}

/// The plainest way to apply operations: one after the other, in the order of the log.
fn folded(
    world: &World,
    projection: &'static Projection,
    fold: Fold,
    times_lie: bool,
) -> Result<Rows, String> {
    let mut rows: BTreeMap<(&str, String), Row> = BTreeMap::new();
    for stream in projection.streams {
        for (record, event) in world.events(*stream)?.iter() {
            let envelope = envelope(*stream, record).map_err(|error| error.to_string())?;
            let Outcome::Emit(ops) = fold(&envelope, event) else {
                continue;
            };
            for op in ops {
                let key = (op.table().name, format!("{:?}", op.key()));
                match op {
                    RowOp::Delete { .. } => drop(rows.remove(&key)),
                    RowOp::Upsert {
                        table,
                        key: values,
                        cells,
                    } => {
                        let row = rows.entry(key).or_insert_with(|| empty(table, values));
                        for (name, value) in cells {
                            set(row, name, value);
                        }
                        set(row, ROW_SEQ.name, envelope.seq.into());
                    }
                }
            }
        }
    }
    Ok(rows.values().map(|row| shown(row, times_lie)).collect())
}

fn empty(table: &'static Table, mut values: Vec<Value>) -> Row {
    values.resize(table.columns().count(), Value::Unset);
    Row { table, values }
}

fn set(row: &mut Row, name: &str, value: Value) {
    let index = row.table.columns().position(|column| column.name == name);
    if let Some(cell) = index.and_then(|index| row.values.get_mut(index)) {
        *cell = value;
    }
}
