//! An order's state.

use std::collections::BTreeMap;

use cartwright_events::order::{OrderLine, PaymentKind, Shortage};
use cartwright_events::partition::partition_of;
use cartwright_events::{Country, Currency, OrderId, Reference, Sku, Stream, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::memory::{Digest, ENTRY_BYTES, SmallMap, Written};

/// How far an order has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Stock is being asked for.
    Pending,
    /// All lines are held; waits for its payment.
    Confirmed,
    /// Paid in full. The only stage in which goods move.
    Paid,
    /// Could not be held. Final.
    Rejected,
    /// Called off. Final.
    Cancelled,
    /// Not paid in time. Final.
    Expired,
}

impl Stage {
    /// Whether it may still expire: it is neither paid nor ended.
    pub(super) const fn is_open(self) -> bool {
        matches!(self, Stage::Pending | Stage::Confirmed)
    }

    /// Whether it is over without a sale: nothing is held, and any money goes back.
    pub(super) const fn has_ended(self) -> bool {
        matches!(self, Stage::Rejected | Stage::Cancelled | Stage::Expired)
    }
}

/// Where an order stands: its stage and its sums, all in the order's currency.
///
/// What is owed to the customer follows from them and is never kept beside them, so that payments
/// and refunds lead to the same in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// How far it has come.
    pub stage: Stage,
    /// Price of all lines.
    pub total_minor: i64,
    /// Units of all lines.
    pub units: i64,
    /// Money that came in.
    pub captured_minor: i64,
    /// Money that went back.
    pub refunded_minor: i64,
    /// What returned goods were charged.
    pub returned_minor: i64,
    /// Units that left.
    pub shipped_units: i64,
    /// Units that came back.
    pub returned_units: i64,
}

impl Standing {
    /// What is owed to the customer: all that came in for an order that has ended, otherwise what
    /// came in beyond the total and what returned goods were charged; less what went back.
    #[must_use]
    pub fn owed_minor(&self) -> i64 {
        let due = if self.stage.has_ended() {
            self.captured_minor
        } else {
            let excess = self.captured_minor.saturating_sub(self.total_minor).max(0);
            excess.saturating_add(self.returned_minor)
        };
        due.saturating_sub(self.refunded_minor).max(0)
    }

    /// The status in words.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        match self.stage {
            Stage::Pending => "pending",
            Stage::Confirmed => "confirmed",
            Stage::Paid if self.shipped_units == 0 => "paid",
            Stage::Paid if self.shipped_units < self.units => "partly_shipped",
            Stage::Paid => "shipped",
            Stage::Rejected => "rejected",
            Stage::Cancelled => "cancelled",
            Stage::Expired => "expired",
        }
    }
}

/// A line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) line: u32,
    pub(super) sku: Sku,
    pub(super) quantity: i64,
    pub(super) unit_price_minor: i64,
    pub(super) charge_minor: i64,
    pub(super) shipped: i64,
    pub(super) returned: i64,
    pub(super) refunded_minor: i64,
}

impl From<&OrderLine> for Line {
    fn from(line: &OrderLine) -> Self {
        Self {
            line: line.line,
            sku: line.sku.clone(),
            quantity: line.quantity,
            unit_price_minor: line.unit_price_minor,
            charge_minor: line.line_total_minor,
            shipped: 0,
            returned: 0,
            refunded_minor: 0,
        }
    }
}

/// What a return is owed for a line and has not been refunded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReturnDue {
    pub(super) line: u32,
    pub(super) amount_minor: i64,
}

/// A payment operation that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Operation {
    pub(super) kind: PaymentKind,
    pub(super) content: Digest,
    /// Whether it belongs to no balance: it came before the order or in another currency.
    pub(super) noted: bool,
    pub(super) written: Written,
    /// Where the order stood after it; `None` when there was no order.
    pub(super) standing: Option<Standing>,
}

/// A shipment or a return that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Movement {
    pub(super) content: Digest,
    /// Whether nothing was left to ship after it.
    pub(super) took_the_rest: bool,
    pub(super) written: Written,
    pub(super) standing: Standing,
}

/// The digest of a payment operation.
pub(super) fn operation_content(
    kind: PaymentKind,
    amount_minor: i64,
    currency: &Currency,
) -> Digest {
    Digest::new()
        .text(kind.as_str())
        .number(amount_minor)
        .text(currency.as_str())
}

/// The digest of lines, which come by number.
pub(super) fn lines_content(lines: impl Iterator<Item = (u32, i64)>) -> Digest {
    lines.fold(Digest::new(), |content, (line, quantity)| {
        content.number(i64::from(line)).number(quantity)
    })
}

/// What was ordered, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    pub(super) currency: Currency,
    pub(super) ship_to_country: Option<Country>,
    pub(super) standing: Standing,
    pub(super) payment_deadline: Timestamp,
    /// By number.
    pub(super) lines: Vec<Line>,
    /// In the order of the returns.
    pub(super) return_dues: Vec<ReturnDue>,
    pub(super) shipments: SmallMap<Reference, Movement>,
    pub(super) returns: SmallMap<Reference, Movement>,
    pub(super) created: Written,
    pub(super) ended: Option<Written>,
    pub(super) shortages: Vec<Shortage>,
}

impl Placed {
    /// Whether nothing is left to happen to it but what a caller reports: it has ended without a
    /// sale, or everything was shipped.
    pub(in crate::checkout) const fn is_finished(&self) -> bool {
        self.standing.stage.has_ended()
            || (matches!(self.standing.stage, Stage::Paid)
                && self.standing.shipped_units >= self.standing.units)
    }

    /// The line of that number.
    pub(super) fn line(&self, line: u32) -> Option<&Line> {
        let index = self
            .lines
            .binary_search_by_key(&line, |line| line.line)
            .ok()?;
        self.lines.get(index)
    }

    /// The line of that number, to change.
    pub(super) fn line_mut(&mut self, line: u32) -> Option<&mut Line> {
        let index = self
            .lines
            .binary_search_by_key(&line, |line| line.line)
            .ok()?;
        self.lines.get_mut(index)
    }

    /// The inventory partitions that hold its SKUs, each with its SKUs, in order.
    pub(super) fn partitions(&self, count: u32) -> BTreeMap<u32, BTreeMap<&Sku, i64>> {
        by_partition(
            self.lines.iter().map(|line| (&line.sku, line.quantity)),
            count,
        )
    }
}

/// Units by inventory partition and SKU, both in order.
pub(super) fn by_partition<'a>(
    lines: impl Iterator<Item = (&'a Sku, i64)>,
    count: u32,
) -> BTreeMap<u32, BTreeMap<&'a Sku, i64>> {
    let mut partitions: BTreeMap<u32, BTreeMap<&Sku, i64>> = BTreeMap::new();
    for (sku, quantity) in lines {
        let partition = partition_of(sku.as_str(), count);
        let sum = partitions
            .entry(partition)
            .or_default()
            .entry(sku)
            .or_default();
        *sum = sum.saturating_add(quantity);
    }
    partitions
}

/// All that is known under an order's id: the order, and what the payment provider reported, be it
/// before there was such an order or without there ever being one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Order {
    pub(super) version: u64,
    pub(super) last_seq: u64,
    pub(super) placed: Option<Placed>,
    /// By payment and operation.
    pub(super) operations: SmallMap<(Reference, Reference), Operation>,
    /// The operation to whose decision the last event belongs.
    pub(super) latest_operation: Option<(Reference, Reference)>,
}

impl Order {
    /// The order; `None` where there are only payments for one that nobody knows.
    #[must_use]
    pub const fn placed(&self) -> Option<&Placed> {
        self.placed.as_ref()
    }

    /// Version of what is known under the id: payments for an order that nobody knows count.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Where the order stands.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        self.placed.as_ref().map(|placed| placed.standing)
    }

    /// Until when an open order can be paid.
    #[must_use]
    pub fn payment_due(&self) -> Option<Timestamp> {
        let placed = self.placed.as_ref()?;
        placed
            .standing
            .stage
            .is_open()
            .then_some(placed.payment_deadline)
    }

    /// Bytes of what it has on the heap, about.
    pub(in crate::checkout) fn parts_size_hint(&self) -> usize {
        let operation = size_of::<((Reference, Reference), Operation)>() + 2 * ENTRY_BYTES;
        let placed = self.placed.as_ref().map_or(0, |placed| {
            let movements = placed.shipments.len() + placed.returns.len();
            placed.lines.len() * (size_of::<Line>() + ENTRY_BYTES)
                + placed.return_dues.len() * size_of::<ReturnDue>()
                + movements * (size_of::<(Reference, Movement)>() + ENTRY_BYTES)
        });
        self.operations.len() * operation + placed
    }

    /// Where earlier events stand.
    pub(super) fn seqs(written: &Written) -> Vec<(Stream, u64)> {
        written.seqs(Stream::Order)
    }
}

/// What a caller is told of an order that stands at `standing`.
pub(super) fn data(id: &OrderId, currency: &Currency, standing: &Standing) -> Value {
    json!({
        "order_id": id,
        "status": standing.status(),
        "total_minor": standing.total_minor,
        "currency": currency,
        "captured_minor": standing.captured_minor,
        "refunded_minor": standing.refunded_minor,
        "refund_due_minor": standing.owed_minor(),
        "shipped_units": standing.shipped_units,
        "returned_units": standing.returned_units,
    })
}
