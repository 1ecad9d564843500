//! The ledger: every event of the log, folded anew and audited on the way.
//!
//! Nothing here is taken from the services but the events' meaning as the schemas document it, so
//! that a mistake in one of them does not hide itself here. The demo and the audit keep their books
//! with it.

mod audit;
mod journal;
mod orders;
mod stock;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use cartwright_events::{Envelope, Event, EventBody, Stream};

pub use audit::{Audit, Example, Place};
pub use journal::JournalLedger;
pub use orders::{OrderEntry, OrderLedger, Sales};
pub use stock::{StockEntry, StockLedger};

/// The whole log so far.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Stock by SKU.
    pub stock: StockLedger,
    /// Orders by id.
    pub orders: OrderLedger,
    /// Transactions.
    pub journal: JournalLedger,
    /// Whether seqs are dense by topic-partition and versions by aggregate.
    pub dense: Audit,
    /// Events read.
    pub events: u64,
    last_seq: BTreeMap<(Stream, u32), u64>,
    versions: HashMap<(Stream, String), u64>,
    /// Aggregates of which an event could not be read: nothing is known of them since.
    unknown: HashSet<(Stream, String)>,
}

impl Ledger {
    /// An empty ledger that counts results of idempotency keys with this prefix.
    #[must_use]
    pub fn of_keys(prefix: &str) -> Self {
        Self {
            journal: JournalLedger::of_keys(prefix),
            ..Self::default()
        }
    }

    /// Takes the next event of its topic-partition.
    pub fn event(&mut self, envelope: &Envelope, event: &Event) {
        self.events += 1;
        self.seq(envelope);
        let key = (envelope.stream, event.aggregate_id.clone());
        if !self.unknown.contains(&key) {
            self.known(key, event);
        }
        self.place(envelope);
    }

    /// Takes the next event of its topic-partition, about the aggregate `id`, which can't be read: those that
    /// follow it about the same aggregate are held to no rule but that none is missing.
    pub fn unreadable(&mut self, envelope: &Envelope, id: &str) {
        self.seq(envelope);
        self.unknown.insert((envelope.stream, id.to_owned()));
        self.place(envelope);
    }

    fn seq(&mut self, envelope: &Envelope) {
        let place = (envelope.stream, envelope.partition);
        let last = self.last_seq.entry(place).or_default();
        self.dense.check(envelope.seq == *last + 1, || {
            let (topic, partition) = (envelope.stream.topic(), envelope.partition);
            format!("{topic}[{partition}]: seq {} after {last}", envelope.seq)
        });
        *last = envelope.seq;
    }

    fn known(&mut self, key: (Stream, String), event: &Event) {
        let topic = key.0.topic();
        let version = self.versions.entry(key).or_default();
        self.dense.check(event.version == *version + 1, || {
            format!(
                "{topic} {}: version {} after {version}",
                event.aggregate_id, event.version
            )
        });
        *version = event.version;
        match &event.body {
            EventBody::Stock(stock) => self.stock.take(&event.aggregate_id, stock),
            EventBody::Order(order) => self.orders.take(&event.aggregate_id, order),
            EventBody::Product(_) | EventBody::Cart(_) => {}
        }
    }

    /// What was noticed last was so of this event.
    fn place(&mut self, envelope: &Envelope) {
        let at = Place {
            topic: envelope.stream.topic(),
            partition: envelope.partition,
            offset: envelope.offset,
        };
        for audit in self.rules_mut() {
            audit.place(at);
        }
    }

    fn rules_mut(&mut self) -> [&mut Audit; 8] {
        let (stock, orders) = (&mut self.stock, &mut self.orders);
        [
            &mut self.dense,
            &mut stock.conserved,
            &mut stock.never_negative,
            &mut stock.reserved_is_holds,
            &mut stock.never_oversold,
            &mut orders.totals_add_up,
            &mut orders.money_adds_up,
            &mut orders.goods_add_up,
        ]
    }

    /// Every rule that single events are held to, with its name.
    #[must_use]
    pub fn rules(&self) -> [(&'static str, &Audit); 8] {
        let (stock, orders) = (&self.stock, &self.orders);
        [
            ("seqs and versions are dense", &self.dense),
            ("stock is conserved, SKU by SKU", &stock.conserved),
            ("units on hand are never negative", &stock.never_negative),
            (
                "reserved is the sum of open holds",
                &stock.reserved_is_holds,
            ),
            (
                "nothing is reserved that was not there",
                &stock.never_oversold,
            ),
            (
                "order totals are the sums of their lines",
                &orders.totals_add_up,
            ),
            ("captured, refunded and due add up", &orders.money_adds_up),
            (
                "shipped ≤ ordered, returned ≤ shipped",
                &orders.goods_add_up,
            ),
        ]
    }

    /// Last seq of each topic-partition.
    #[must_use]
    pub fn last_seqs(&self) -> &BTreeMap<(Stream, u32), u64> {
        &self.last_seq
    }

    /// What the last messages between orders and inventory have not settled yet: orders whose
    /// holds are not what the order's own events ask for.
    #[must_use]
    pub fn unsettled(&self) -> Vec<String> {
        let mut unsettled = Vec::new();
        for (id, order) in self.orders.all() {
            let held = self.stock.held_for(id);
            let wanted = order.units_to_hold();
            if wanted.is_some_and(|wanted| wanted != held) {
                unsettled.push(format!(
                    "order {id} is {} and holds {held} units",
                    order.status()
                ));
            }
            let shipped = self.stock.shipped_for(id);
            if shipped != order.shipped_units {
                let said = order.shipped_units;
                unsettled.push(format!(
                    "order {id} shipped {said} units, inventory {shipped}"
                ));
            }
        }
        unsettled
    }
}
