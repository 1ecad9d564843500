//! What a cell can hold.

use serde::Serialize;
use smol_str::SmolStr;

use cartwright_events::Timestamp;

/// A cell's value, in any store.
///
/// There is no null: a cell that an event says nothing about is left alone ([`Value::Unset`]), and
/// in Cassandra a written null would be a tombstone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Nothing is said about the cell; it stays as it is.
    Unset,
    /// Text: identifiers, words, names. Up to 23 bytes of it take no memory of their own, and longer ones, as
    /// many ids are, are shared by the values cloned from one: a rebuild makes millions.
    Text(SmolStr),
    /// A 64-bit integer: amounts in minor units, units, versions, seqs.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// A moment, to the microsecond.
    Time(Timestamp),
    /// Structured data that is read as a whole.
    Json(serde_json::Value),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Int(i64::from(number))
    }
}

impl From<u64> for Value {
    /// Counts of events and versions; a log never holds more than `i64::MAX` of them.
    fn from(number: u64) -> Self {
        Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Bool(flag)
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Value::Time(time)
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        Value::Json(json)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Unset, Into::into)
    }
}

macro_rules! from_text_type {
    ($($name:ident),*) => {$(
        impl From<&cartwright_events::$name> for Value {
            fn from(text: &cartwright_events::$name) -> Self {
                Value::Text(text.as_str().into())
            }
        }
    )*};
}
from_text_type!(
    Sku, CartId, OrderId, CustomerId, Reference, Currency, Country
);
