//! Every example of the schemas through every fold.
//!
//! The snapshots are what each projection makes of each event: a change of a fold shows there.

#[path = "examples/pinned.rs"]
mod pinned;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use cartwright_events::{Envelope, Event, EventBody, Timestamp};
use cartwright_folds::{Outcome, fold_of};
use cartwright_read_model::PROJECTIONS;
use cartwright_read_model::tables::OLDER;
use proptest::prelude::*;
use serde_json::Value as Json;

fn example_texts() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/avro/examples");
    let entries = std::fs::read_dir(&folder).expect("the examples' folder");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy();
            let text = std::fs::read_to_string(&path).expect("an example");
            (name.into_owned(), text)
        })
        .collect()
}

fn parse(name: &str, text: &str) -> Event {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn envelope(event: &Event, seq: u64) -> Envelope {
    Envelope {
        stream: event.body.stream(),
        partition: 1,
        offset: seq * 2,
        seq,
        writer_epoch: 1,
        recorded_at: Timestamp::from_micros(1_780_000_000_000_000),
        command_id: "cmd-1".to_owned(),
        correlation_id: "req-1".to_owned(),
        traceparent: None,
    }
}

/// What each projection that consumes the event's stream makes of it, in its newest version and in
/// those before that are still declared.
fn outcomes(event: &Event, seq: u64) -> BTreeMap<String, Outcome> {
    let stream = event.body.stream();
    let newest = PROJECTIONS
        .into_iter()
        .map(|each| (each.name.to_owned(), each));
    let older = OLDER.into_iter();
    let older = older.map(|each| (format!("{}@{}", each.name, each.version), each));
    newest
        .chain(older)
        .filter(|(_, projection)| projection.streams.contains(&stream))
        .map(|(label, projection)| {
            let fold = fold_of(projection).expect("a fold");
            (label, fold(&envelope(event, seq), event))
        })
        .collect()
}

#[test]
fn every_event_type_has_an_example() {
    use cartwright_events::{cart, catalog, inventory, order};
    let names: BTreeSet<String> = example_texts().into_keys().collect();
    let types = [
        catalog::ProductEvent::TYPE_NAMES,
        inventory::StockEvent::TYPE_NAMES,
        cart::CartEvent::TYPE_NAMES,
        order::OrderEvent::TYPE_NAMES,
    ];
    for name in types.concat() {
        assert!(names.contains(name), "{name} has no example");
    }
}

#[test]
fn examples_fold_to_the_rows_in_the_snapshots() {
    for (name, text) in example_texts() {
        let event = parse(&name, &text);
        insta::assert_json_snapshot!(name, outcomes(&event, 42));
    }
}

#[test]
fn no_example_is_rejected() {
    for (name, text) in example_texts() {
        for (projection, outcome) in outcomes(&parse(&name, &text), 42) {
            let rejected = matches!(outcome, Outcome::Reject(_));
            assert!(!rejected, "{projection} rejects {name}: {outcome:?}");
        }
    }
}

#[test]
fn an_event_of_another_stream_is_rejected() {
    for (name, text) in example_texts() {
        let event = parse(&name, &text);
        for projection in PROJECTIONS {
            if !projection.streams.contains(&event.body.stream()) {
                let fold = fold_of(projection).expect("a fold");
                let outcome = fold(&envelope(&event, 1), &event);
                let rejected = matches!(outcome, Outcome::Reject(_));
                assert!(rejected, "{} takes {name}", projection.name);
            }
        }
    }
}

/// Puts other numbers, flags and list lengths into an example, from a seed.
fn vary(json: &mut Json, seed: &mut u64) {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    let drawn = *seed >> 33;
    match json {
        Json::Number(number) => {
            *number = match drawn % 8 {
                0 => i64::MAX.into(),
                1 => 0.into(),
                _ => (drawn % 5 + 1).into(),
            };
        }
        Json::Bool(flag) => *flag = drawn.is_multiple_of(2),
        Json::Array(items) => {
            if let Some(first) = items.first().cloned() {
                items.resize((drawn % 14) as usize, first);
            }
            items.iter_mut().for_each(|item| vary(item, seed));
            // No event names a line twice.
            for (index, item) in items.iter_mut().enumerate() {
                if let Some(line) = item.get_mut("line") {
                    *line = (index + 1).into();
                }
            }
        }
        Json::Object(fields) => fields.values_mut().for_each(|field| vary(field, seed)),
        Json::String(_) | Json::Null => {}
    }
}

/// An example with other contents; `None` when they no longer are an event (a line number that is
/// too large, say).
fn varied(text: &str, mut seed: u64) -> Option<Event> {
    let mut json: Json = serde_json::from_str(text).expect("JSON");
    vary(&mut json["data"], &mut seed);
    serde_json::from_value(json).ok()
}

proptest! {
    #[test]
    fn folds_write_each_row_at_most_once_and_only_what_its_table_takes(
        seed in any::<u64>(), seq in 1_u64..1_000_000,
    ) {
        for (name, text) in example_texts() {
            let Some(event) = varied(&text, seed) else { continue };
            for (projection, outcome) in outcomes(&event, seq) {
                let Outcome::Emit(ops) = outcome else { continue };
                let mut rows = HashSet::new();
                for op in &ops {
                    prop_assert_eq!(op.check(), Ok(()), "{} of {}", projection, &name);
                    let row = (op.table().name, op.key().to_vec());
                    prop_assert!(rows.insert(row), "{} of {}: a row twice", projection, &name);
                }
            }
        }
    }

    #[test]
    fn the_same_event_always_folds_to_the_same_rows(seed in any::<u64>()) {
        for text in example_texts().values() {
            let Some(event) = varied(text, seed) else { continue };
            prop_assert_eq!(outcomes(&event, 7), outcomes(&event, 7));
        }
    }

    #[test]
    fn only_timelines_know_an_events_seq(seed in any::<u64>(), seq in 1_u64..1_000) {
        for text in example_texts().values() {
            let Some(event) = varied(text, seed) else { continue };
            let (mut one, mut other) = (outcomes(&event, seq), outcomes(&event, seq + 1));
            let differs = one.remove("timeline") != other.remove("timeline");
            let consumed = matches!(event.body, EventBody::Cart(_) | EventBody::Order(_));
            prop_assert_eq!(differs, consumed);
            let differs = one.remove("causal") != other.remove("causal");
            let names_an_order = match &event.body {
                EventBody::Stock(stock) => stock.order_id().is_some(),
                _ => consumed,
            };
            prop_assert_eq!(differs, names_an_order);
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn a_refunds_shares_keep_their_sum(
        shares in proptest::collection::vec((1_u32..4, 0_i64..1_000_000), 1..30),
    ) {
        let text = &example_texts()["OrderPaymentRefunded"];
        let mut json: Json = serde_json::from_str(text).expect("JSON");
        let share = |(line, amount): &(u32, i64)| serde_json::json!({
            "line": line, "sku": format!("S{line}"), "amount_minor": amount,
        });
        json["data"]["shares"] = shares.iter().map(share).collect();
        let event: Event = serde_json::from_value(json).expect("an event");
        let Some(Outcome::Emit(ops)) = outcomes(&event, 1).remove("sales") else {
            return Err(TestCaseError::fail("not emitted"));
        };
        let rows = serde_json::to_value(&ops).expect("JSON");
        let rows = rows.as_array().expect("a list");
        let sum: i64 = rows.iter().map(|row| row["cells"]["amount_minor"].as_i64().unwrap_or(0)).sum();
        prop_assert_eq!(sum, shares.iter().map(|(_, amount)| amount).sum::<i64>());
        let lines: BTreeSet<u32> = shares.iter().map(|(line, _)| *line).collect();
        prop_assert_eq!(rows.len(), lines.len());
    }
}
