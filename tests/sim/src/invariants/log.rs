//! The log by itself, and against what shoppers were told.

use std::collections::{BTreeMap, HashMap};

use cartwright_domain::Reason;
use cartwright_events::envelope::header;
use cartwright_events::journal::INBOX_PASSED;
use cartwright_events::{Context, Stream};
use cartwright_shard::Outcome;

use crate::log::{attempt_of, text};
use crate::sim::Told;
use crate::world::{World, topics};

/// Nothing that was aborted is visible, and of what was committed everything is that compaction has left.
pub(super) fn transactions_are_whole_or_not_at_all(world: &World) -> Result<(), String> {
    let mut visible: BTreeMap<u64, usize> = world.sim.lock().compacted.clone();
    for topic in Context::ALL.into_iter().flat_map(topics) {
        for record in world.records(topic)?.iter() {
            // What a planted bug writes by itself has no number.
            if let Some(number) = attempt_of(record) {
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

/// A decision in a journal.
pub(super) struct Decision {
    pub(super) command_id: String,
    pub(super) outcome: Outcome,
}

/// What was decided of a command that was queued.
struct OfQueued {
    outcome: Outcome,
    /// Results that its shard has decided since.
    since: u64,
}

/// What the journals have decided.
#[derive(Default)]
pub(super) struct Decided {
    /// By idempotency key: once, and once more each time after it was forgotten.
    pub(super) by_key: BTreeMap<String, Vec<Decision>>,
    /// By the id of a command that was queued.
    by_id: BTreeMap<String, OfQueued>,
    /// Decisions under a key that was forgotten.
    pub(super) anew: u64,
    /// Transactions before which messages had passed one that waits in the inbox.
    pub(super) passed_in_inbox: u64,
}

impl Decided {
    pub(super) fn under(&self, key: &str) -> &[Decision] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn outcomes(&self, key: &str) -> Vec<&Outcome> {
        let decisions = self.under(key).iter();
        decisions.map(|decision| &decision.outcome).collect()
    }
}

/// A shard remembers the results that it was told to, whatever happens to it: a key is decided once more
/// only if that many others were decided since.
pub(super) fn keys_are_decided_once_while_remembered(world: &World) -> Result<Decided, String> {
    let kept = world.results_kept as u64;
    let mut decided = Decided::default();
    for context in Context::ALL {
        let mut transactions: HashMap<u32, u64> = HashMap::new();
        // By partition: how many results were decided, and the numbers of those of queued commands.
        let mut results: HashMap<u32, u64> = HashMap::new();
        let mut queued: Vec<(u32, u64, String)> = Vec::new();
        let mut number_of: HashMap<String, u64> = HashMap::new();
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
            if let Some(failed) = journal.failed.first() {
                return Err(format!("a message was given up: {failed:?}"));
            }
            decided.passed_in_inbox += u64::from(record.header(INBOX_PASSED).is_some());
            for command in journal.decided {
                let outcome =
                    serde_json::from_str(&command.outcome).map_err(|error| error.to_string())?;
                let so_far = results.entry(record.partition).or_default();
                let number = *so_far;
                *so_far += 1;
                let command_id = command.command_id;
                let Some(key) = command.idempotency_key else {
                    let of_queued = OfQueued { outcome, since: 0 };
                    if decided
                        .by_id
                        .insert(command_id.clone(), of_queued)
                        .is_some()
                    {
                        return Err(format!("{command_id} was decided twice"));
                    }
                    queued.push((record.partition, number, command_id));
                    continue;
                };
                match number_of.insert(key.clone(), number) {
                    Some(before) if number - before <= kept => {
                        return Err(format!(
                            "{key} was decided twice, as {before} and {number} of a shard that remembers \
                             {kept}"
                        ));
                    }
                    before => decided.anew += u64::from(before.is_some()),
                }
                let decision = Decision {
                    command_id,
                    outcome,
                };
                decided.by_key.entry(key).or_default().push(decision);
            }
        }
        for (partition, number, command_id) in queued {
            if let Some(of_queued) = decided.by_id.get_mut(&command_id) {
                of_queued.since = results[&partition] - number - 1;
            }
        }
    }
    Ok(decided)
}

/// Whoever was told something was told what the journal has.
pub(super) fn what_was_told_is_in_the_journal(
    world: &World,
    decided: &Decided,
) -> Result<(), String> {
    for (key, told) in world.shoppers.iter().flat_map(|shopper| &shopper.told) {
        let outcomes = decided.outcomes(key);
        if !outcomes.contains(&told) {
            return Err(format!(
                "{key} was answered {told:?}, the journal has {outcomes:?}"
            ));
        }
    }
    Ok(())
}

/// What is told of a queued command is what was decided under its key, or that the key was another
/// request's; that it is forgotten is told of those only that had to go.
pub(super) fn queued_commands_are_decided_as_their_keys(
    world: &World,
    decided: &Decided,
) -> Result<(), String> {
    for (command, OfQueued { outcome, .. }) in &decided.by_id {
        let queued = world.queued.get(command);
        let queued = queued.ok_or_else(|| format!("{command} was decided, and never queued"))?;
        let refused = matches!(outcome, Outcome::Rejected(rejection)
            if rejection.reason == Reason::IdempotencyKeyReused.code());
        let key = &world.keys[command];
        let outcomes = decided.outcomes(key);
        if refused != queued.misused || !(refused || outcomes.contains(&outcome)) {
            return Err(format!(
                "{command} was decided {outcome:?}, its key {key} {outcomes:?}"
            ));
        }
    }
    let shoppers = world.shoppers.iter();
    for command in shoppers.flat_map(|shopper| shopper.tickets.forgotten()) {
        let since = decided.by_id.get(command).map(|of_queued| of_queued.since);
        if since.is_none_or(|since| since < world.results_kept as u64) {
            return Err(format!(
                "{command} was told to be forgotten, {since:?} results after it"
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
