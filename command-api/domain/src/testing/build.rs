//! Short ways to write values.

use cartwright_events::cart::CartEvent;
use cartwright_events::catalog::ProductEvent;
use cartwright_events::inventory::StockEvent;
use cartwright_events::order::{OrderEvent, PaymentKind};
use cartwright_events::{
    CartId, Country, Currency, CustomerId, EventBody, OrderId, Reference, Sku, Timestamp,
};

use crate::{LineQuantity, NewItem, Pay, Price};

pub(crate) fn sku(text: &str) -> Sku {
    Sku::new(text).unwrap()
}

pub(crate) fn cart_id(text: &str) -> CartId {
    CartId::new(text).unwrap()
}

pub(crate) fn order_id(text: &str) -> OrderId {
    OrderId::new(text).unwrap()
}

pub(crate) fn reference(text: &str) -> Reference {
    Reference::new(text).unwrap()
}

pub(crate) fn customer(text: &str) -> CustomerId {
    CustomerId::new(text).unwrap()
}

pub(crate) fn country(text: &str) -> Country {
    Country::new(text).unwrap()
}

pub(crate) fn currency(text: &str) -> Currency {
    Currency::new(text).unwrap()
}

pub(crate) fn gbp(amount_minor: i64) -> Price {
    Price {
        amount_minor,
        currency: currency("GBP"),
    }
}

pub(crate) fn eur(amount_minor: i64) -> Price {
    Price {
        amount_minor,
        currency: currency("EUR"),
    }
}

/// Some minutes into the first day of 2026.
pub(crate) fn minute(minute: i64) -> Timestamp {
    "2026-01-01T00:00:00Z"
        .parse::<Timestamp>()
        .unwrap()
        .plus_millis(minute * 60_000)
}

pub(crate) fn item(text: &str, quantity: i64) -> NewItem {
    NewItem {
        sku: sku(text),
        quantity,
        expected_price: None,
        quoted_price: None,
    }
}

pub(crate) fn quoted(text: &str, quantity: i64, price: Price) -> NewItem {
    NewItem {
        quoted_price: Some(price),
        ..item(text, quantity)
    }
}

pub(crate) fn expecting(text: &str, quantity: i64, price: Price) -> NewItem {
    NewItem {
        expected_price: Some(price),
        ..item(text, quantity)
    }
}

pub(crate) fn lines(lines: &[(u32, i64)]) -> Vec<LineQuantity> {
    lines
        .iter()
        .map(|(line, quantity)| LineQuantity {
            line: *line,
            quantity: *quantity,
        })
        .collect()
}

/// What the provider reports of operation `operation` ("payment/operation") on order `o`.
pub(crate) fn payment(kind: PaymentKind, operation: &str, amount: Price) -> Pay {
    let (payment_id, operation_id) = operation.split_once('/').unwrap();
    Pay {
        order_id: order_id("o"),
        payment_id: reference(payment_id),
        operation_id: reference(operation_id),
        kind,
        amount,
        occurred_at: None,
    }
}

pub(crate) fn captured(operation: &str, amount: Price) -> Pay {
    payment(PaymentKind::Captured, operation, amount)
}

pub(crate) fn authorized(operation: &str, amount: Price) -> Pay {
    payment(PaymentKind::Authorized, operation, amount)
}

pub(crate) fn failed(operation: &str, amount: Price) -> Pay {
    payment(PaymentKind::Failed, operation, amount)
}

pub(crate) fn refunded(operation: &str, amount: Price) -> Pay {
    payment(PaymentKind::Refunded, operation, amount)
}

pub(crate) fn product_event(body: impl Into<ProductEvent>) -> EventBody {
    body.into().into()
}

pub(crate) fn stock_event(body: impl Into<StockEvent>) -> EventBody {
    body.into().into()
}

pub(crate) fn cart_event(body: impl Into<CartEvent>) -> EventBody {
    body.into().into()
}

pub(crate) fn order_event(body: impl Into<OrderEvent>) -> EventBody {
    body.into().into()
}
