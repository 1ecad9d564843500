//! Avro's binary encoding, written straight to the schemas in `schemas/avro`.
//!
//! A generic Avro writer costs a dozen microseconds an event because it builds a value tree first;
//! these few impls write the same bytes from the types themselves. Field order here must be the
//! order in the schema, which the codec tests hold against a general-purpose Avro library.

use thiserror::Error;

/// Why bytes are not a value of the type that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ended inside a value.
    #[error("the record ends inside a value")]
    Truncated,
    /// Bytes were left over after the last field.
    #[error("{0} bytes follow the last field")]
    TrailingBytes(usize),
    /// A variable-length integer is longer than 64 bits.
    #[error("an integer is longer than 64 bits")]
    IntegerTooLong,
    /// A length or count is negative or larger than the input.
    #[error("a length of {0} does not fit the record")]
    BadLength(i64),
    /// A string is not UTF-8.
    #[error("a string is not valid UTF-8")]
    NotUtf8,
    /// A union index outside the union.
    #[error("union index {0} is unknown")]
    UnknownUnionIndex(i64),
    /// A value breaks a rule of its type.
    #[error("{type_name}: {rule}")]
    Invalid {
        /// The type whose rule is broken.
        type_name: &'static str,
        /// The rule.
        rule: String,
    },
    /// A word outside a closed set: the record is from a newer writer that knows more words.
    #[error("{type_name}: unknown word {word:?}")]
    UnknownWord {
        /// The set of words.
        type_name: &'static str,
        /// The word.
        word: String,
    },
    /// No event branch is set: the record is from a newer writer, and must never be skipped.
    #[error("no known event type is set: the record is from a newer writer")]
    NoBranch,
    /// More than one event branch is set.
    #[error("more than one event type is set")]
    ManyBranches,
}

/// A value with an Avro binary form.
pub trait Wire: Sized {
    /// Appends the value's Avro binary form.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads a value from the front of `input` and moves `input` past it.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not such a value.
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError>;

    /// Reads a value that must fill `input` exactly.
    ///
    /// # Errors
    /// [`DecodeError`], also when bytes are left over.
    fn decode_all(mut input: &[u8]) -> Result<Self, DecodeError> {
        let value = Self::decode(&mut input)?;
        match input.len() {
            0 => Ok(value),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }
}

fn take<'a>(input: &mut &'a [u8], length: i64) -> Result<&'a [u8], DecodeError> {
    let wanted = usize::try_from(length).map_err(|_| DecodeError::BadLength(length))?;
    if wanted > input.len() {
        return Err(DecodeError::BadLength(length));
    }
    let (head, tail) = input.split_at(wanted);
    *input = tail;
    Ok(head)
}

impl Wire for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut zigzag = ((self << 1) ^ (self >> 63)) as u64;
        while zigzag >= 0x80 {
            out.push((zigzag as u8) | 0x80);
            zigzag >>= 7;
        }
        out.push(zigzag as u8);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let mut zigzag = 0u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = input.split_first().ok_or(DecodeError::Truncated)?;
            *input = rest;
            if shift == 63 && byte > 1 {
                return Err(DecodeError::IntegerTooLong);
            }
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(((zigzag >> 1) as i64) ^ -((zigzag & 1) as i64));
            }
        }
        Err(DecodeError::IntegerTooLong)
    }
}

impl Wire for u64 {
    /// As an Avro `long`; values above `i64::MAX` never occur (they count events and positions).
    fn encode(&self, out: &mut Vec<u8>) {
        (*self as i64).encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let value = i64::decode(input)?;
        u64::try_from(value).map_err(|_| DecodeError::Invalid {
            type_name: "count",
            rule: format!("{value} is negative"),
        })
    }
}

impl Wire for u32 {
    /// As an Avro `long`.
    fn encode(&self, out: &mut Vec<u8>) {
        i64::from(*self).encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let value = i64::decode(input)?;
        u32::try_from(value).map_err(|_| DecodeError::Invalid {
            type_name: "number",
            rule: format!("{value} is outside 0..=4294967295"),
        })
    }
}

impl Wire for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match take(input, 1).map_err(|_| DecodeError::Truncated)? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(DecodeError::BadLength(
                other.first().copied().unwrap_or_default().into(),
            )),
        }
    }
}

impl Wire for String {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as i64).encode(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let length = i64::decode(input)?;
        let bytes = take(input, length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::NotUtf8)
    }
}

impl<T: Wire> Wire for Option<T> {
    /// As the Avro union `["null", T]`.
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => 0i64.encode(out),
            Some(value) => {
                1i64.encode(out);
                value.encode(out);
            }
        }
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match i64::decode(input)? {
            0 => Ok(None),
            1 => T::decode(input).map(Some),
            index => Err(DecodeError::UnknownUnionIndex(index)),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    /// As an Avro array: one block, then the empty block.
    fn encode(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            (self.len() as i64).encode(out);
            for item in self {
                item.encode(out);
            }
        }
        0i64.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let mut items = Vec::new();
        loop {
            let mut count = i64::decode(input)?;
            if count == 0 {
                return Ok(items);
            }
            if count < 0 {
                // A negative count is followed by the block's size in bytes.
                i64::decode(input)?;
                count = count.checked_neg().ok_or(DecodeError::BadLength(count))?;
            }
            // No item type is empty on the wire, so a count above the input is a lie.
            if count as u64 > input.len() as u64 {
                return Err(DecodeError::BadLength(count));
            }
            for _ in 0..count {
                items.push(T::decode(input)?);
            }
        }
    }
}

/// Declares a record: a struct whose Avro form is its fields in the order written.
#[macro_export]
macro_rules! wire_record {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type),* }

        impl $crate::wire::Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $($crate::wire::Wire::encode(&self.$field, out);)*
            }

            fn decode(input: &mut &[u8]) -> Result<Self, $crate::wire::DecodeError> {
                Ok(Self { $($field: $crate::wire::Wire::decode(input)?),* })
            }
        }

        #[cfg(test)]
        impl $crate::tests::generated::Generated for $name {
            fn generated() -> proptest::strategy::BoxedStrategy<Self> {
                use proptest::strategy::Strategy as _;
                ($(<$type as $crate::tests::generated::Generated>::generated(),)*)
                    .prop_map(|($($field,)*)| Self { $($field),* })
                    .boxed()
            }
        }
    };
}

/// Declares a closed set of words, an Avro `string` on the wire so that a word can be added later.
#[macro_export]
macro_rules! wire_words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$word_meta:meta])* $word:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$word_meta])* #[serde(rename = $text)] $word),* }

        impl $name {
            /// The word on the wire and in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text),* }
            }

            /// Every word.
            pub const ALL: &'static [Self] = &[$(Self::$word),*];
        }

        impl $crate::wire::Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                (self.as_str().len() as i64).encode(out);
                out.extend_from_slice(self.as_str().as_bytes());
            }

            fn decode(input: &mut &[u8]) -> Result<Self, $crate::wire::DecodeError> {
                let text = <String as $crate::wire::Wire>::decode(input)?;
                match text.as_str() {
                    $($text => Ok(Self::$word),)*
                    _ => Err($crate::wire::DecodeError::UnknownWord {
                        type_name: stringify!($name),
                        word: text,
                    }),
                }
            }
        }

        #[cfg(test)]
        impl $crate::tests::generated::Generated for $name {
            fn generated() -> proptest::strategy::BoxedStrategy<Self> {
                use proptest::strategy::Strategy as _;
                proptest::sample::select(Self::ALL).boxed()
            }
        }
    };
}

/// Declares what one topic may say: an enum with a variant per branch of the topic's flat record.
///
/// On the wire each branch is a nullable field, in the order written; exactly one is set.
#[macro_export]
macro_rules! wire_branches {
    ($(#[$meta:meta])* pub enum $name:ident { $($variant:ident($body:ty) = $type_name:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "type", content = "data")]
        pub enum $name {
            $(
                #[doc = concat!("See [`", stringify!($body), "`].")]
                #[serde(rename = $type_name)]
                $variant($body)
            ),*
        }

        impl $name {
            /// The type's name in headers, timelines and documentation.
            #[must_use]
            pub const fn type_name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $type_name),* }
            }

            /// Every type's name, in the order of the schema's branches.
            pub const TYPE_NAMES: &'static [&'static str] = &[$($type_name),*];
        }

        impl $crate::wire::Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $(match self {
                    Self::$variant(body) => {
                        out.push(2); // the long 1: the union's second branch
                        $crate::wire::Wire::encode(body, out);
                    }
                    #[allow(unreachable_patterns)]
                    _ => out.push(0),
                })*
            }

            fn decode(input: &mut &[u8]) -> Result<Self, $crate::wire::DecodeError> {
                let mut found = None;
                $(if let Some(body) = <Option<$body> as $crate::wire::Wire>::decode(input)?
                    && found.replace(Self::$variant(body)).is_some() {
                        return Err($crate::wire::DecodeError::ManyBranches);
                })*
                found.ok_or($crate::wire::DecodeError::NoBranch)
            }
        }

        $(impl From<$body> for $name {
            fn from(body: $body) -> Self { Self::$variant(body) }
        })*

        #[cfg(test)]
        impl $crate::tests::generated::Generated for $name {
            fn generated() -> proptest::strategy::BoxedStrategy<Self> {
                use proptest::strategy::Strategy as _;
                proptest::strategy::Union::new([$(
                    <$body as $crate::tests::generated::Generated>::generated()
                        .prop_map(Self::$variant)
                        .boxed()
                ),*])
                .boxed()
            }
        }
    };
}
