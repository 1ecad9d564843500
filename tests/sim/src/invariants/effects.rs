//! What was decided against what it made.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cartwright_domain::Reason;
use cartwright_events::envelope::header;
use cartwright_events::{Context, Stream};
use cartwright_shard::Outcome;

use super::log::{Decided, Decision};
use crate::log::text;
use crate::shopper::{Shopper, intent_of};
use crate::world::World;

/// What was accepted made an event of the version that was answered, unless it repeats what another command
/// with the same intent has made: that one was forgotten, or came under another key.
pub(super) fn what_was_accepted_took_effect(
    world: &World,
    decided: &Decided,
) -> Result<(), String> {
    // By command, the versions of the aggregates that it made; and all that there are.
    let mut made: HashMap<String, BTreeSet<(String, u64)>> = HashMap::new();
    let mut there: BTreeSet<(String, u64)> = BTreeSet::new();
    for stream in Stream::ALL {
        for (record, event) in world.events(stream)?.iter() {
            let version = (event.aggregate_id.clone(), event.version);
            there.insert(version.clone());
            if let Some(command) = text(record, header::COMMAND_ID) {
                made.entry(command.to_owned()).or_default().insert(version);
            }
        }
    }
    // By intent: a command that was accepted, and whether one of them made something.
    let mut intents: BTreeMap<&str, (&str, bool)> = BTreeMap::new();
    for (key, decisions) in &decided.by_key {
        for Decision {
            command_id,
            outcome,
        } in decisions
        {
            let Outcome::Accepted(answer) = outcome else {
                continue;
            };
            let version = (answer.aggregate_id.clone(), answer.version);
            let of_it = made.get(command_id);
            // An inbox may hold a command twice, and have it decided anew when its key was forgotten: once it
            // may have found everything to be as it wants it.
            let times = decisions
                .iter()
                .filter(|each| each.command_id == *command_id);
            let may_repeat = of_it.is_none() || times.count() > 1;
            let made_it = of_it.is_some_and(|made| made.contains(&version));
            let is_true = made_it || (may_repeat && there.contains(&version));
            if !is_true {
                return Err(format!(
                    "{key} was told version {} of {}, and {command_id} made {of_it:?}",
                    answer.version, answer.aggregate_id
                ));
            }
            let intent = intents
                .entry(intent_of(key))
                .or_insert((command_id.as_str(), false));
            intent.1 |= of_it.is_some();
        }
    }
    match intents.iter().find(|(_, (_, took_effect))| !took_effect) {
        Some((intent, (command, _))) => Err(format!(
            "{intent} was accepted as {command} and took no effect"
        )),
        None => Ok(()),
    }
}

/// However often a request arrived, only an arrival took effect that was decided so: where the answer is no,
/// or none was ever decided, none did.
pub(super) fn nothing_else_took_effect(world: &World, decided: &Decided) -> Result<(), String> {
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
        let is_accepted = |command: &String| {
            let mut decisions = decided.under(key).iter();
            let decision = decisions.find(|decision| decision.command_id == *command);
            decision.is_some_and(|decision| matches!(decision.outcome, Outcome::Accepted(_)))
        };
        if let Some(command) = commands.iter().find(|command| !is_accepted(command)) {
            return Err(format!(
                "{key} took effect as {command} and was decided {:?}",
                decided.outcomes(key)
            ));
        }
    }
    Ok(())
}

/// A command that asked for a version of its cart took effect on that one alone, and one that asked for
/// an old one was told so.
pub(super) fn versions_asked_for_were_there(
    world: &World,
    decided: &Decided,
) -> Result<(), String> {
    let mut began_at: HashMap<&str, u64> = HashMap::new();
    let events = world.events(Stream::Cart)?;
    for (record, event) in events.iter() {
        if let Some(command) = text(record, header::COMMAND_ID) {
            began_at.entry(command).or_insert(event.version);
        }
    }
    let shoppers = world.shoppers.iter();
    for (key, expected, is_stale) in shoppers.flat_map(Shopper::versions_asked_for) {
        for Decision {
            command_id,
            outcome,
        } in decided.under(&key)
        {
            let began = began_at.get(&**command_id).copied();
            let holds = match outcome {
                Outcome::Accepted(_) => !is_stale && began.is_none_or(|at| at == expected + 1),
                Outcome::Rejected(rejection) => {
                    rejection.reason == Reason::VersionMismatch.code() || !is_stale
                }
            };
            if !holds {
                return Err(format!(
                    "{key} asked for version {expected}, was decided {outcome:?} and took effect as \
                     {began:?}"
                ));
            }
        }
    }
    Ok(())
}
