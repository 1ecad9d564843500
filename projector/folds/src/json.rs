//! Structured cells.

use cartwright_read_model::Value;
use serde::Serialize;
use serde_json::{Map, Value as Json};

/// Lists longer than this are shown in summaries by their length only.
const MOST_LISTED: usize = 10;

/// The value as a structured cell.
pub(crate) fn cell(value: &impl Serialize) -> Value {
    // Event types serialize to plain objects and lists: this cannot fail for them, and would show
    // as an invalid cell, which rejects the event, if it did.
    serde_json::to_value(value).map_or(Value::Unset, Value::Json)
}

/// What an event says, for people: `null`s are left out, and a long list is replaced by its length
/// under its name with `_count`.
pub(crate) fn summary(event: &impl Serialize) -> Value {
    let data = match serde_json::to_value(event) {
        Ok(Json::Object(mut fields)) => fields.remove("data"),
        _ => None,
    };
    let Some(Json::Object(data)) = data else {
        return Value::Json(Json::Object(Map::new()));
    };
    let short = data.into_iter().filter_map(|(name, value)| match value {
        Json::Null => None,
        Json::Array(items) if items.len() > MOST_LISTED => {
            Some((format!("{name}_count"), Json::from(items.len())))
        }
        value => Some((name, value)),
    });
    Value::Json(Json::Object(short.collect()))
}
