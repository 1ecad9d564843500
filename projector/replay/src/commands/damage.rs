//! What a version has lost although its positions stand.

use cartwright_event_log::Record;
use cartwright_event_log::kafka::KafkaLog;

use crate::audit::{Finding, RowCheck, StoredView, ViewRows};
use crate::context::Context;
use crate::emptied::emptied;
use crate::reading::{read_once, whole_topic};
use crate::registry::Home;

/// See the module.
#[derive(Default)]
pub(super) struct Damage {
    pub(super) emptied_tables: Vec<&'static str>,
    pub(super) rows_checked: u64,
    pub(super) wrong_rows: Vec<Finding>,
}

/// Looks for tables that are empty and should not be and, when there are none and `rows` says so, at
/// every row. Positions say what was applied, and not what has become of the rows since.
pub(super) fn look_for_damage(
    context: &Context,
    home: Home<'_>,
    log: &KafkaLog,
    number: u32,
    rows: bool,
) -> anyhow::Result<Damage> {
    let mut damage = Damage::default();
    let versions = home.versions()?;
    let Some(version) = versions.get(number) else {
        return Ok(damage);
    };
    let plan = match home.plan(version) {
        Ok(plan) => plan,
        Err(error) => {
            let label = home.label(number);
            context
                .output
                .warn(format!("rows of {label} are not looked at: {error}"));
            return Ok(damage);
        }
    };
    let positions = home.positions(number)?;
    let mut empty = Vec::new();
    for table in plan.projection.tables.iter().copied() {
        if context.wait(home.control.is_empty(table, number))? {
            empty.push(table);
        }
    }
    let view = StoredView::new(context, home, plan);
    if !empty.is_empty() {
        let (codec, aside) = (context.codec()?, view.put_aside()?);
        damage.emptied_tables = emptied(log, &codec, &plan, &empty, &positions, &aside)?;
    }
    if rows && damage.emptied_tables.is_empty() {
        let codec = context.codec()?;
        let mut check = RowCheck::of_whole_log(&codec);
        check.add(plan, Box::new(view))?;
        let mut read_to = Vec::new();
        for stream in plan.projection.streams {
            let starts = whole_topic(log, stream.topic())?;
            let take = |record: &Record| check.take(*stream, record);
            read_to.extend(read_once(log, &starts, take)?);
        }
        damage.wrong_rows = check.finish(log, &read_to)?;
        damage.rows_checked = check.rows_checked();
        for unread in check.unread() {
            context
                .output
                .warn(format!("of {}: {}", unread.subject, unread.detail));
        }
    }
    Ok(damage)
}
