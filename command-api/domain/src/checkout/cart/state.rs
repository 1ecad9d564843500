//! A cart's state and how it evolves.

use cartwright_events::cart::{CartEvent, CartItemAdded, PriceSource};
use cartwright_events::{Country, Currency, CustomerId, Event, Reference, Sku, Stream, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::context::EvolveError;
use crate::facts::{misfit, must_be, must_follow};
use crate::memory::{Digest, ENTRY_BYTES, Written};

/// A line of an open cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartLine {
    /// Its number.
    pub line: u32,
    /// What.
    pub sku: Sku,
    /// The product's name as it was.
    pub name: String,
    /// Units.
    pub quantity: i64,
    /// Price of one unit, in minor units.
    pub unit_price_minor: i64,
    /// Where the price came from.
    pub source: PriceSource,
}

impl CartLine {
    /// Price of the line; `None` beyond 64 bits.
    pub(in crate::checkout) const fn total_minor(&self) -> Option<i64> {
        self.unit_price_minor.checked_mul(self.quantity)
    }
}

/// Whether a cart takes changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CartStage {
    Open,
    CheckedOut,
    Abandoned,
}

/// A cart as the checkout's writer needs to know it. Its lines are kept while it is open.
///
/// Each decision on a cart happens at least a microsecond after the one before, which is how the
/// items that a cart was created with can be told from those that were added later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cart {
    pub(in crate::checkout) version: u64,
    pub(super) stage: CartStage,
    pub(in crate::checkout) customer_id: Option<CustomerId>,
    pub(in crate::checkout) currency: Currency,
    pub(in crate::checkout) ship_to_country: Option<Country>,
    pub(in crate::checkout) external_reference: Option<Reference>,
    /// By number.
    pub(super) lines: Vec<CartLine>,
    pub(super) next_line: u32,
    pub(super) total_minor: i64,
    pub(super) changed_at: Timestamp,
    pub(super) last_seq: u64,
    created_at: Timestamp,
    pub(super) created: Written,
    pub(super) created_content: Digest,
    pub(super) checked_out: Option<Written>,
}

/// The digest of what a cart is created with, its items aside.
pub(super) fn content(
    customer_id: Option<&CustomerId>,
    currency: &Currency,
    ship_to_country: Option<&Country>,
    external_reference: Option<&Reference>,
) -> Digest {
    Digest::new()
        .maybe_text(customer_id.map(CustomerId::as_str))
        .text(currency.as_str())
        .maybe_text(ship_to_country.map(Country::as_str))
        .maybe_text(external_reference.map(Reference::as_str))
}

/// The digest with one more item. What the catalog charged is no part of it: the caller did not
/// say it.
pub(super) fn with_item(
    content: Digest,
    sku: &Sku,
    quantity: i64,
    quoted_minor: Option<i64>,
) -> Digest {
    content
        .text(sku.as_str())
        .number(quantity)
        .maybe_number(quoted_minor)
}

impl Cart {
    /// Whether it takes changes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stage == CartStage::Open
    }

    /// The last change.
    #[must_use]
    pub const fn changed_at(&self) -> Timestamp {
        self.changed_at
    }

    /// The time of a change that is decided at `now`.
    pub(super) fn next_change(&self, now: Timestamp) -> Timestamp {
        let after = self.changed_at.as_micros().saturating_add(1);
        now.max(Timestamp::from_micros(after))
    }

    /// The line of that number.
    pub(super) fn line(&self, line: u32) -> Option<&CartLine> {
        self.lines.iter().find(|candidate| candidate.line == line)
    }

    /// Price of the cart with `line_total` in place of `line`'s; `None` beyond 64 bits.
    pub(super) fn total_with(&self, line: Option<&CartLine>, line_total: i64) -> Option<i64> {
        let without = match line {
            Some(line) => self.total_minor.checked_sub(line.total_minor()?)?,
            None => self.total_minor,
        };
        without.checked_add(line_total)
    }

    /// What a caller is told of the cart.
    pub(super) fn data(&self, id: &str, total_minor: i64) -> Value {
        json!({ "cart_id": id, "cart_total_minor": total_minor, "currency": self.currency })
    }

    /// Bytes of what it has on the heap, about.
    pub(in crate::checkout) fn lines_size_hint(&self) -> usize {
        self.lines.len() * (size_of::<CartLine>() + 2 * ENTRY_BYTES) + ENTRY_BYTES
    }

    /// Where earlier events of a cart stand.
    pub(super) fn seqs(written: &Written) -> Vec<(Stream, u64)> {
        written.seqs(Stream::Cart)
    }

    /// The cart that `event` opens.
    pub(in crate::checkout) fn open(
        event: &Event,
        body: &CartEvent,
        seq: u64,
    ) -> Result<Self, EvolveError> {
        let CartEvent::Created(created) = body else {
            return Err(misfit(event, "there is no such cart"));
        };
        must_follow(event, 0)?;
        Ok(Self {
            version: event.version,
            stage: CartStage::Open,
            created_content: content(
                created.customer_id.as_ref(),
                &created.currency,
                created.ship_to_country.as_ref(),
                created.external_reference.as_ref(),
            ),
            customer_id: created.customer_id.clone(),
            currency: created.currency.clone(),
            ship_to_country: created.ship_to_country.clone(),
            external_reference: created.external_reference.clone(),
            lines: Vec::new(),
            next_line: 1,
            total_minor: 0,
            changed_at: event.occurred_at,
            last_seq: seq,
            created_at: event.occurred_at,
            created: Written::one(event.version, seq),
            checked_out: None,
        })
    }

    /// Applies `event`.
    pub(in crate::checkout) fn evolve(
        &mut self,
        event: &Event,
        body: &CartEvent,
        seq: u64,
    ) -> Result<(), EvolveError> {
        must_follow(event, self.version)?;
        if !self.is_open() {
            return Err(misfit(event, "the cart takes no more changes"));
        }
        match body {
            CartEvent::Created(_) => return Err(misfit(event, "the cart exists")),
            CartEvent::ItemAdded(added) => self.add(event, added, seq)?,
            CartEvent::ItemQuantityChanged(e) => {
                let line = self.known(event, e.line, &e.sku)?;
                let before = line.total_minor();
                must_be(event, "old_quantity", e.old_quantity, line.quantity)?;
                must_be(
                    event,
                    "unit_price_minor",
                    e.unit_price_minor,
                    line.unit_price_minor,
                )?;
                line.quantity = e.quantity;
                self.sum(
                    event,
                    before,
                    e.line,
                    e.line_total_minor,
                    e.cart_total_minor,
                )?;
            }
            CartEvent::ItemRepriced(e) => {
                let line = self.known(event, e.line, &e.sku)?;
                let before = line.total_minor();
                let old = line.unit_price_minor;
                must_be(event, "old_unit_price_minor", e.old_unit_price_minor, old)?;
                line.unit_price_minor = e.unit_price_minor;
                self.sum(
                    event,
                    before,
                    e.line,
                    e.line_total_minor,
                    e.cart_total_minor,
                )?;
            }
            CartEvent::ItemRemoved(e) => {
                let before = self.known(event, e.line, &e.sku)?.total_minor();
                self.lines.retain(|line| line.line != e.line);
                self.sum(event, before, e.line, 0, e.cart_total_minor)?;
            }
            CartEvent::CheckedOut(e) => {
                must_be(
                    event,
                    "order_id",
                    e.order_id.as_str(),
                    event.aggregate_id.as_str(),
                )?;
                must_be(event, "total_minor", e.total_minor, self.total_minor)?;
                self.checked_out = Some(Written::one(event.version, seq));
                self.close(CartStage::CheckedOut);
            }
            CartEvent::Abandoned(e) => {
                must_be(event, "idle_since", e.idle_since, self.changed_at)?;
                self.close(CartStage::Abandoned);
            }
        }
        self.version = event.version;
        self.changed_at = event.occurred_at;
        self.last_seq = seq;
        Ok(())
    }

    fn add(&mut self, event: &Event, added: &CartItemAdded, seq: u64) -> Result<(), EvolveError> {
        must_be(event, "line", added.line, self.next_line)?;
        if added.quantity <= 0 || added.unit_price_minor <= 0 {
            return Err(misfit(event, "quantity and price must be above zero"));
        }
        let line = CartLine {
            line: added.line,
            sku: added.sku.clone(),
            name: added.name.clone(),
            quantity: added.quantity,
            unit_price_minor: added.unit_price_minor,
            source: added.price_source,
        };
        self.next_line = self.next_line.saturating_add(1);
        self.lines.push(line);
        if event.occurred_at == self.created_at {
            let quoted =
                (added.price_source == PriceSource::Quoted).then_some(added.unit_price_minor);
            self.created_content =
                with_item(self.created_content, &added.sku, added.quantity, quoted);
            self.created.add(event.version, seq);
        }
        self.sum(
            event,
            Some(0),
            added.line,
            added.line_total_minor,
            added.cart_total_minor,
        )
    }

    fn known(&mut self, event: &Event, line: u32, sku: &Sku) -> Result<&mut CartLine, EvolveError> {
        self.lines
            .iter_mut()
            .find(|candidate| candidate.line == line && candidate.sku == *sku)
            .ok_or_else(|| misfit(event, format!("there is no line {line} of {sku}")))
    }

    /// The total stays the sum of the lines when `line`, which cost `before`, costs `line_total`; the
    /// event must carry both.
    fn sum(
        &mut self,
        event: &Event,
        before: Option<i64>,
        line: u32,
        line_total: i64,
        cart_total: i64,
    ) -> Result<(), EvolveError> {
        // A new line is the last one, and a changed one is rare: looked for from the end.
        let line = self.lines.iter().rfind(|candidate| candidate.line == line);
        let after = line.map_or(Some(0), CartLine::total_minor);
        must_be(event, "line_total_minor", Some(line_total), after)?;
        let sum = before
            .and_then(|before| self.total_minor.checked_sub(before))
            .and_then(|others| others.checked_add(line_total));
        must_be(event, "cart_total_minor", Some(cart_total), sum)?;
        self.total_minor = cart_total;
        Ok(())
    }

    /// Lines are the order's from here on, or nobody's.
    fn close(&mut self, stage: CartStage) {
        self.stage = stage;
        self.lines = Vec::new();
    }
}
