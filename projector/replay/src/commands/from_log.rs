//! A version against folds of the log in memory.

use cartwright_event_log::kafka::KafkaLog;
use cartwright_projector::Plan;
use cartwright_read_model::versions::Outcome;
use cartwright_read_model::{Row, Table, Value};

use super::drive::show;
use super::verify::{ends, tell_made_by};
use crate::context::Context;
use crate::part::Part;
use crate::verify::{Ends, Findings, Folded, Limits, ParkedSet, Side, Stored, compare};

/// Rows of an independent fold that are held in memory at a time, about.
const ROWS_IN_MEMORY: u64 = 500_000;

/// Whether the log may be asked, too, after two versions were compared: not of a version that does not move,
/// of which nothing could be said either.
pub(super) const fn goes_on(first: &Findings) -> bool {
    first.stuck.is_none()
}

/// In how many parts the log is folded. All rows of all tables count: the comparison before may have been cut
/// off, and leaves out tables that only one version has. It may know of rows that the version has lost.
fn parts(known: u64, side: &mut dyn Side, tables: &[&'static Table]) -> anyhow::Result<u64> {
    let mut rows = 0;
    for table in tables {
        side.scan(table, &mut |_| rows += 1)?;
    }
    Ok(rows.max(known).div_ceil(ROWS_IN_MEMORY).max(1))
}

/// Compares with folds of the log in memory, each of a part of all keys. `rows` is how many the comparison
/// before has met.
pub(super) fn with_log(
    context: &Context,
    log: &KafkaLog,
    plan: &Plan,
    rows: u64,
    right: &mut Stored<'_>,
) -> anyhow::Result<Vec<Findings>> {
    let parts = parts(rows, right, plan.projection.tables)?;
    let codec = context.codec()?;
    let mut all = Vec::new();
    for (number, part) in (1..).zip(Part::all(parts)) {
        let bar = context.output.bar("folding the log");
        let folded = Folded::new(log.clone(), codec.clone(), *plan).part(part);
        let mut left = folded.watched(move |board| {
            show(&bar, board);
            if board.is_done() {
                bar.finish_and_clear();
            }
        });
        let what = format!("part {number} of {parts}");
        context
            .output
            .remark(format!("comparing {} with the log, {what}", right.label()));
        let mut right = Partial { side: right, part };
        let ends = || ends(log, plan.projection);
        let tables = plan.projection.tables;
        let every = |_: &str, _: &str| true;
        let mut findings = compare(
            &mut left,
            &mut right,
            tables,
            &every,
            &ends,
            Limits::default(),
        )?;
        tell_made_by(log, &codec, &[plan.fold], &ends()?, &mut findings);
        let is_last = findings.outcome() == Outcome::Failed || !goes_on(&findings);
        all.push(findings);
        if is_last {
            break;
        }
    }
    Ok(all)
}

/// A part of the keys of a side.
struct Partial<'a, S> {
    side: &'a mut S,
    part: Part,
}

impl<S: Side> Side for Partial<'_, S> {
    fn label(&self) -> String {
        self.side.label()
    }

    fn table(&self, name: &str) -> Option<&'static Table> {
        self.side.table(name)
    }

    fn scan(
        &mut self,
        table: &'static Table,
        visit: &mut (dyn FnMut(Row) + Send),
    ) -> anyhow::Result<()> {
        let part = self.part;
        self.side.scan(table, &mut |row| {
            if part.has(&row.values[..table.key_len()]) {
                visit(row);
            }
        })
    }

    fn get(&mut self, table: &'static Table, keys: &[Vec<Value>]) -> anyhow::Result<Vec<Row>> {
        self.side.get(table, keys)
    }

    fn parked(&mut self, before: &Ends) -> anyhow::Result<ParkedSet> {
        self.side.parked(before)
    }

    fn reach(&mut self, ends: &Ends) -> anyhow::Result<Option<String>> {
        self.side.reach(ends)
    }
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::tables::projections::SALES;

    use super::*;

    /// So many rows in every table.
    struct Rows(u64);

    impl Side for Rows {
        fn label(&self) -> String {
            "rows".to_owned()
        }

        fn table(&self, name: &str) -> Option<&'static Table> {
            SALES.table(name)
        }

        fn scan(
            &mut self,
            table: &'static Table,
            visit: &mut (dyn FnMut(Row) + Send),
        ) -> anyhow::Result<()> {
            for _ in 0..self.0 {
                let values = Vec::new();
                visit(Row { table, values });
            }
            Ok(())
        }

        fn get(&mut self, _: &'static Table, _: &[Vec<Value>]) -> anyhow::Result<Vec<Row>> {
            Ok(Vec::new())
        }

        fn parked(&mut self, _: &Ends) -> anyhow::Result<ParkedSet> {
            Ok(ParkedSet::new())
        }

        fn reach(&mut self, _: &Ends) -> anyhow::Result<Option<String>> {
            Ok(None)
        }
    }

    #[test]
    fn the_log_is_folded_in_parts_that_fit_though_the_comparison_before_has_met_few_rows() {
        let tables = SALES.tables;
        let parts = |known, each| parts(known, &mut Rows(each), tables).expect("counted");
        assert_eq!(parts(0, 0), 1);
        let all = tables.len() as u64 * ROWS_IN_MEMORY;
        assert_eq!(parts(3, ROWS_IN_MEMORY), tables.len() as u64);
        assert_eq!(parts(all, 1), tables.len() as u64, "rows may be lost");
    }

    #[test]
    fn of_a_version_that_does_not_move_the_log_is_not_asked() {
        let mut first = Findings {
            more: true,
            ..Findings::default()
        };
        assert!(goes_on(&first));
        first.stuck = Some("it does not move".to_owned());
        assert!(!goes_on(&first));
    }
}
