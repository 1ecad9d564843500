//! The AsyncAPI 3 document of the public topics, made from the declaration, the schemas and the
//! examples.

use std::collections::BTreeMap;

use cartwright_events::Event;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::topology::{Kind, Topic, TopicSchema, Topology};
use crate::versions::{self, VersionError};

/// Avro as AsyncAPI names it.
const SCHEMA_FORMAT: &str = "application/vnd.apache.avro+json;version=1.9.0";

/// The document cannot be made.
#[derive(Debug, Error)]
pub enum AsyncApiError {
    /// Examples cannot be read.
    #[error(transparent)]
    Examples(#[from] VersionError),
    /// A schema is no JSON.
    #[error("schema {name}: {source}")]
    Schema {
        /// The schema.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// It cannot be written as YAML.
    #[error(transparent)]
    Yaml(#[from] serde_yaml_ng::Error),
}

/// The document, as YAML.
///
/// # Errors
/// [`AsyncApiError`].
pub fn document(topology: &Topology) -> Result<String, AsyncApiError> {
    let examples = versions::examples(&topology.schemas)?;
    let public: Vec<(&Topic, &TopicSchema)> = topology
        .topics
        .iter()
        .filter(|topic| topic.kind == Kind::Events)
        .filter_map(|topic| topic.schema.as_ref().map(|schema| (topic, schema)))
        .collect();
    let mut channels = Map::new();
    let mut operations = Map::new();
    let mut messages = Map::new();
    let mut schemas = Map::new();
    for (topic, schema) in public {
        let id = identifier(&topic.name);
        let parsed: Value =
            serde_json::from_str(&schema.text).map_err(|source| AsyncApiError::Schema {
                name: schema.name.clone(),
                source,
            })?;
        channels.insert(id.clone(), channel(topic, &id));
        operations.insert(format!("{id}Send"), operation(topic, &id));
        messages.insert(id.clone(), message(topic, &id, &parsed, &examples));
        schemas.insert(
            id,
            json!({ "schemaFormat": SCHEMA_FORMAT, "schema": parsed }),
        );
    }
    let document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Cartwright events",
            "version": "1.0.0",
            "description": "What happens in the shop, as facts in Kafka. Consumers read with \
                `isolation.level=read_committed`. Rules for consumers: docs/contracts/topics.md. \
                Made by `cartwright-topics asyncapi`; do not edit.",
            "license": { "name": "Apache-2.0" }
        },
        "defaultContentType": "avro/binary",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas,
            "messageTraits": { "envelope": { "headers": headers() } }
        }
    });
    Ok(serde_yaml_ng::to_string(&sorted(document))?)
}

/// With members in the order of their names, so that the same sources give the same text however
/// the JSON library was built.
fn sorted(value: Value) -> serde_yaml_ng::Value {
    match value {
        Value::Object(members) => {
            let by_name: BTreeMap<_, _> = members.into_iter().collect();
            let pairs = by_name
                .into_iter()
                .map(|(name, value)| (name.into(), sorted(value)));
            serde_yaml_ng::Value::Mapping(pairs.collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::String(text) => text.into(),
        Value::Bool(is_set) => is_set.into(),
        Value::Null => serde_yaml_ng::Value::Null,
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64().unwrap_or_default().into(),
        },
    }
}

/// `checkout.order.events.v1` → `checkoutOrderEventsV1`.
fn identifier(topic: &str) -> String {
    let mut parts = topic.split('.');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |id, part| {
        let mut letters = part.chars();
        let head = letters.next().map(|c| c.to_ascii_uppercase());
        id + &head.into_iter().chain(letters).collect::<String>()
    })
}

fn channel(topic: &Topic, id: &str) -> Value {
    json!({
        "address": topic.name,
        "description": topic.description,
        "messages": { id: { "$ref": format!("#/components/messages/{id}") } },
        "bindings": { "kafka": {
            "topic": topic.name,
            "partitions": topic.partitions,
            "replicas": topic.replication_factor,
            "topicConfiguration": topic_configuration(&topic.config),
            "bindingVersion": "0.5.0"
        } }
    })
}

/// The settings that AsyncAPI's Kafka binding has names for.
fn topic_configuration(config: &BTreeMap<String, String>) -> Value {
    let mut shown = Map::new();
    if let Some(policy) = config.get("cleanup.policy") {
        let policies: Vec<_> = policy.split(',').collect();
        shown.insert("cleanup.policy".to_owned(), json!(policies));
    }
    for key in ["retention.ms", "retention.bytes", "max.message.bytes"] {
        if let Some(number) = config.get(key).and_then(|value| value.parse::<i64>().ok()) {
            shown.insert(key.to_owned(), json!(number));
        }
    }
    Value::Object(shown)
}

fn operation(topic: &Topic, id: &str) -> Value {
    json!({
        "action": "send",
        "channel": { "$ref": format!("#/channels/{id}") },
        "summary": topic.description,
        "messages": [{ "$ref": format!("#/channels/{id}/messages/{id}") }]
    })
}

fn message(topic: &Topic, id: &str, schema: &Value, examples: &[(String, Event)]) -> Value {
    let types: Vec<_> = examples
        .iter()
        .filter(|(_, event)| event.body.stream().topic() == topic.name)
        .collect();
    let shown: Vec<_> = types
        .iter()
        .map(|(name, event)| {
            json!({
                "name": name,
                "summary": branch_doc(schema, name),
                "headers": example_headers(event),
                "payload": example_payload(event)
            })
        })
        .collect();
    json!({
        "name": schema["name"],
        "title": topic.description,
        "description": schema["doc"],
        "contentType": "avro/binary",
        "traits": [{ "$ref": "#/components/messageTraits/envelope" }],
        "payload": { "$ref": format!("#/components/schemas/{id}") },
        "bindings": { "kafka": {
            "key": { "type": "string", "description": format!("UTF-8: {}", topic.key) },
            "schemaIdLocation": "payload",
            "schemaIdPayloadEncoding": "confluent",
            "schemaLookupStrategy": "TopicIdStrategy",
            "bindingVersion": "0.5.0"
        } },
        "examples": shown
    })
}

/// What the schema says of an event type.
fn branch_doc(schema: &Value, type_name: &str) -> Value {
    let fields = schema["fields"].as_array().into_iter().flatten();
    let branch = |field: &Value| field["type"].get(1).cloned();
    fields
        .filter_map(branch)
        .find(|branch| branch["name"] == type_name)
        .map_or(Value::Null, |branch| branch["doc"].clone())
}

/// The flat record's head and the branch that is set; the others are null.
fn example_payload(event: &Event) -> Value {
    let mut payload = serde_json::to_value(event).unwrap_or_default();
    if let Some(object) = payload.as_object_mut() {
        object.remove("type");
        let data = object.remove("data").unwrap_or_default();
        object.insert(snake_case(event.body.type_name()), data);
    }
    payload
}

fn snake_case(type_name: &str) -> String {
    let mut out = String::new();
    for letter in type_name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

fn example_headers(event: &Event) -> Value {
    let stream = event.body.stream();
    json!({
        "ce_id": format!("{}/1/4711", stream.topic()),
        "ce_type": event.body.type_name(),
        "ce_source": format!("/cartwright/{}/1", stream.context().name()),
        "ce_time": event.occurred_at.to_string(),
        "ce_specversion": "1.0",
        "seq": "4711",
        "writer_epoch": "12"
    })
}

fn headers() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "type": "object",
        "required": ["ce_id", "ce_type", "ce_source", "ce_time", "ce_specversion", "seq",
            "writer_epoch"],
        "properties": {
            "ce_id": text("Unique id of the event: <topic>/<partition>/<seq>."),
            "ce_type": text("Type of the event: the name of the branch's record."),
            "ce_source": text("Who wrote it: /cartwright/<context>/<partition>."),
            "ce_time": text("Business time, RFC 3339."),
            "ce_specversion": json!({ "type": "string", "const": "1.0" }),
            "traceparent": text("W3C trace context."),
            "seq": text("Decimal; dense per topic-partition from 1: a gap is a lost record."),
            "writer_epoch": text("Decimal; rises with every change of the partition's writer."),
            "command_id": text("The command that caused it."),
            "correlation_id": text("The request that everything in the chain goes back to.")
        }
    })
}
