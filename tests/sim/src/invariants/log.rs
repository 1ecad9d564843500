//! The log by itself, and against what shoppers were told.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cartwright_domain::Reason;
use cartwright_event_log::Record;
use cartwright_events::envelope::header;
use cartwright_events::journal::INBOX_PASSED;
use cartwright_events::{Context, Stream};
use cartwright_shard::Outcome;

use crate::log::ATTEMPT;
use crate::shopper::Shopper;
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

/// What the journals have decided.
#[derive(Default)]
pub(super) struct Decided {
    /// By idempotency key.
    by_key: BTreeMap<String, Outcome>,
    /// By the id of a command that was queued.
    by_id: BTreeMap<String, Outcome>,
    /// Transactions before which messages had passed one that waits in the inbox.
    pub(super) passed_in_inbox: u64,
}

pub(super) fn every_key_is_decided_once(world: &World) -> Result<Decided, String> {
    let mut decided = Decided::default();
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
            decided.passed_in_inbox += u64::from(record.header(INBOX_PASSED).is_some());
            for command in journal.decided {
                let outcome =
                    serde_json::from_str(&command.outcome).map_err(|error| error.to_string())?;
                let (known, name) = match command.idempotency_key {
                    Some(key) => (&mut decided.by_key, key),
                    None => (&mut decided.by_id, command.command_id),
                };
                if known.insert(name.clone(), outcome).is_some() {
                    return Err(format!("{name} was decided twice"));
                }
            }
        }
    }
    Ok(decided)
}

/// Whoever was told something was told what the journal has.
pub(super) fn what_was_told_is_in_the_journal(
    world: &World,
    Decided { by_key, .. }: &Decided,
) -> Result<(), String> {
    for (key, told) in world.shoppers.iter().flat_map(|shopper| &shopper.answered) {
        if by_key.get(key) != Some(told) {
            return Err(format!(
                "{key} was answered {told:?}, the journal has {:?}",
                by_key.get(key)
            ));
        }
    }
    Ok(())
}

/// What is told of a queued command is what was decided under its key, or that the key was another
/// request's.
pub(super) fn queued_commands_are_decided_as_their_keys(
    world: &World,
    decided: &Decided,
) -> Result<(), String> {
    for (command, outcome) in &decided.by_id {
        let queued = world.queued.get(command);
        let queued = queued.ok_or_else(|| format!("{command} was decided, and never queued"))?;
        let refused = matches!(outcome, Outcome::Rejected(rejection)
            if rejection.reason == Reason::IdempotencyKeyReused.code());
        let key = &world.keys[command];
        let by_key = decided.by_key.get(key);
        if refused != queued.misused || !(refused || by_key == Some(outcome)) {
            return Err(format!(
                "{command} was decided {outcome:?}, its key {key} {by_key:?}"
            ));
        }
    }
    Ok(())
}

/// Once everything is at rest: what a caller was told is queued has been decided.
pub(super) fn what_was_queued_is_decided(world: &World, decided: &Decided) -> Result<(), String> {
    let mut durable = world.queued.iter().filter(|(_, queued)| queued.is_durable);
    match durable.find(|(command, _)| !decided.by_id.contains_key(*command)) {
        Some((command, _)) => Err(format!(
            "{command} ({}) was queued and never decided",
            world.keys[command]
        )),
        None => Ok(()),
    }
}

/// However often a request arrived, one arrival at most took effect; where the answer is no, or none
/// was ever decided, none did.
pub(super) fn every_key_has_one_effect_and_a_rejected_one_none(
    world: &World,
    Decided { by_key, .. }: &Decided,
) -> Result<(), String> {
    let mut effects: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let streams = Stream::ALL.iter().map(|stream| stream.topic());
    let inboxes = Context::ALL.iter().map(|context| context.inbox_topic());
    for topic in streams.chain(inboxes) {
        for record in world.records(topic)?.iter() {
            if text(record, header::CE_TYPE) == Some("SubmitCommand") {
                continue; // It asks for an effect.
            }
            let Some(command) = text(record, header::COMMAND_ID) else {
                return Err(format!("{topic} offset {} names no cause", record.offset));
            };
            if let Some(key) = world.keys.get(command) {
                effects.entry(key).or_default().insert(command.to_owned());
            }
        }
    }
    for (key, commands) in effects {
        let accepted = matches!(by_key.get(key), Some(Outcome::Accepted(_)));
        if commands.len() > 1 || !accepted {
            return Err(format!(
                "{key} took effect as {commands:?} and was decided {:?}",
                by_key.get(key)
            ));
        }
    }
    Ok(())
}

/// A command that asked for a version of its cart took effect on that one alone, and one that asked for
/// an old one was told so.
pub(super) fn versions_asked_for_were_there(
    world: &World,
    Decided { by_key, .. }: &Decided,
) -> Result<(), String> {
    let mut began_at: HashMap<&str, u64> = HashMap::new();
    for (record, event) in world.events(Stream::Cart)?.iter() {
        let command = text(record, header::COMMAND_ID);
        if let Some(key) = command.and_then(|command| world.keys.get(command)) {
            began_at.entry(key).or_insert(event.version);
        }
    }
    let shoppers = world.shoppers.iter();
    for (key, expected, is_stale) in shoppers.flat_map(Shopper::versions_asked_for) {
        let began = began_at.get(&*key).copied();
        let holds = match by_key.get(&key) {
            Some(Outcome::Accepted(_)) => !is_stale && began.is_none_or(|at| at == expected + 1),
            Some(Outcome::Rejected(rejection)) => {
                let mismatch = rejection.reason == Reason::VersionMismatch.code();
                began.is_none() && (mismatch || !is_stale)
            }
            None => began.is_none(),
        };
        if !holds {
            return Err(format!(
                "{key} asked for version {expected}, was decided {:?} and took effect as {began:?}",
                by_key.get(&key)
            ));
        }
    }
    Ok(())
}
