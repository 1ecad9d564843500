//! The rules that a row keeps or breaks.

use std::borrow::Cow;

use cartwright_events::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::price::{Price, read_price};

/// Why a row, or what it asked for, is not in the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The invoice number starts with neither a digit nor `C`.
    NotASale,
    /// A field cannot be read.
    Malformed,
    /// A sale of nothing or less.
    QuantityNotPositive,
    /// A cancellation that takes nothing back.
    QuantityNotNegative,
    /// A price of zero or less.
    PriceNotPositive,
    /// A price with parts of a penny.
    PriceNotInMinorUnits,
    /// A cancellation's units that no earlier order of the customer has left to return.
    UnmatchedReturn,
    /// The shop refused the invoice.
    RejectedByShop,
}

impl Rule {
    /// The rules that a row can break by itself.
    pub const OF_ROWS: [Rule; 6] = [
        Rule::NotASale,
        Rule::Malformed,
        Rule::QuantityNotPositive,
        Rule::QuantityNotNegative,
        Rule::PriceNotPositive,
        Rule::PriceNotInMinorUnits,
    ];

    /// The rule's name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Rule::NotASale => "not-a-sale",
            Rule::Malformed => "malformed",
            Rule::QuantityNotPositive => "quantity-not-positive",
            Rule::QuantityNotNegative => "quantity-not-negative",
            Rule::PriceNotPositive => "price-not-positive",
            Rule::PriceNotInMinorUnits => "price-not-in-minor-units",
            Rule::UnmatchedReturn => "unmatched-return",
            Rule::RejectedByShop => "rejected-by-shop",
        }
    }
}

/// A row's fields as text, trimmed of white space at their ends.
#[derive(Debug, Clone, Default)]
pub struct Row<'a> {
    /// `InvoiceNo`.
    pub invoice: Cow<'a, str>,
    /// `StockCode`.
    pub stock_code: Cow<'a, str>,
    /// `Description`.
    pub description: Cow<'a, str>,
    /// `Quantity`.
    pub quantity: Cow<'a, str>,
    /// `InvoiceDate`.
    pub invoice_date: Cow<'a, str>,
    /// `UnitPrice`.
    pub unit_price: Cow<'a, str>,
    /// `CustomerID`.
    pub customer: Cow<'a, str>,
    /// `Country`.
    pub country: Cow<'a, str>,
}

/// What an invoice number says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvoiceKind {
    /// It starts with a digit.
    Sale,
    /// It starts with `C`.
    Cancellation,
}

/// What a row that keeps all rules says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Units sold, or for a cancellation units taken back; above zero.
    pub quantity: i64,
    /// Price of one unit in pence; above zero.
    pub unit_price_minor: i64,
}

impl Row<'_> {
    /// What the invoice is, or `None` when it is no sale at all.
    #[must_use]
    pub fn kind(&self) -> Option<InvoiceKind> {
        match self.invoice.as_bytes().first() {
            Some(b'0'..=b'9') => Some(InvoiceKind::Sale),
            Some(b'C') => Some(InvoiceKind::Cancellation),
            _ => None,
        }
    }

    /// The row's time, read as UTC.
    #[must_use]
    pub fn occurred_at(&self) -> Option<Timestamp> {
        let civil: DateTime = self.invoice_date.parse().ok()?;
        let zoned = civil.to_zoned(TimeZone::UTC).ok()?;
        Some(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
    }

    /// The first rule that the row breaks, in the order of the rules.
    ///
    /// A time that cannot be read is malformed too, after all other rules: nothing else could be
    /// done with such a row.
    ///
    /// # Errors
    /// The rule.
    pub fn judge(&self) -> Result<(InvoiceKind, Accepted), Rule> {
        let kind = self.kind().ok_or(Rule::NotASale)?;
        let quantity = self.read_quantity().ok_or(Rule::Malformed)?;
        if self.stock_code.is_empty() {
            return Err(Rule::Malformed);
        }
        match kind {
            InvoiceKind::Sale if quantity <= 0 => return Err(Rule::QuantityNotPositive),
            InvoiceKind::Cancellation if quantity >= 0 => return Err(Rule::QuantityNotNegative),
            _ => {}
        }
        let unit_price_minor = match read_price(&self.unit_price) {
            Price::Minor(minor) => minor,
            Price::NotANumber => return Err(Rule::Malformed),
            Price::NotPositive => return Err(Rule::PriceNotPositive),
            Price::NotInMinorUnits => return Err(Rule::PriceNotInMinorUnits),
        };
        self.occurred_at().ok_or(Rule::Malformed)?;
        let accepted = Accepted {
            quantity: quantity.abs(),
            unit_price_minor,
        };
        Ok((kind, accepted))
    }

    /// An integer whose magnitude fits 63 bits.
    fn read_quantity(&self) -> Option<i64> {
        let quantity: i64 = self.quantity.parse().ok()?;
        (quantity != i64::MIN).then_some(quantity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(invoice: &str, sku: &str, quantity: &str, price: &str) -> Row<'static> {
        Row {
            invoice: invoice.to_owned().into(),
            stock_code: sku.to_owned().into(),
            quantity: quantity.to_owned().into(),
            unit_price: price.to_owned().into(),
            invoice_date: "2011-03-01 08:26:00".into(),
            ..Row::default()
        }
    }

    #[test]
    fn the_first_rule_that_is_broken_is_named() {
        for (invoice, sku, quantity, price, rule) in [
            ("A100", "", "x", "x", Rule::NotASale),
            ("c100", "S1", "1", "1", Rule::NotASale),
            ("", "S1", "1", "1", Rule::NotASale),
            ("100", "S1", "1.5", "1", Rule::Malformed),
            ("100", "S1", "", "0", Rule::Malformed),
            ("100", "", "-4", "0", Rule::Malformed),
            ("100", "S1", "0", "x", Rule::QuantityNotPositive),
            ("100", "S1", "-1", "0", Rule::QuantityNotPositive),
            ("C100", "S1", "0", "1", Rule::QuantityNotNegative),
            ("C100", "S1", "3", "x", Rule::QuantityNotNegative),
            ("100", "S1", "1", "free", Rule::Malformed),
            ("100", "S1", "1", "0.0", Rule::PriceNotPositive),
            ("C100", "S1", "-1", "-4", Rule::PriceNotPositive),
            ("C100", "S1", "-1", "0.001", Rule::PriceNotInMinorUnits),
        ] {
            let found = row(invoice, sku, quantity, price).judge();
            assert_eq!(
                found.unwrap_err(),
                rule,
                "{invoice} {sku} {quantity} {price}"
            );
        }
    }

    #[test]
    fn a_time_that_cannot_be_read_is_malformed_after_all_other_rules() {
        let mut bad = row("100", "S1", "1", "0");
        bad.invoice_date = "yesterday".into();
        assert_eq!(bad.judge().unwrap_err(), Rule::PriceNotPositive);
        bad.unit_price = "1".into();
        assert_eq!(bad.judge().unwrap_err(), Rule::Malformed);
    }

    #[test]
    fn a_row_that_keeps_all_rules_gives_units_and_pence() {
        let (kind, accepted) = row("C536379", "D", "-7", "27.5").judge().unwrap();
        assert_eq!(kind, InvoiceKind::Cancellation);
        assert_eq!((accepted.quantity, accepted.unit_price_minor), (7, 2750));
        let sale = row("536365", "85123A", "6", "2.55");
        assert_eq!(sale.judge().unwrap().0, InvoiceKind::Sale);
        assert_eq!(
            sale.occurred_at().unwrap().to_string(),
            "2011-03-01T08:26:00Z"
        );
    }
}
