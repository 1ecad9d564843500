//! The log by itself, and against what shoppers were told.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cartwright_event_log::Record;
use cartwright_events::envelope::header;
use cartwright_events::{Context, Stream};
use cartwright_shard::Outcome;

use crate::log::ATTEMPT;
use crate::sim::Told;
use crate::world::{World, topics};

fn text<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    std::str::from_utf8(record.header(name)?).ok()
}

/// Nothing that was aborted is visible, and of what was committed everything is.
pub(super) fn transactions_are_whole_or_not_at_all(world: &World) -> Result<(), String> {
    let mut visible: BTreeMap<u64, usize> = BTreeMap::new();
    for topic in Context::ALL.into_iter().flat_map(topics) {
        for record in world.records(topic)?.iter() {
            // What a planted bug writes by itself has no number.
            if let Some(number) = text(record, ATTEMPT).and_then(|text| text.parse().ok()) {
                *visible.entry(number).or_default() += 1;
            }
        }
    }
    for (number, attempt) in &world.sim.lock().attempts {
        let shown = visible.get(number).copied().unwrap_or_default();
        let right = match attempt.told {
            Told::Committed => shown == attempt.records,
            Told::NotCommitted => shown == 0,
            Told::Unknown => shown == 0 || shown == attempt.records,
        };
        if !right {
            return Err(format!(
                "transaction {number}, told {:?}: {shown} of its {} records are visible",
                attempt.told, attempt.records
            ));
        }
    }
    Ok(())
}

pub(super) fn seqs_and_versions_are_dense(world: &World) -> Result<(), String> {
    for stream in Stream::ALL {
        let mut seqs: HashMap<u32, u64> = HashMap::new();
        let mut epochs: HashMap<u32, u64> = HashMap::new();
        let mut versions: HashMap<String, u64> = HashMap::new();
        for (record, event) in world.events(stream)?.iter() {
            let number = |name| text(record, name).and_then(|text| text.parse::<u64>().ok());
            let seq = number(header::SEQ).ok_or("an event has no seq")?;
            let epoch = number(header::WRITER_EPOCH).ok_or("an event has no epoch")?;
            let last = seqs.insert(record.partition, seq).unwrap_or_default();
            let earlier = epochs.insert(record.partition, epoch).unwrap_or_default();
            let version = versions
                .insert(event.aggregate_id.clone(), event.version)
                .unwrap_or_default();
            if seq != last + 1 || event.version != version + 1 || epoch < earlier {
                return Err(format!(
                    "{}[{}]: seq {seq} after {last}, epoch {epoch} after {earlier}, version {} of \
                     {} after {version}",
                    stream.topic(),
                    record.partition,
                    event.version,
                    event.aggregate_id
                ));
            }
        }
    }
    Ok(())
}

/// Returns what was decided, by key.
pub(super) fn every_key_is_decided_once(
    world: &World,
) -> Result<BTreeMap<String, Outcome>, String> {
    let mut decided: BTreeMap<String, Outcome> = BTreeMap::new();
    for context in Context::ALL {
        let mut transactions: HashMap<u32, u64> = HashMap::new();
        for record in world.records(context.journal_topic())?.iter() {
            let value = record.value.as_deref().unwrap_or_default();
            let journal = world
                .codec
                .decode_journal(context, value)
                .map_err(|error| error.to_string())?;
            let last = transactions
                .insert(record.partition, journal.transaction)
                .unwrap_or_default();
            if journal.transaction != last + 1 {
                return Err(format!("transaction {} after {last}", journal.transaction));
            }
            for command in journal.decided {
                let key = command.idempotency_key.ok_or("a command without a key")?;
                let outcome =
                    serde_json::from_str(&command.outcome).map_err(|error| error.to_string())?;
                if decided.insert(key.clone(), outcome).is_some() {
                    return Err(format!("{key} was decided twice"));
                }
            }
        }
    }
    Ok(decided)
}

/// Whoever was told something was told what the journal has.
pub(super) fn what_was_told_is_in_the_journal(
    world: &World,
    decided: &BTreeMap<String, Outcome>,
) -> Result<(), String> {
    for (key, told) in world.shoppers.iter().flat_map(|shopper| &shopper.answered) {
        if decided.get(key) != Some(told) {
            return Err(format!(
                "{key} was answered {told:?}, the journal has {:?}",
                decided.get(key)
            ));
        }
    }
    Ok(())
}

/// However often a request arrived, one arrival at most took effect; where the answer is no, or none
/// was ever decided, none did.
pub(super) fn every_key_has_one_effect_and_a_rejected_one_none(
    world: &World,
    decided: &BTreeMap<String, Outcome>,
) -> Result<(), String> {
    let mut effects: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let streams = Stream::ALL.iter().map(|stream| stream.topic());
    let inboxes = Context::ALL.iter().map(|context| context.inbox_topic());
    for topic in streams.chain(inboxes) {
        for record in world.records(topic)?.iter() {
            let Some(command) = text(record, header::COMMAND_ID) else {
                return Err(format!("{topic} offset {} names no cause", record.offset));
            };
            if let Some(key) = world.keys.get(command) {
                effects.entry(key).or_default().insert(command.to_owned());
            }
        }
    }
    for (key, commands) in effects {
        let accepted = matches!(decided.get(key), Some(Outcome::Accepted(_)));
        if commands.len() > 1 || !accepted {
            return Err(format!(
                "{key} took effect as {commands:?} and was decided {:?}",
                decided.get(key)
            ));
        }
    }
    Ok(())
}
