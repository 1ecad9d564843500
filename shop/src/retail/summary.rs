//! Totals of an import.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::book::{Book, Line};
use super::plan::Plan;
use super::rule::{InvoiceKind, Rule};

/// What became of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Done in full.
    Done,
    /// The order was rejected for want of stock.
    OutOfStock,
    /// The shop refused it for another reason.
    Refused,
}

/// Totals; amounts in pence.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Orders that were paid and shipped.
    pub orders: u64,
    /// Their lines.
    pub order_lines: u64,
    /// Their units.
    pub units: i64,
    /// What their lines were charged.
    pub gross_minor: i64,
    /// What returns paid back.
    pub refunded_minor: i64,
    /// Units that came back.
    pub returned_units: i64,
    /// Units of cancellations that no order had left to return.
    pub unmatched_return_units: i64,
    /// SKUs of accepted rows.
    pub products: usize,
    /// Customers with an order.
    pub customers: usize,
    /// Rejected rows by the rule that they broke; every rule is named.
    pub rejected_rows: BTreeMap<&'static str, u64>,
    /// Orders rejected for want of stock.
    pub rejected_orders: u64,
    /// Returned units that belong to an order which the shop refused or rejected unexpectedly.
    pub skipped_return_units: i64,
    /// Invoices that the shop refused.
    pub refused_invoices: u64,
}

impl Totals {
    /// Adds up `book` under `plan`, with what became of each invoice, and whether a cancellation's
    /// return to an order (both by index) was taken.
    pub fn of(
        book: &Book,
        plan: &Plan,
        rejected: &BTreeMap<Rule, u64>,
        outcome: impl Fn(u32) -> Outcome,
        returned: impl Fn(u32, u32) -> bool,
    ) -> Self {
        let mut totals = Totals {
            products: book.products.len(),
            unmatched_return_units: plan.unmatched.iter().map(|one| one.units).sum(),
            ..Totals::default()
        };
        for rule in Rule::OF_ROWS {
            let rows = rejected.get(&rule).copied().unwrap_or_default();
            totals.rejected_rows.insert(rule.name(), rows);
        }
        let mut customers = HashSet::new();
        for (index, invoice) in (0u32..).zip(&book.invoices) {
            let became = outcome(index);
            let returns = plan.returns.get(&index).into_iter().flatten();
            let refused = became == Outcome::Refused
                || returns.clone().any(|taken| !returned(index, taken.order));
            totals.refused_invoices += u64::from(refused);
            match invoice.kind {
                InvoiceKind::Sale if became == Outcome::Done => {
                    totals.add_order(&invoice.lines);
                    customers.extend(invoice.customer);
                }
                InvoiceKind::Sale => {
                    totals.rejected_orders += u64::from(became == Outcome::OutOfStock);
                }
                InvoiceKind::Cancellation => {
                    for taken in returns {
                        let units: i64 = taken.lines.iter().map(|&(_, units)| units).sum();
                        if outcome(taken.order) == Outcome::Done && returned(index, taken.order) {
                            totals.returned_units += units;
                            totals.refunded_minor += taken.charge_minor;
                        } else {
                            totals.skipped_return_units += units;
                        }
                    }
                }
            }
        }
        totals.customers = customers.len();
        totals
    }

    fn add_order(&mut self, lines: &[Line]) {
        self.orders += 1;
        self.order_lines += lines.len() as u64;
        for line in lines {
            self.units = self.units.saturating_add(line.quantity);
            self.gross_minor = self.gross_minor.saturating_add(line.total_minor());
        }
    }
}
