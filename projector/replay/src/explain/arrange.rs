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
    type Key = (&'static str, u32, u64);
    let key = |fact: &Fact| -> Option<Key> {
        let number = fact.transaction.as_ref()?.number;
        Some((fact.context, fact.partition, number))
    };
    let mut begun: BTreeMap<Key, (Timestamp, &str)> = BTreeMap::new();
    for fact in facts.iter().filter(|fact| fact.kind == Kind::Event) {
        if let Some(key) = key(fact) {
            let entry = begun
                .entry(key)
                .or_insert((fact.recorded_at, &fact.command_id));
            entry.0 = entry.0.min(fact.recorded_at);
        }
    }
    let of_message = |fact: &Fact| {
        let senders = begun.iter().filter(|((context, ..), (_, command))| {
            *context != fact.context && *command == fact.command_id
        });
        let times = senders.map(|(_, (time, _))| *time);
        times.min_by_key(|time| (time.as_micros() - fact.recorded_at.as_micros()).abs())
    };
    let time = |fact: &Fact| match fact.kind {
        // No shard has sent it.
        Kind::Message if fact.type_name == "SubmitCommand" => None,
        Kind::Message => of_message(fact),
        _ => key(fact).and_then(|key| begun.get(&key).map(|(time, _)| *time)),
    };
    facts
        .iter()
        .map(|fact| time(fact).unwrap_or(fact.recorded_at))
        .collect()
}
