//! Rows as they come from a store, and typed rows made from them.

use cartwright_events::Timestamp;
use serde::de::DeserializeOwned;

use crate::schema::Table;
use crate::value::Value;

/// A row of any store: the values of [`Table::columns`], in their order; [`Value::Unset`] for what
/// was never written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The table.
    pub table: &'static Table,
    /// One value per column.
    pub values: Vec<Value>,
}

impl Row {
    /// The value of the column called `name`; [`Value::Unset`] where there is none.
    #[must_use]
    pub fn value(&self, name: &str) -> &Value {
        // A field called `type` is written `r#type` in Rust.
        let name = name.trim_start_matches("r#");
        self.table
            .columns()
            .position(|column| column.name == name)
            .and_then(|index| self.values.get(index))
            .unwrap_or(&Value::Unset)
    }
}

/// A type that a cell can be read as.
pub trait FromCell: Sized {
    /// The value, or `None` when the cell does not hold one of this type.
    fn from_cell(value: &Value) -> Option<Self>;
}

impl FromCell for String {
    fn from_cell(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.to_string()),
            _ => None,
        }
    }
}

impl FromCell for i64 {
    fn from_cell(value: &Value) -> Option<Self> {
        match value {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }
}

impl FromCell for u64 {
    fn from_cell(value: &Value) -> Option<Self> {
        i64::from_cell(value).and_then(|number| number.try_into().ok())
    }
}

impl FromCell for u32 {
    fn from_cell(value: &Value) -> Option<Self> {
        i64::from_cell(value).and_then(|number| number.try_into().ok())
    }
}

impl FromCell for bool {
    fn from_cell(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }
}

impl FromCell for Timestamp {
    fn from_cell(value: &Value) -> Option<Self> {
        match value {
            Value::Time(time) => Some(*time),
            _ => None,
        }
    }
}

impl FromCell for serde_json::Value {
    fn from_cell(value: &Value) -> Option<Self> {
        match value {
            Value::Json(json) => Some(json.clone()),
            _ => None,
        }
    }
}

/// Lists are kept as structured data.
impl<T: DeserializeOwned> FromCell for Vec<T> {
    fn from_cell(value: &Value) -> Option<Self> {
        match value {
            Value::Json(json) => serde_json::from_value(json.clone()).ok(),
            _ => None,
        }
    }
}

impl<T: FromCell> FromCell for Option<T> {
    fn from_cell(value: &Value) -> Option<Self> {
        match value {
            Value::Unset => Some(None),
            value => T::from_cell(value).map(Some),
        }
    }
}

/// A struct with the columns of one table.
pub trait TypedRow: Sized {
    /// The table.
    const TABLE: &'static Table;
    /// The columns it reads, for the test that holds them against the table.
    const COLUMNS: &'static [&'static str];

    /// The typed row, or `None` when a cell that it needs was never written (an order that only
    /// ever got money has no lines, no currency and no customer).
    fn from_row(row: &Row) -> Option<Self>;
}

/// Declares a typed row: a struct whose fields are columns of a table. A field with `= value` takes
/// that value where the cell was never written.
macro_rules! typed_row {
    (
        $(#[$meta:meta])*
        pub struct $name:ident of $table:ident {
            $($(#[$field_meta:meta])* pub $field:ident : $type:ty $(= $default:expr)?),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type),* }

        impl $crate::row::TypedRow for $name {
            const TABLE: &'static $crate::schema::Table = &$crate::tables::$table;
            const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn from_row(row: &$crate::row::Row) -> Option<Self> {
                Some(Self { $($field: match row.value(stringify!($field)) {
                    $($crate::value::Value::Unset => $default,)?
                    value => $crate::row::FromCell::from_cell(value)?,
                }),* })
            }
        }
    };
}
pub(crate) use typed_row;
