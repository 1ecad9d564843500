//! Records of other versions: what an older writer wrote, and what a newer one will.

use apache_avro::{Schema, to_avro_datum};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::avro;
use super::generated::{Generated, any_event};
use crate::{Codec, CodecError, Context, Event, Message, SchemaTopic, Stream};

const OTHER_ID: u32 = 77;

/// The schema of `topic`, changed.
fn changed(topic: SchemaTopic, change: impl FnOnce(&mut Json)) -> String {
    let mut json = serde_json::from_str(topic.schema()).unwrap();
    change(&mut json);
    json.to_string()
}

/// The fields of a record in a schema.
fn fields(record: &mut Json) -> &mut Vec<Json> {
    record["fields"].as_array_mut().unwrap()
}

/// The record of a branch of a flat record.
fn branch<'a>(schema: &'a mut Json, name: &str) -> &'a mut Json {
    let field = fields(schema)
        .iter_mut()
        .find(|field| field["name"] == name)
        .unwrap();
    &mut field["type"][1]
}

/// A record of another version's schema with this content.
fn record(schema: &str, content: &Json) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    let mut record = crate::framing::start(OTHER_ID, 0);
    record.extend(to_avro_datum(&schema, avro::value(&schema, content)).unwrap());
    record
}

fn reader_of(writer: &str) -> Codec {
    Codec::in_memory([(OTHER_ID, writer.to_owned())])
}

fn order_cancelled() -> Event {
    serde_json::from_value(json!({
        "aggregate_id": "cart-1", "version": 4, "occurred_at": "2011-01-31T09:30:00.000001Z",
        "type": "OrderCancelled",
        "data": {
            "reason": "requested", "reference": "c-1", "note": "changed my mind",
            "refund_due_minor": 250
        }
    }))
    .unwrap()
}

const ORDER: SchemaTopic = SchemaTopic::Events(Stream::Order);

proptest! {
    /// A newer writer added an optional field to every record and a whole new branch at the end:
    /// what was there before is read as ever.
    #[test]
    fn what_a_newer_writer_added_is_left_out(event in any_event()) {
        let topic = SchemaTopic::Events(event.body.stream());
        let added = json!({ "name": "added", "type": ["null", "string"], "default": null });
        let writer = changed(topic, |schema| {
            for field in &mut fields(schema)[3..] {
                fields(&mut field["type"][1]).insert(0, added.clone());
            }
            fields(schema).push(json!({
                "name": "thing_added",
                "type": ["null", { "type": "record", "name": "ThingAdded", "fields": [
                    { "name": "what", "type": "string" }
                ] }],
                "default": null
            }));
        });
        let mut content = avro::flat_event(&event);
        for value in content.as_object_mut().unwrap().values_mut() {
            if let Some(body) = value.as_object_mut() {
                body.insert("added".into(), "news".into());
            }
        }
        content["thing_added"] = Json::Null;
        let read = reader_of(&writer).decode_event(event.body.stream(), &record(&writer, &content));
        prop_assert_eq!(read, Ok(event));
    }

    /// A named record that is referred to a second time survives resolution.
    #[test]
    fn a_message_of_another_version_is_read(message in Message::generated()) {
        let topic = SchemaTopic::Inbox(Context::Inventory);
        let writer = changed(topic, |schema| {
            fields(schema).push(json!({
                "name": "note", "type": ["null", "string"], "default": null
            }));
        });
        let mut content = avro::flat_message(&message);
        content["note"] = "hello".into();
        let read = reader_of(&writer).decode_message(Context::Inventory, &record(&writer, &content));
        prop_assert_eq!(read, Ok(message));
    }
}

#[test]
fn an_optional_field_that_an_older_writer_lacked_is_none() {
    let event = order_cancelled();
    let writer = changed(ORDER, |schema| {
        fields(branch(schema, "order_cancelled")).retain(|field| field["name"] != "note");
    });
    let mut content = avro::flat_event(&event);
    content["order_cancelled"]
        .as_object_mut()
        .unwrap()
        .remove("note");
    let read = reader_of(&writer)
        .decode_event(Stream::Order, &record(&writer, &content))
        .unwrap();
    let mut expected = serde_json::to_value(&event).unwrap();
    expected["data"]["note"] = Json::Null;
    assert_eq!(serde_json::to_value(&read).unwrap(), expected);
}

#[test]
fn a_branch_that_an_older_writer_lacked_does_no_harm() {
    let event = order_cancelled();
    let writer = changed(ORDER, |schema| {
        fields(schema).retain(|field| field["name"] != "order_expired");
    });
    let mut content = avro::flat_event(&event);
    content.as_object_mut().unwrap().remove("order_expired");
    let read = reader_of(&writer).decode_event(Stream::Order, &record(&writer, &content));
    assert_eq!(read, Ok(event));
}

#[test]
fn an_event_type_that_only_a_newer_writer_knows_stops_the_reader() {
    let event = order_cancelled();
    let writer = changed(ORDER, |schema| {
        let field = fields(schema)
            .iter_mut()
            .find(|field| field["name"] == "order_cancelled")
            .unwrap();
        field["name"] = "order_called_off".into();
        field["type"][1]["name"] = "OrderCalledOff".into();
    });
    let mut content = avro::flat_event(&event);
    let body = content
        .as_object_mut()
        .unwrap()
        .remove("order_cancelled")
        .unwrap();
    content["order_called_off"] = body;
    let read = reader_of(&writer).decode_event(Stream::Order, &record(&writer, &content));
    assert!(
        matches!(read, Err(CodecError::NewerWriter { .. })),
        "{read:?}"
    );
}

#[test]
fn a_schema_that_differs_only_in_words_needs_no_resolution() {
    let event = order_cancelled();
    let writer = changed(ORDER, |schema| schema["doc"] = "Other words.".into());
    let content = avro::flat_event(&event);
    let read = reader_of(&writer).decode_event(Stream::Order, &record(&writer, &content));
    assert_eq!(read, Ok(event));
}

#[test]
fn a_record_of_another_topic_is_malformed_and_not_newer() {
    let event = order_cancelled();
    let writer = ORDER.schema();
    let content = avro::flat_event(&event);
    let read = reader_of(writer).decode_event(Stream::Cart, &record(writer, &content));
    assert!(
        matches!(read, Err(CodecError::Malformed { .. })),
        "{read:?}"
    );
}

#[test]
fn a_record_of_another_version_cut_anywhere_is_malformed() {
    let event = order_cancelled();
    let writer = changed(ORDER, |schema| {
        fields(schema).push(json!({ "name": "note", "type": ["null", "string"], "default": null }));
    });
    let mut content = avro::flat_event(&event);
    content["note"] = "hello".into();
    let whole = record(&writer, &content);
    let codec = reader_of(&writer);
    for end in 0..whole.len() {
        let read = codec.decode_event(Stream::Order, &whole[..end]);
        assert!(
            matches!(read, Err(CodecError::Malformed { .. })),
            "{end}: {read:?}"
        );
    }
    let mut longer = whole;
    longer.push(0);
    let read = codec.decode_event(Stream::Order, &longer);
    assert!(
        matches!(read, Err(CodecError::Malformed { .. })),
        "{read:?}"
    );
}
