//! The other road to the same bytes: a value's JSON, put into an Avro value tree by the schema's
//! field names, and written by a general-purpose Avro library.

use std::collections::HashMap;
use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::schema::{Name, ResolvedSchema};
use apache_avro::types::Value;
use serde_json::Value as Json;

use crate::{Event, Message, SchemaTopic, Timestamp};

/// The built-in schema of `topic`, parsed once.
pub(super) fn schema(topic: SchemaTopic) -> &'static Schema {
    static PARSED: LazyLock<Vec<(SchemaTopic, Schema)>> = LazyLock::new(|| {
        SchemaTopic::ALL
            .map(|topic| (topic, Schema::parse_str(topic.schema()).unwrap()))
            .into()
    });
    let found = PARSED.iter().find(|(known, _)| *known == topic);
    &found.unwrap().1
}

/// The Avro value of `json` under `schema`. Panics when a field is missing on either side.
pub(super) fn value(schema: &Schema, json: &Json) -> Value {
    let resolved = ResolvedSchema::try_from(schema).unwrap();
    convert(schema, json, resolved.get_names())
}

fn convert(schema: &Schema, json: &Json, names: &HashMap<Name, &Schema>) -> Value {
    match schema {
        Schema::Ref { name } => {
            // Every record of a topic is in its topic's namespace.
            let (_, found) = names
                .iter()
                .find(|(known, _)| known.name == name.name)
                .unwrap();
            convert(found, json, names)
        }
        Schema::Record(record) => {
            let object = json.as_object().unwrap();
            for key in object.keys() {
                assert!(
                    record.lookup.contains_key(key),
                    "{} has no field {key}",
                    record.name.name
                );
            }
            let fields = record.fields.iter().map(|field| {
                let json = object
                    .get(&field.name)
                    .unwrap_or_else(|| panic!("{} lacks {}", record.name.name, field.name));
                (field.name.clone(), convert(&field.schema, json, names))
            });
            Value::Record(fields.collect())
        }
        Schema::Union(union) => {
            assert_eq!(union.variants().len(), 2);
            assert_eq!(union.variants()[0], Schema::Null);
            if json.is_null() {
                Value::Union(0, Box::new(Value::Null))
            } else {
                Value::Union(1, Box::new(convert(&union.variants()[1], json, names)))
            }
        }
        Schema::Array(array) => {
            let items = json.as_array().unwrap().iter();
            Value::Array(
                items
                    .map(|json| convert(&array.items, json, names))
                    .collect(),
            )
        }
        Schema::String => Value::String(json.as_str().unwrap().to_owned()),
        Schema::Long => Value::Long(json.as_i64().unwrap()),
        Schema::Boolean => Value::Boolean(json.as_bool().unwrap()),
        Schema::TimestampMicros => {
            let time: Timestamp = json.as_str().unwrap().parse().unwrap();
            Value::TimestampMicros(time.as_micros())
        }
        other => panic!("the contract has no {other:?}"),
    }
}

/// `ProductPriceChanged` → `product_price_changed`.
pub(super) fn branch_name(type_name: &str) -> String {
    let mut out = String::new();
    for letter in type_name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// The flat record's JSON: the head, and one member per branch of which one is set.
pub(super) fn flat_event(event: &Event) -> Json {
    let mut json = serde_json::to_value(event).unwrap();
    let object = json.as_object_mut().unwrap();
    let type_name = object.remove("type").unwrap();
    let data = object.remove("data").unwrap();
    let stream = event.body.stream();
    for branch in type_names(stream) {
        object.insert(branch_name(branch), Json::Null);
    }
    object.insert(branch_name(type_name.as_str().unwrap()), data);
    json
}

/// [`flat_event`] of a message.
pub(super) fn flat_message(message: &Message) -> Json {
    let mut json = serde_json::to_value(message).unwrap();
    let object = json.as_object_mut().unwrap();
    let type_name = object.remove("type").unwrap();
    let data = object.remove("data").unwrap();
    for branch in Message::TYPE_NAMES {
        object.insert(branch_name(branch), Json::Null);
    }
    object.insert(branch_name(type_name.as_str().unwrap()), data);
    json
}

/// The types that a stream's record has branches for.
pub(super) fn type_names(stream: crate::Stream) -> &'static [&'static str] {
    match stream {
        crate::Stream::Product => crate::catalog::ProductEvent::TYPE_NAMES,
        crate::Stream::Stock => crate::inventory::StockEvent::TYPE_NAMES,
        crate::Stream::Cart => crate::cart::CartEvent::TYPE_NAMES,
        crate::Stream::Order => crate::order::OrderEvent::TYPE_NAMES,
    }
}
