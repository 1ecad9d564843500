//! The plan: what is to be done, decided from the file alone.
//!
//! No answer of the shop has a say in it, so the same file always asks for the same things, and a
//! repeat or a second start finds everything as it left it.

use std::collections::HashMap;

use super::book::{Book, Invoice};
use super::rule::InvoiceKind;

/// What a cancellation takes back from one order: one return and one refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderReturn {
    /// Index of the order's invoice.
    pub order: u32,
    /// (index of the order's line, units), each line once, in the order of lines.
    pub lines: Vec<(u32, i64)>,
    /// What the units were charged, in pence.
    pub charge_minor: i64,
}

/// Units of a cancellation that no order has left to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmatched {
    /// The file's line of the cancellation's line.
    pub row: u32,
    /// How many units.
    pub units: i64,
}

/// Everything that follows from the file.
#[derive(Debug, Default)]
pub struct Plan {
    /// By index of the cancellation's invoice.
    pub returns: HashMap<u32, Vec<OrderReturn>>,
    /// What found no line.
    pub unmatched: Vec<Unmatched>,
    /// By index of an order's invoice that limited stock cannot serve, if they are served in the
    /// file's order.
    pub short: Vec<u32>,
    /// Units of each SKU (by its number) that orders ask for.
    pub demand: Vec<i64>,
}

impl Plan {
    /// Decides what to do with `book`, with `limit_stock` units of each SKU or with enough.
    #[must_use]
    pub fn of(book: &Book, limit_stock: Option<i64>) -> Self {
        let mut plan = Plan {
            demand: vec![0; book.products.len()],
            ..Plan::default()
        };
        let mut stock = limit_stock.map(|units| vec![units; book.products.len()]);
        let mut left: HashMap<u32, Vec<LeftToReturn>> = HashMap::new();
        for (index, invoice) in (0u32..).zip(&book.invoices) {
            match invoice.kind {
                InvoiceKind::Sale => {
                    for line in &invoice.lines {
                        let demand = &mut plan.demand[line.sku as usize];
                        *demand = demand.saturating_add(line.quantity);
                    }
                    if let Some(stock) = &mut stock
                        && !take_stock(invoice, stock)
                    {
                        plan.short.push(index);
                    } else if let Some(customer) = invoice.customer {
                        left.entry(customer)
                            .or_default()
                            .push(LeftToReturn::of(index, invoice));
                    }
                }
                InvoiceKind::Cancellation => {
                    let orders = invoice
                        .customer
                        .and_then(|customer| left.get_mut(&customer));
                    plan.match_returns(book, index, orders.map_or(&mut [], Vec::as_mut_slice));
                }
            }
        }
        plan
    }

    /// Whether limited stock leaves the order of this invoice out.
    #[must_use]
    pub fn is_short(&self, invoice: u32) -> bool {
        self.short.binary_search(&invoice).is_ok()
    }

    fn match_returns(&mut self, book: &Book, index: u32, orders: &mut [LeftToReturn]) {
        let mut returns: Vec<OrderReturn> = Vec::new();
        for line in &book.invoices[index as usize].lines {
            let mut wanted = line.quantity;
            for order in orders.iter_mut().rev() {
                if wanted == 0 {
                    break;
                }
                let sold = &book.invoices[order.order as usize].lines;
                for (at, (sold, left)) in (0u32..).zip(sold.iter().zip(&mut order.units)) {
                    let units = wanted.min(*left);
                    if sold.sku != line.sku || units == 0 {
                        continue;
                    }
                    *left -= units;
                    wanted -= units;
                    let charge = units.saturating_mul(sold.unit_price_minor);
                    add_return(&mut returns, order.order, (at, units), charge);
                }
            }
            if wanted > 0 {
                self.unmatched.push(Unmatched {
                    row: line.row,
                    units: wanted,
                });
            }
        }
        if !returns.is_empty() {
            self.returns.insert(index, returns);
        }
    }
}

/// Units of an order that can still come back, by index of its line.
struct LeftToReturn {
    order: u32,
    units: Vec<i64>,
}

impl LeftToReturn {
    fn of(order: u32, invoice: &Invoice) -> Self {
        Self {
            order,
            units: invoice.lines.iter().map(|line| line.quantity).collect(),
        }
    }
}

fn add_return(returns: &mut Vec<OrderReturn>, order: u32, line: (u32, i64), charge_minor: i64) {
    let at = returns.iter().position(|earlier| earlier.order == order);
    let at = at.unwrap_or_else(|| {
        returns.push(OrderReturn {
            order,
            lines: Vec::new(),
            charge_minor: 0,
        });
        returns.len() - 1
    });
    let entry = &mut returns[at];
    entry.charge_minor = entry.charge_minor.saturating_add(charge_minor);
    match entry.lines.binary_search_by_key(&line.0, |&(at, _)| at) {
        Ok(same) => entry.lines[same].1 += line.1,
        Err(place) => entry.lines.insert(place, line),
    }
}

/// Takes all lines of an order from `stock`, or nothing.
fn take_stock(invoice: &Invoice, stock: &mut [i64]) -> bool {
    let mut needed: HashMap<u32, i64> = HashMap::new();
    for line in &invoice.lines {
        let units = needed.entry(line.sku).or_default();
        *units = units.saturating_add(line.quantity);
    }
    let enough = needed
        .iter()
        .all(|(&sku, &units)| units <= stock[sku as usize]);
    if enough {
        for (sku, units) in needed {
            stock[sku as usize] -= units;
        }
    }
    enough
}
