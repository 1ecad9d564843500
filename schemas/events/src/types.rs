//! Identifiers, currency and time: the small types that every event is made of.
//!
//! Each carries its rule in its constructor, so a value that exists is a value that is allowed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::wire::{DecodeError, Wire};

/// A text breaks the rule of its type.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{type_name} {rule}")]
pub struct InvalidText {
    /// Which type, in words of the contract (`sku`, `currency`, …).
    pub type_name: &'static str,
    /// What the rule is.
    pub rule: &'static str,
}

macro_rules! text_type {
    ($(#[$meta:meta])* $name:ident, $type_name:literal, $rule:literal, $check:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes `text` if it keeps the type's rule.
            ///
            /// # Errors
            /// [`InvalidText`] names the rule.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidText> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) {
                    Ok(Self(text))
                } else {
                    Err(InvalidText { type_name: $type_name, rule: $rule })
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidText;
            fn try_from(text: String) -> Result<Self, InvalidText> { Self::new(text) }
        }

        impl FromStr for $name {
            type Err = InvalidText;
            fn from_str(text: &str) -> Result<Self, InvalidText> { Self::new(text) }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String { value.0 }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str { &self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }

        impl Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) { self.0.encode(out) }
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                Self::new(String::decode(input)?).map_err(|invalid| DecodeError::Invalid {
                    type_name: invalid.type_name,
                    rule: invalid.rule.to_owned(),
                })
            }
        }
    };
}

/// Letters, digits and `-_.:~`, as in a URL path segment without escapes.
fn is_id(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:~".contains(&b))
}

/// One line of printable text with no white space at its ends.
fn is_line(text: &str, most_chars: usize) -> bool {
    !text.is_empty()
        && text.trim() == text
        && text.chars().count() <= most_chars
        && !text.chars().any(char::is_control)
}

text_type!(
    /// A product's stock keeping unit: the key of a product and of its stock.
    Sku, "sku", "must be 1 to 64 printable characters with no white space at its ends",
    |text| is_line(text, 64)
);
text_type!(
    /// A cart's id, chosen by the client or derived from its idempotency key.
    CartId, "cart_id", "must be 1 to 64 of A-Z a-z 0-9 - _ . : ~",
    |text| is_id(text, 64)
);
text_type!(
    /// An order's id: the id of the cart that it came from, so both live in one shard.
    OrderId, "order_id", "must be 1 to 64 of A-Z a-z 0-9 - _ . : ~",
    |text| is_id(text, 64)
);
text_type!(
    /// An opaque customer id. Never a name, an address or an e-mail: no event holds personal data.
    CustomerId, "customer_id", "must be 1 to 64 of A-Z a-z 0-9 - _ . : ~",
    |text| is_id(text, 64)
);
text_type!(
    /// A reference that a client chose for a thing that must happen once: a receipt, an adjustment,
    /// a payment, a payment operation, a shipment, a return, a cancellation.
    Reference, "reference", "must be 1 to 128 printable characters with no white space at its ends",
    |text| is_line(text, 128)
);
text_type!(
    /// An ISO 4217 currency code; amounts beside it are in its minor units.
    Currency, "currency", "must be three letters A-Z (ISO 4217)",
    |text| text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase())
);
text_type!(
    /// The country that an order ships to: a name or a code, as the shop writes it.
    Country, "ship_to_country", "must be 1 to 64 printable characters with no white space at its ends",
    |text| is_line(text, 64)
);

impl From<CartId> for OrderId {
    fn from(cart: CartId) -> OrderId {
        OrderId(cart.0)
    }
}

impl From<OrderId> for CartId {
    fn from(order: OrderId) -> CartId {
        CartId(order.0)
    }
}

impl From<OrderId> for Reference {
    /// Every order id keeps the rule of a reference.
    fn from(order: OrderId) -> Reference {
        Reference(order.0)
    }
}

/// A moment in microseconds since 1970-01-01T00:00:00Z; RFC 3339 in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The start of 1970.
    pub const EPOCH: Timestamp = Timestamp(0);
    /// Exclusive bound of what is taken, a day before the year 10000: RFC 3339 has four digits of
    /// year, whatever the offset.
    const END_MICROS: i64 = 253_402_207_200_000_000;

    /// From microseconds since 1970, UTC, clamped to the years 1 to 9999.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(-62_135_596_800_000_000, Self::END_MICROS - 1))
    }

    /// Microseconds since 1970, UTC.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The wall clock's time.
    #[must_use]
    pub fn now() -> Self {
        Self::from_micros(jiff::Timestamp::now().as_microsecond())
    }

    /// This moment and `millis` milliseconds, within the range of years.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_micros(self.0.saturating_add(millis.saturating_mul(1000)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidText;

    /// Reads RFC 3339 with an offset; finer than a microsecond is cut off.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let invalid = InvalidText {
            type_name: "time",
            rule: "must be RFC 3339 with an offset, e.g. 2011-01-31T09:30:00Z, in the years 1 to 9999",
        };
        let parsed: jiff::Timestamp = text.parse().map_err(|_| invalid.clone())?;
        let exact = Self::from_micros(parsed.as_microsecond());
        if exact.0 == parsed.as_microsecond() {
            Ok(exact)
        } else {
            Err(invalid)
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Wire for Timestamp {
    /// As an Avro `timestamp-micros`.
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        i64::decode(input).map(Self::from_micros)
    }
}
