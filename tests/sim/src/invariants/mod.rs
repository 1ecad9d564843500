//! What must hold after every run, judged from the log, from the stores and from what shoppers were
//! told.

mod carts;
mod effects;
mod log;
mod orders;
mod read_model;
mod stock;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use cartwright_events::Context;

use crate::world::{World, topics};

/// What a run came to.
pub(crate) struct Verdict {
    /// Orders that reached each end, by its name, and those of which goods left or came back.
    pub(crate) orders: BTreeMap<String, u64>,
    /// Rows compared.
    pub(crate) rows: u64,
    /// Transactions before which messages had passed one that waits in the inbox.
    pub(crate) passed_in_inbox: u64,
    /// Decisions under a key that was forgotten.
    pub(crate) anew: u64,
}

/// Checks everything.
pub(crate) fn check(world: &World) -> Result<Verdict, String> {
    let decided = decided(world)?;
    log::what_was_queued_is_decided(world, &decided)?;
    let stock = stock::is_conserved(world)?;
    carts::became_the_orders(world)?;
    let orders = orders::end_and_add_up(world)?;
    orders::agree_with_the_stock(&orders, &stock)?;
    let rows = read_model::equals_a_fresh_fold(world)?;
    read_model::versions_are_there_or_gone(world)?;
    let mut ends = BTreeMap::new();
    for order in orders.values() {
        for what in order.came_to()? {
            *ends.entry(what.to_owned()).or_default() += 1;
        }
    }
    Ok(Verdict {
        orders: ends,
        rows,
        passed_in_inbox: decided.passed_in_inbox,
        anew: decided.anew,
    })
}

/// Checks what holds at any moment.
pub(crate) fn check_log(world: &World) -> Result<(), String> {
    decided(world).map(drop)
}

fn decided(world: &World) -> Result<log::Decided, String> {
    log::transactions_are_whole_or_not_at_all(world)?;
    log::seqs_and_versions_are_dense(world)?;
    let decided = log::keys_are_decided_once_while_remembered(world)?;
    log::what_was_told_is_in_the_journal(world, &decided)?;
    log::queued_commands_are_decided_as_their_keys(world, &decided)?;
    effects::what_was_accepted_took_effect(world, &decided)?;
    effects::nothing_else_took_effect(world, &decided)?;
    effects::versions_asked_for_were_there(world, &decided)?;
    Ok(decided)
}

/// Digest of what happened and of the whole log.
pub(crate) fn trace_digest(world: &World) -> Result<u64, String> {
    let mut hasher = DefaultHasher::new();
    world.sim.trace_digest().hash(&mut hasher);
    for topic in Context::ALL.into_iter().flat_map(topics) {
        for record in world.records(topic)?.iter() {
            (topic, record.partition, record.offset).hash(&mut hasher);
            (record.timestamp_us, &record.key, &record.value).hash(&mut hasher);
            record.headers.hash(&mut hasher);
        }
    }
    Ok(hasher.finish())
}
