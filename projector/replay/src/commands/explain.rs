//! `explain`: why something is what it is.

use std::collections::BTreeSet;

use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;
use crate::explain::{Explanation, Fact, Kind, explain};
use crate::output::table;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The causal timeline of an order, across contexts, shards and messages.
    Order {
        /// The order's id, which is its cart's.
        id: String,
    },
}

/// Reads the log itself; refused when it holds nothing of the order.
///
/// # Errors
/// When the log or the registry does not answer.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let What::Order { id } = &arguments.what;
    let explanation = explain(&context.log()?, &context.codec()?, id)?;
    context.output.result(&explanation, text);
    Ok(match explanation.facts.iter().any(is_of_the_order) {
        true => Exit::Done,
        false => Exit::Refused,
    })
}

fn is_of_the_order(fact: &Fact) -> bool {
    fact.kind != Kind::Unread
}

/// The command, message or timer, and the key that its caller gave it.
fn who(fact: &Fact) -> String {
    let transaction = fact.transaction.as_ref();
    match transaction.and_then(|of| of.idempotency_key.as_ref()) {
        Some(key) => format!("{} (key {key})", fact.command_id),
        None => fact.command_id.clone(),
    }
}

fn text(explanation: &Explanation) -> String {
    if explanation.facts.is_empty() {
        return format!("the log holds nothing of {}", explanation.order_id);
    }
    let rows: Vec<Vec<String>> = explanation
        .facts
        .iter()
        .map(|fact| {
            let transaction = fact.transaction.as_ref();
            vec![
                fact.recorded_at.to_string(),
                format!("+{} ms", fact.since_previous_ms),
                format!("{} {}", fact.context, fact.kind.word()),
                fact.type_name.clone(),
                fact.subject.clone(),
                format!("{}[{}]@{}", fact.topic, fact.partition, fact.offset),
                fact.seq.map_or(String::new(), |seq| seq.to_string()),
                transaction.map_or(String::new(), |of| {
                    format!("t{} e{}", of.number, of.writer_epoch)
                }),
                who(fact),
            ]
        })
        .collect();
    let header = [
        "recorded at",
        "after",
        "where",
        "what",
        "of",
        "position",
        "seq",
        "transaction",
        "caused by",
    ];
    let last = explanation.facts.last();
    let correlations = explanation.facts.iter();
    let correlations: BTreeSet<&str> = correlations
        .map(|fact| fact.correlation_id.as_str())
        .filter(|id| !id.is_empty())
        .collect();
    let correlation = Vec::from_iter(correlations).join(", ");
    let took = last.map_or(0, |fact| fact.since_first_ms);
    format!(
        "{}\n\n{} facts over {took} ms; goes back to {correlation}; {} records read",
        table(&header, &rows),
        explanation.facts.len(),
        explanation.records_read,
    )
}

#[cfg(test)]
mod tests {
    use cartwright_events::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::explain::Transaction;

    fn fact(type_name: &str, offset: u64, second: i64) -> Fact {
        Fact {
            kind: Kind::Event,
            context: "checkout",
            type_name: type_name.to_owned(),
            subject: "o-1".to_owned(),
            topic: "checkout.order.events.v1".to_owned(),
            partition: 3,
            offset,
            seq: Some(offset / 2),
            recorded_at: Timestamp::from_micros(second * 1_000_000),
            since_first_ms: (second - 1) * 1_000,
            since_previous_ms: (second - 1) * 1_000,
            command_id: "c-1".to_owned(),
            correlation_id: "r-1".to_owned(),
            transaction: Some(Transaction {
                number: offset,
                writer_epoch: 4,
                decided_at: Timestamp::EPOCH,
                commit_ms: 0,
                idempotency_key: Some("mine".to_owned()),
            }),
            sender: None,
            details: json!({}),
        }
    }

    #[test]
    fn people_read_what_happened_where_and_why_line_by_line() {
        let created = fact("OrderCreated", 10, 1);
        let mut expired = fact("OrderExpired", 14, 901);
        expired.command_id = "timer:o-1".to_owned();
        expired.correlation_id.clone_from(&expired.command_id);
        let by_nobody = |of: Transaction| Transaction {
            idempotency_key: None,
            ..of
        };
        expired.transaction = expired.transaction.map(by_nobody);
        let explanation = Explanation {
            order_id: "o-1".to_owned(),
            facts: vec![created, expired],
            records_read: 17,
        };
        let expected = [
            "recorded at           after       where           what          of   \
             position                        seq  transaction  caused by",
            "1970-01-01T00:00:01Z  +0 ms       checkout event  OrderCreated  o-1  \
             checkout.order.events.v1[3]@10    5  t10 e4       c-1 (key mine)",
            "1970-01-01T00:15:01Z  +900000 ms  checkout event  OrderExpired  o-1  \
             checkout.order.events.v1[3]@14    7  t14 e4       timer:o-1",
            "",
            "2 facts over 900000 ms; goes back to r-1, timer:o-1; 17 records read",
        ];
        assert_eq!(text(&explanation).lines().collect::<Vec<_>>(), expected);
        let nothing = Explanation {
            facts: Vec::new(),
            ..explanation
        };
        assert_eq!(text(&nothing), "the log holds nothing of o-1");
    }
}
