//! Putting facts in the order in which they became visible.

use std::collections::BTreeMap;

use cartwright_events::Timestamp;
use cartwright_read_model::causal::Step;

use super::{Fact, Kind, ms};

/// The facts, oldest first, each with the time since others.
pub(super) fn arranged(facts: Vec<Fact>) -> Vec<Fact> {
    let visible = visible(&facts);
    let mut facts: Vec<(Timestamp, Fact)> = visible.into_iter().zip(facts).collect();
    facts.sort_by_key(|(visible, fact)| (*visible, step(fact), fact.partition, fact.offset));
    let mut facts: Vec<Fact> = facts.into_iter().map(|(_, fact)| fact).collect();
    let first = facts.first().map(|fact| fact.recorded_at);
    let mut previous = first;
    for fact in &mut facts {
        let since = |from: Option<Timestamp>| from.map_or(0, |from| ms(from, fact.recorded_at));
        (fact.since_first_ms, fact.since_previous_ms) = (since(first), since(previous));
        previous = previous.max(Some(fact.recorded_at));
    }
    facts
}

fn step(fact: &Fact) -> Step {
    match fact.kind {
        Kind::Event => {
            let stream = match fact.topic.contains(".cart.") {
                true => "cart",
                false if fact.context == "inventory" => "stock",
                false => "order",
            };
            let reason = fact
                .details
                .get("reason")
                .and_then(|reason| reason.as_str());
            Step::of_event(stream, &fact.type_name, reason)
        }
        Kind::Message => Step::of_message(&fact.type_name),
        Kind::FailedMessage => Step::Held,
        Kind::RejectedCommand | Kind::Unread => Step::Refused,
    }
}

/// When each fact's transaction was written. The records of one are taken by several partitions, a
/// little earlier or later; whoever acts on any of them does so after all.
fn visible(facts: &[Fact]) -> Vec<Timestamp> {
    let mut begun: BTreeMap<(&str, u32, u64), Timestamp> = BTreeMap::new();
    for fact in facts {
        if let (Kind::Event | Kind::Message, Some(key)) = (fact.kind, written_in(fact)) {
            let time = begun.entry(key).or_insert(fact.recorded_at);
            *time = fact.recorded_at.min(*time);
        }
    }
    let time = |fact: &Fact| written_in(fact).and_then(|key| begun.get(&key).copied());
    facts
        .iter()
        .map(|fact| time(fact).unwrap_or(fact.recorded_at))
        .collect()
}

/// The shard and its transaction that wrote the fact.
fn written_in(fact: &Fact) -> Option<(&'static str, u32, u64)> {
    match fact.kind {
        Kind::Message => {
            let sender = fact.sender?;
            Some((sender.context, sender.partition, sender.transaction))
        }
        _ => {
            let transaction = fact.transaction.as_ref()?;
            Some((fact.context, fact.partition, transaction.number))
        }
    }
}
