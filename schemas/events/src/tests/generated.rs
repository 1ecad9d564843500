//! Generated values of every type of the contract.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::types::{CartId, Country, Currency, CustomerId, OrderId, Reference, Sku, Timestamp};
use crate::{Event, EventBody, Stream};

/// A type with generated values.
pub(crate) trait Generated: Sized + std::fmt::Debug {
    /// Any value of the type.
    fn generated() -> BoxedStrategy<Self>;
}

impl Generated for i64 {
    fn generated() -> BoxedStrategy<Self> {
        prop_oneof![any::<i64>(), -200i64..200, Just(i64::MIN), Just(i64::MAX)].boxed()
    }
}

impl Generated for u64 {
    fn generated() -> BoxedStrategy<Self> {
        prop_oneof![0..=i64::MAX as u64, 0u64..200].boxed()
    }
}

impl Generated for u32 {
    fn generated() -> BoxedStrategy<Self> {
        prop_oneof![any::<u32>(), 0u32..200].boxed()
    }
}

impl Generated for bool {
    fn generated() -> BoxedStrategy<Self> {
        any::<bool>().boxed()
    }
}

impl Generated for String {
    fn generated() -> BoxedStrategy<Self> {
        prop_oneof![".{0,40}", "[a-z ]{60,200}"].boxed()
    }
}

impl Generated for Timestamp {
    fn generated() -> BoxedStrategy<Self> {
        any::<i64>().prop_map(Timestamp::from_micros).boxed()
    }
}

impl<T: Generated + Clone + 'static> Generated for Option<T> {
    fn generated() -> BoxedStrategy<Self> {
        proptest::option::of(T::generated()).boxed()
    }
}

impl<T: Generated + 'static> Generated for Vec<T> {
    fn generated() -> BoxedStrategy<Self> {
        vec(T::generated(), 0..4).boxed()
    }
}

macro_rules! generated_texts {
    ($($name:ident = $pattern:literal),* $(,)?) => {$(
        impl Generated for $name {
            fn generated() -> BoxedStrategy<Self> {
                $pattern
                    .prop_filter_map("keeps the type's rule", |text: String| $name::new(text).ok())
                    .boxed()
            }
        }
    )*};
}

generated_texts!(
    Sku = "[A-Za-zäß0-9][A-Za-zäß0-9 /-]{0,40}[A-Za-z0-9]",
    CartId = "[A-Za-z0-9_.:~-]{1,64}",
    OrderId = "[A-Za-z0-9_.:~-]{1,64}",
    CustomerId = "[A-Za-z0-9_.:~-]{1,64}",
    Reference = "[A-Za-z0-9#][ -~]{0,60}[A-Za-z0-9]",
    Currency = "[A-Z]{3}",
    Country = "[A-Z][A-Za-zéå ]{0,30}[a-z]",
);

/// Any event of a stream.
pub(crate) fn event(stream: Stream) -> BoxedStrategy<Event> {
    let body: BoxedStrategy<EventBody> = match stream {
        Stream::Product => crate::catalog::ProductEvent::generated()
            .prop_map(EventBody::from)
            .boxed(),
        Stream::Stock => crate::inventory::StockEvent::generated()
            .prop_map(EventBody::from)
            .boxed(),
        Stream::Cart => crate::cart::CartEvent::generated()
            .prop_map(EventBody::from)
            .boxed(),
        Stream::Order => crate::order::OrderEvent::generated()
            .prop_map(EventBody::from)
            .boxed(),
    };
    (
        String::generated(),
        u64::generated(),
        Timestamp::generated(),
        body,
    )
        .prop_map(|(aggregate_id, version, occurred_at, body)| Event {
            aggregate_id,
            version,
            occurred_at,
            body,
        })
        .boxed()
}

/// Any event of any stream.
pub(crate) fn any_event() -> BoxedStrategy<Event> {
    // Made once: patterns take their time to compile.
    proptest::strategy::Union::new(Stream::ALL.map(event)).boxed()
}
