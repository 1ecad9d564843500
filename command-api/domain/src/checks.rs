//! Rules that many commands share.

use cartwright_events::{Currency, Timestamp};

use crate::price::Price;
use crate::reason::Reason;
use crate::rejection::Rejection;

/// How far ahead of the shard's clock a given business time may lie, in milliseconds.
pub const MAX_AHEAD_MS: i64 = 5 * 60 * 1000;

/// A text of 1 to `most` characters that is not blank.
pub(crate) fn text(field: &str, text: &str, most: usize) -> Result<(), Rejection> {
    if text.trim().is_empty() {
        Err(
            Rejection::new(Reason::TextOutOfRange, format!("{field} must not be blank"))
                .field(field),
        )
    } else {
        at_most(field, text, most)
    }
}

/// A text of up to `most` characters, none of them NUL: PostgreSQL stores every other one.
pub(crate) fn at_most(field: &str, text: &str, most: usize) -> Result<(), Rejection> {
    let detail = match text.chars().count() <= most {
        true if !text.contains('\0') => return Ok(()),
        true => format!("{field} must not hold the character NUL"),
        false => format!("{field} must have at most {most} characters"),
    };
    Err(Rejection::new(Reason::TextOutOfRange, detail)
        .field(field)
        .with("most", most))
}

/// A price above zero.
pub(crate) fn positive_price(field: &str, price: &Price) -> Result<(), Rejection> {
    if price.amount_minor > 0 {
        return Ok(());
    }
    let detail = format!("{field} must be above zero");
    Err(Rejection::new(Reason::PriceNotPositive, detail).field(field))
}

/// A price in `currency`.
pub(crate) fn in_currency(
    field: &str,
    price: &Currency,
    currency: &Currency,
) -> Result<(), Rejection> {
    if price == currency {
        return Ok(());
    }
    let detail = format!("{field} is in {price}, it must be in {currency}");
    Err(Rejection::new(Reason::CurrencyMismatch, detail)
        .field(field)
        .with("currency", price.as_str())
        .with("expected_currency", currency.as_str()))
}

/// A number of units from 1 to `most`.
pub(crate) fn quantity(field: &str, quantity: i64, most: i64) -> Result<(), Rejection> {
    if (1..=most).contains(&quantity) {
        return Ok(());
    }
    let detail = format!("{field} is {quantity}, it must be 1 to {most}");
    Err(Rejection::new(Reason::QuantityOutOfRange, detail)
        .field(field)
        .with("least", 1)
        .with("most", most))
}

/// A sum or product that may have left the range of 64 bits.
pub(crate) fn in_range(field: &str, value: Option<i64>) -> Result<i64, Rejection> {
    value.ok_or_else(|| {
        let detail = format!("{field} takes a sum beyond 64 bits");
        Rejection::new(Reason::AmountOverflow, detail).field(field)
    })
}

/// When it happened: the time given, where that is allowed, or `now`.
pub(crate) fn business_time(
    given: Option<Timestamp>,
    allowed: bool,
    now: Timestamp,
) -> Result<Timestamp, Rejection> {
    let Some(given) = given else { return Ok(now) };
    if !allowed {
        let detail = "occurred_at can be given only where the setting allow_occurred_at is on";
        return Err(Rejection::new(Reason::OccurredAtNotAllowed, detail).field("occurred_at"));
    }
    let latest = now.plus_millis(MAX_AHEAD_MS);
    if given > latest {
        let detail = format!("occurred_at is {given}, it must not be after {latest}");
        return Err(Rejection::new(Reason::OccurredAtInFuture, detail)
            .field("occurred_at")
            .with("latest", latest.to_string()));
    }
    Ok(given)
}
