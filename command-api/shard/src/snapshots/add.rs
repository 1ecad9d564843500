//! What a transaction takes along into the snapshots topic.

use std::sync::Arc;

use cartwright_domain::BoundedContext;
use cartwright_event_log::Receipt;

use super::Rounds;
use super::format::Kind;
use super::piece::Piece;
use crate::group::{Group, Place};
use crate::options::ShardOptions;
use crate::state::ShardState;

/// Adds a piece of the round under way, the aggregates that came back from the archive and changed, a
/// page of its index, and those that leave memory now. To be called last before the group is closed.
pub(crate) fn add<B: BoundedContext>(
    context: &B,
    place: &Place,
    options: &ShardOptions,
    state: &mut ShardState<B>,
    group: &mut Group<B::Command>,
) -> Result<(), serde_json::Error> {
    let most_bytes = match group.pending.len() {
        0 => options.snapshot_group_bytes,
        _ => options.snapshot_group_bytes / 4,
    };
    let most_bytes = most_bytes.max(group.weight() * options.snapshot_bytes_per_event);
    let mut piece = Piece::new(context, place, state, group.records.len());
    Rounds::contribute(state, &group.touched, most_bytes, &mut piece)?;
    for id in &group.touched {
        if state.archive.unchanged_at(id).is_some() {
            piece.aggregate(state, Kind::Live, id)?;
        }
    }
    if let Some((page, content)) = state.archive.next_page(options.archive_page) {
        piece.page(page, &content)?;
    }
    let full_at = piece.bytes() + most_bytes;
    while !piece.is_full(full_at)
        && let Some(id) = state.archive.pop_leaving(
            group.now(),
            state.archive_after_ms(options),
            options.finished_kept,
        )
    {
        if group.touched.contains(&id)
            || piece.is_leaving(&id)
            || !context.is_finished(&state.aggregates, &id)
        {
            continue;
        }
        if state.archive.unchanged_at(&id).is_some() {
            state.forget(context, &id);
            state.archive.left_unchanged(&id);
        } else {
            piece.aggregate(state, Kind::Finished, &id)?;
        }
    }
    piece.put_into(group);
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
    let mut from_last = topics.iter().zip(&receipt.offsets).rev();
    let last = from_last.find(|(topic, _)| ***topic == *B::CONTEXT.snapshots_topic());
    if let Some((_, &last)) = last {
        state.archive.written(last);
    }
    let offset_of = |index: usize| receipt.offsets.get(index).copied();
    if let Some(offset) = group.begin.and_then(offset_of) {
        state.rounds.begun_at(offset);
    }
    if let Some((index, page)) = group.page
        && let Some(offset) = offset_of(index)
    {
        state.archive.page_written(page, offset);
    }
    let leaving = std::mem::take(&mut group.leaving).into_iter();
    let leaving = leaving.filter_map(|(id, index)| Some((id, offset_of(index)?)));
    let leaving: Vec<(String, u64)> = leaving.collect();
    for (id, _) in &leaving {
        state.forget(context, id);
    }
    state.archive.left(leaving);
    state.rounds.count(group.weight());
    for id in &group.touched {
        state.archive.changed(id);
        if context.is_finished(&state.aggregates, id) {
            state.archive.may_leave(group.now(), id.clone());
        }
    }
}
