//! What a transaction takes along into the snapshots topic.

use std::sync::Arc;

use cartwright_domain::BoundedContext;
use cartwright_event_log::{NewRecord, Receipt};

use super::Rounds;
use super::format::{Draft, Kind};
use crate::group::{Group, Place};
use crate::options::ShardOptions;
use crate::state::ShardState;

/// Adds a piece of the round under way, the aggregates that came back from the archive and changed,
/// and those that leave memory now. To be called last before the group is closed.
pub(crate) fn add<B: BoundedContext>(
    context: &B,
    place: &Place,
    options: &ShardOptions,
    state: &mut ShardState<B>,
    group: &mut Group<B::Command>,
) -> Result<(), serde_json::Error> {
    let transaction = state.transaction + 1;
    let most_bytes = match group.pending.len() {
        0 => options.snapshot_group_bytes,
        _ => options.snapshot_group_bytes / 4,
    };
    let touched = &group.touched;
    let given = Rounds::contribute(state, context, place, transaction, touched, most_bytes)?;
    let base = group.records.len();
    group.begin = given.begin.map(|index| base + index);
    let leaving = given.leaving.into_iter();
    group.leaving = leaving.map(|(id, index)| (id, base + index)).collect();
    group.records.extend(given.records);
    let as_of = state.as_of(place);
    let snapshot = |state: &ShardState<B>, kind: Kind, id: &str| {
        let draft = Draft {
            kind,
            name: id,
            transaction,
            as_of: Some(&as_of),
        };
        match context.snapshot(&state.aggregates, id) {
            Some(snapshot) => draft.records(B::CONTEXT, place, &snapshot),
            None => Ok(Vec::new()),
        }
    };
    for id in &group.touched {
        if state.archive.changed(id) {
            group.records.extend(snapshot(state, Kind::Live, id)?);
        }
    }
    let mut bytes = 0;
    while bytes < most_bytes
        && let Some(id) =
            state
                .archive
                .pop_leaving(group.now(), options.archive_after_ms, options.finished_kept)
    {
        if group.touched.contains(&id)
            || group.leaving.contains_key(&id)
            || !context.is_finished(&state.aggregates, &id)
        {
            continue;
        }
        if let Some(offset) = state.archive.unchanged_at(&id) {
            context.forget(&mut state.aggregates, &id);
            state.archive.left(&id, offset);
            continue;
        }
        let records = snapshot(state, Kind::Finished, &id)?;
        let len = |record: &NewRecord| record.value.as_ref().map_or(0, Vec::len);
        bytes += records.iter().map(len).sum::<usize>();
        group.leaving.insert(id, group.records.len());
        group.records.extend(records);
    }
    Ok(())
}

/// What follows from the group's commit. `records` are the topics of its records.
pub(crate) fn committed<B: BoundedContext>(
    context: &B,
    state: &mut ShardState<B>,
    group: &mut Group<B::Command>,
    topics: &[Arc<str>],
    receipt: &Receipt,
) {
    state.tail.follow(B::CONTEXT, topics, receipt);
    state
        .results
        .journaled(state.tail.journal.saturating_sub(1));
    let offset_of = |index: usize| receipt.offsets.get(index).copied();
    if let Some(offset) = group.begin.and_then(offset_of) {
        state.rounds.begun_at(offset);
    }
    for (id, index) in std::mem::take(&mut group.leaving) {
        if let Some(offset) = offset_of(index) {
            context.forget(&mut state.aggregates, &id);
            state.archive.left(&id, offset);
        }
    }
    state.rounds.count(group.weight());
    for id in &group.touched {
        if context.is_finished(&state.aggregates, id) {
            state.archive.may_leave(group.now(), id.clone());
        }
    }
}
