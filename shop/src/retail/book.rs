//! The book: a retail file as invoices, in a compact form.
//!
//! One streaming pass fills it. What stays in memory grows with the file: 24 bytes for each
//! accepted row until its invoice's rows are grouped into lines, then for each line; some 150 for
//! each invoice; and each SKU, product name, customer and country once. A file of three million
//! rows stays well below 300 MB; nothing else of the file is kept.

use std::collections::HashMap;
use std::sync::Arc;

use cartwright_events::Timestamp;

use super::rule::{Accepted, InvoiceKind, Row};

/// Texts by number, each kept once.
#[derive(Debug, Default)]
pub struct Names {
    numbers: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
}

impl Names {
    /// The number of `text`, a new one when it was never seen.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    /// The text of a number that [`Names::number`] gave.
    #[must_use]
    pub fn text(&self, number: u32) -> &Arc<str> {
        &self.texts[number as usize]
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// Rows of one invoice with the same SKU and the same price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Number of the SKU.
    pub sku: u32,
    /// The file's line of its first row.
    pub row: u32,
    /// Units; above zero, also for a cancellation.
    pub quantity: i64,
    /// Price of one unit, in pence.
    pub unit_price_minor: i64,
}

impl Line {
    /// Price of the line, in pence. Saturates: such an amount is refused by the shop, not here.
    #[must_use]
    pub const fn total_minor(&self) -> i64 {
        self.quantity.saturating_mul(self.unit_price_minor)
    }
}

/// An invoice of the file that has at least one accepted row.
#[derive(Debug)]
pub struct Invoice {
    /// Its number.
    pub number: Box<str>,
    /// Sale or cancellation.
    pub kind: InvoiceKind,
    /// Number of the customer; none for a guest. Of the first accepted row.
    pub customer: Option<u32>,
    /// Number of the country; none where the file has none. Of the first accepted row.
    pub country: Option<u32>,
    /// The earliest time of all its rows, rejected ones included.
    pub occurred_at: Timestamp,
    /// The file's line that names it first.
    pub row: u32,
    /// Its lines, in the order of their first rows.
    pub lines: Vec<Line>,
}

impl Invoice {
    /// Price of all lines, in pence; saturates.
    #[must_use]
    pub fn total_minor(&self) -> i64 {
        let totals = self.lines.iter().map(Line::total_minor);
        totals.fold(0, i64::saturating_add)
    }
}

/// What a file says of a SKU.
#[derive(Debug)]
pub struct Product {
    /// The first description that is not empty, among its accepted rows.
    pub name: Option<Box<str>>,
    /// The price of its first accepted row, in pence.
    pub first_price_minor: i64,
}

/// The whole file.
#[derive(Debug, Default)]
pub struct Book {
    /// Invoices with accepted rows, in the order in which the file first names them.
    pub invoices: Vec<Invoice>,
    /// SKUs of accepted rows.
    pub skus: Names,
    /// Products, by number of the SKU.
    pub products: Vec<Product>,
    /// Customers of accepted rows.
    pub customers: Names,
    /// Countries of accepted rows.
    pub countries: Names,
}

impl Book {
    /// The SKU of a line.
    #[must_use]
    pub fn sku(&self, line: &Line) -> &Arc<str> {
        self.skus.text(line.sku)
    }
}

/// Fills a [`Book`] row by row.
#[derive(Debug, Default)]
pub struct BookBuilder {
    book: Book,
    by_number: HashMap<Box<str>, u32>,
    current: Option<u32>,
}

impl BookBuilder {
    /// Takes the note that row `row` of the file names its invoice, whether or not the row itself
    /// is accepted: it decides the invoice's place and time. Rows that are no sale are not given.
    pub fn names_invoice(&mut self, fields: &Row<'_>, kind: InvoiceKind, row: u32) -> u32 {
        let index = self.index_of(fields, kind, row);
        if let Some(at) = fields.occurred_at() {
            let invoice = &mut self.book.invoices[index as usize];
            invoice.occurred_at = at.min(invoice.occurred_at);
        }
        index
    }

    fn index_of(&mut self, fields: &Row<'_>, kind: InvoiceKind, row: u32) -> u32 {
        let number = fields.invoice.as_ref();
        if let Some(current) = self.current
            && *self.book.invoices[current as usize].number == *number
        {
            return current;
        }
        let index = match self.by_number.get(number) {
            Some(&index) => index,
            None => {
                let index = u32::try_from(self.book.invoices.len()).unwrap_or(u32::MAX);
                self.by_number.insert(number.into(), index);
                self.book.invoices.push(Invoice {
                    number: number.into(),
                    kind,
                    customer: None,
                    country: None,
                    occurred_at: Timestamp::from_micros(i64::MAX),
                    row,
                    lines: Vec::new(),
                });
                index
            }
        };
        if let Some(left) = self.current.replace(index) {
            self.book.invoices[left as usize].lines.shrink_to_fit();
        }
        index
    }

    /// Adds an accepted row to the invoice `index` that [`BookBuilder::names_invoice`] gave.
    pub fn accept(&mut self, index: u32, fields: &Row<'_>, accepted: Accepted, row: u32) {
        let sku = self.book.skus.number(&fields.stock_code.to_uppercase());
        let name = non_empty(&fields.description);
        match self.book.products.get_mut(sku as usize) {
            None => self.book.products.push(Product {
                name: name.map(Into::into),
                first_price_minor: accepted.unit_price_minor,
            }),
            Some(product) if product.name.is_none() => product.name = name.map(Into::into),
            Some(_) => {}
        }
        let invoice = &mut self.book.invoices[index as usize];
        if invoice.lines.is_empty() {
            let customer = fields.customer.as_ref();
            let customer = non_empty(customer.strip_suffix(".0").unwrap_or(customer));
            invoice.customer = customer.map(|text| self.book.customers.number(text));
            invoice.country =
                non_empty(&fields.country).map(|text| self.book.countries.number(text));
        }
        invoice.lines.push(Line {
            sku,
            row,
            quantity: accepted.quantity,
            unit_price_minor: accepted.unit_price_minor,
        });
    }

    /// The book: rows grouped into lines, invoices without an accepted row left out.
    #[must_use]
    pub fn finish(self) -> Book {
        let mut book = self.book;
        drop(self.by_number);
        book.invoices.retain(|invoice| !invoice.lines.is_empty());
        for invoice in &mut book.invoices {
            group(&mut invoice.lines);
        }
        book
    }
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Adds up rows of the same SKU and price, at the place of the first of them.
fn group(rows: &mut Vec<Line>) {
    let mut first: HashMap<(u32, i64), usize> = HashMap::with_capacity(rows.len());
    let mut lines: Vec<Line> = Vec::with_capacity(rows.len());
    for row in rows.iter() {
        let at = *first
            .entry((row.sku, row.unit_price_minor))
            .or_insert(lines.len());
        match lines.get_mut(at) {
            Some(line) => line.quantity = line.quantity.saturating_add(row.quantity),
            None => lines.push(*row),
        }
    }
    lines.shrink_to_fit();
    *rows = lines;
}
