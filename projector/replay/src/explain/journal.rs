//! What the journals say of it: transactions, messages that were given up, and commands that were
//! refused.

use std::collections::BTreeMap;

use cartwright_event_log::{EventLog, Record, Start, TopicPartition};
use cartwright_events::journal::{DecidedCommand, INBOX_PASSED, JournalRecord, inbox_passed};
use cartwright_events::{Context, OrderId};
use serde_json::{Value, json};

use super::search::Search;
use super::{Fact, Kind, Transaction, ms};
use crate::reading::{decided, read_once};

impl Search<'_> {
    /// Finds the transactions that the facts of a partition were written in, messages that could not be
    /// decided, and commands about the order that were refused.
    pub(super) fn read_journal(
        &mut self,
        log: &impl EventLog,
        context: Context,
        partition: u32,
    ) -> anyhow::Result<()> {
        let mut wanted: BTreeMap<(String, u64), Vec<usize>> = BTreeMap::new();
        let mut inbox: BTreeMap<u64, usize> = BTreeMap::new();
        // Commands that came by the inbox, which say what they are about.
        let mut submitted: BTreeMap<String, String> = BTreeMap::new();
        for (index, fact) in self.facts.iter().enumerate() {
            if fact.context != context.name() || fact.partition != partition {
                continue;
            }
            match (fact.kind, fact.seq) {
                (Kind::Event, Some(seq)) => {
                    let places = wanted.entry((fact.topic.clone(), seq)).or_default();
                    places.push(index);
                }
                (Kind::Message, _) => {
                    inbox.insert(fact.offset, index);
                    if fact.type_name == "SubmitCommand" {
                        submitted.insert(fact.command_id.clone(), fact.correlation_id.clone());
                    }
                }
                _ => {}
            }
        }
        let at = TopicPartition::new(context.journal_topic(), partition);
        // The first record that can't be read, why, and how many there are.
        let mut unread: Option<(Record, String, u64)> = None;
        // Every transaction says how far the inbox is applied with it.
        let (mut last, mut applied) = (0, 0);
        read_once(log, &[(at, Start::Beginning)], |record| {
            self.records_read += 1;
            let Some(value) = record.value.as_deref() else {
                return Ok(());
            };
            let journal = match decided(self.codec.decode_journal(context, value))? {
                Ok(journal) => journal,
                Err(error) => {
                    let first = || (record.clone(), error.to_string(), 0);
                    unread.get_or_insert_with(first).2 += 1;
                    return Ok(());
                }
            };
            for range in &journal.ranges {
                let topic = &range.topic;
                let within = (topic.clone(), range.first)..=(topic.clone(), range.last);
                for index in wanted.range(within).flat_map(|(_, indexes)| indexes) {
                    let fact = &mut self.facts[*index];
                    fact.transaction = Some(transaction(&journal, fact));
                }
            }
            let end = journal.inbox_position.max(applied);
            // Where the journal no longer holds what came before, nobody knows which messages were applied
            // there and which ones here.
            if journal.transaction > last + 1 {
                applied = end;
            }
            last = journal.transaction;
            // With those that have passed one that waits. An unreadable list names none.
            let passed = inbox_passed(record.header(INBOX_PASSED)).unwrap_or_default();
            let passed = passed.iter().filter_map(|offset| inbox.get(offset));
            let applied_now = inbox.range(applied..end).map(|(_, index)| index);
            for index in applied_now.chain(passed) {
                let fact = &mut self.facts[*index];
                if fact.transaction.is_none() {
                    fact.transaction = Some(transaction(&journal, fact));
                }
            }
            applied = end;
            for given_up in &journal.failed {
                if let Some(index) = inbox.get(&given_up.offset) {
                    let message = self.facts[*index].clone();
                    let details = json!({ "reason": given_up.reason, "offset": message.offset });
                    let what = (Kind::FailedMessage, &*message.type_name);
                    let cause = (message.command_id, message.correlation_id);
                    self.journaled(context, (record, &journal), what, cause, details);
                }
            }
            if context == Context::Checkout {
                self.refused(record, &journal, &submitted);
            }
            Ok(())
        })?;
        if let Some((record, error, records)) = unread {
            let details = json!({ "unreadable": error, "records": records });
            let (kind, subject) = (Kind::Unread, self.order_id);
            self.fact(kind, context.name(), "?", subject, &record, details);
        }
        Ok(())
    }

    /// Adds what only a transaction tells, of a command or message about the order.
    fn journaled(
        &mut self,
        context: Context,
        (record, journal): (&Record, &JournalRecord),
        (kind, type_name): (Kind, &str),
        (command_id, correlation_id): (String, String),
        details: Value,
    ) {
        let (context, subject) = (context.name(), self.order_id);
        self.fact(kind, context, type_name, subject, record, details);
        if let Some(fact) = self.facts.last_mut() {
            (fact.command_id, fact.correlation_id) = (command_id, correlation_id);
            fact.transaction = Some(transaction(journal, fact));
        }
    }

    /// Takes the commands of a transaction that were refused and are known to be about the order:
    /// those in `submitted` (command and correlation ids), and those whose rejection names it.
    fn refused(
        &mut self,
        record: &Record,
        journal: &JournalRecord,
        submitted: &BTreeMap<String, String>,
    ) {
        let mut taken: Vec<&str> = Vec::new();
        for decided in &journal.decided {
            let correlation_id = submitted.get(&decided.command_id);
            let may_concern = correlation_id.is_some() || decided.outcome.contains(self.order_id);
            // A command with a key that came by the inbox is remembered twice.
            if !may_concern || taken.contains(&decided.command_id.as_str()) {
                continue;
            }
            let Some(rejection) = rejection(decided) else {
                continue;
            };
            if correlation_id.is_none() && !names(&rejection, self.order_id) {
                continue;
            }
            taken.push(&decided.command_id);
            let reason = rejection["reason"].as_str().unwrap_or("?").to_owned();
            let what = (Kind::RejectedCommand, &*reason);
            let correlation_id = correlation_id.cloned().unwrap_or_default();
            let cause = (decided.command_id.clone(), correlation_id);
            self.journaled(Context::Checkout, (record, journal), what, cause, rejection);
        }
    }
}

/// The rejection, if the command was refused.
fn rejection(decided: &DecidedCommand) -> Option<Value> {
    let mut outcome: Value = serde_json::from_str(&decided.outcome).ok()?;
    outcome.get_mut("rejected").map(Value::take)
}

/// Whether a rejection says that it is about this order or the cart that it was: in its data, or in its
/// sentence.
fn names(rejection: &Value, order_id: &str) -> bool {
    let data = &rejection["data"];
    if data["order_id"] == order_id || data["cart_id"] == order_id {
        return true;
    }
    let detail = rejection["detail"].as_str().unwrap_or_default();
    ["order", "cart"].iter().any(|kind| {
        let named = format!("{kind} {order_id}");
        detail.match_indices(&named).any(|(at, _)| {
            // Not the beginning of a longer id.
            let rest = detail[at + named.len()..].split(char::is_whitespace);
            let rest = rest.take(1).collect::<String>();
            rest.is_empty() || OrderId::new(rest).is_err()
        })
    })
}

fn transaction(journal: &JournalRecord, fact: &Fact) -> Transaction {
    let decided = journal
        .decided
        .iter()
        .find(|decided| decided.command_id == fact.command_id);
    Transaction {
        number: journal.transaction,
        writer_epoch: journal.writer_epoch,
        decided_at: journal.decided_at,
        commit_ms: match fact.kind {
            Kind::Message => ms(fact.recorded_at, journal.decided_at),
            _ => ms(journal.decided_at, fact.recorded_at),
        },
        idempotency_key: decided.and_then(|decided| decided.idempotency_key.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_names_an_order_as_a_whole_word() {
        let said = |detail: &str| names(&json!({ "detail": detail, "data": {} }), "o-1");
        assert!(said("order o-1 is cancelled"));
        assert!(said("all of order o-1 has been shipped"));
        assert!(said("there is no cart o-1"));
        assert!(!said("order o-12 is cancelled"));
        assert!(!said("order o-1:2 is cancelled"));
        assert!(!said("the version is o-1"));
        let data = json!({ "detail": "the cart is closed", "data": { "order_id": "o-1" } });
        assert!(names(&data, "o-1") && !names(&data, "o-12"));
    }
}
