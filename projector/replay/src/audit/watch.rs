//! What is open, folded from the log as it comes.

use std::collections::BTreeMap;

use anyhow::ensure;
use cartwright_event_log::{Record, Start, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_events::inventory::StockEvent;
use cartwright_events::order::OrderEvent;
use cartwright_events::{Event, EventBody, Stream, Timestamp};
use cartwright_projector::{decode, envelope};
use serde::{Deserialize, Serialize};

use super::findings::{Evidence, Finding, Severity, rules};
use super::open_order::OpenOrder;
use super::strays::KnownStray;
use super::unread::Unread;
use crate::reading::decided;

/// Open things of one kind that are remembered; a shop with more of them is not audited like this.
const MOST_OPEN: usize = 2_000_000;
/// Broken rules that are remembered one by one.
const MOST_BREACHES: usize = 10_000;
/// Rows that no event made which are remembered.
const MOST_STRAYS: usize = 10_000;

/// What is remembered between two audits.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Watch {
    /// The form of what is remembered: [`Watch::FORMAT`].
    pub format: u32,
    /// The generation of the log that it is about.
    pub generation: u32,
    /// How far each topic-partition was read.
    pub positions: BTreeMap<String, BTreeMap<u32, Seen>>,
    /// Orders that are not settled.
    pub orders: BTreeMap<String, OpenOrder>,
    /// Units that are held, by order and SKU.
    pub holds: BTreeMap<String, BTreeMap<String, Hold>>,
    /// Units on hand and reserved by SKU, as the last event has them.
    pub stock: BTreeMap<String, Books>,
    /// From where on the rows that a topic-partition's events made are still to be held against them:
    /// some view had not applied an event yet, or a row was wrong.
    #[serde(default)]
    pub rows_from: BTreeMap<String, BTreeMap<u32, u64>>,
    /// Broken rules of single events that nobody has taken note of.
    #[serde(default)]
    pub breaches: Vec<Finding>,
    /// Those that there is no room for.
    #[serde(default)]
    pub more_breaches: u64,
    /// Rows that no event made, found when the whole log was read: looked at until they are gone or an event
    /// has written to them.
    pub strays: Vec<KnownStray>,
    /// Those that there is no room for.
    pub more_strays: u64,
    /// Where reading has stopped this time; the next audit begins there.
    #[serde(skip)]
    pub(super) unread: Unread,
}

/// How far a topic-partition was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The next offset.
    pub next_offset: u64,
    /// The last seq.
    pub seq: u64,
    /// The log's time of the last record.
    pub recorded_at: Option<Timestamp>,
}

/// Units that are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// How many.
    pub units: i64,
    /// When the log took the last change.
    pub changed_at: Timestamp,
    /// That event.
    pub at: Evidence,
}

/// A SKU's books.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// Units on hand.
    pub on_hand: i64,
    /// Units held.
    pub reserved: i64,
}

/// Where an event stands and when.
struct Place<'a> {
    record: &'a Record,
    at: Timestamp,
}

impl Place<'_> {
    fn evidence(&self) -> Evidence {
        Evidence {
            topic: self.record.topic.to_string(),
            partition: self.record.partition,
            offset: self.record.offset,
        }
    }
}

impl Watch {
    /// Raised when something else is remembered than before: what an older audit has forgotten can be
    /// had from the log only.
    pub const FORMAT: u32 = 4;

    /// Nothing read yet.
    #[must_use]
    pub fn new(generation: u32) -> Self {
        Self {
            format: Self::FORMAT,
            generation,
            ..Self::default()
        }
    }

    /// Where to read a topic-partition from.
    #[must_use]
    pub fn start(&self, at: &TopicPartition) -> Start {
        match self.seen(&at.topic, at.partition) {
            Some(seen) => Start::Offset(seen.next_offset),
            None => Start::Beginning,
        }
    }

    /// How far a topic-partition was read.
    #[must_use]
    pub fn seen(&self, topic: &str, partition: u32) -> Option<Seen> {
        self.positions.get(topic)?.get(&partition).copied()
    }

    /// Everything of a topic-partition before `end` has been taken, or before what can't be read yet.
    pub fn read_to(&mut self, at: &TopicPartition, end: u64) {
        let end = self.unread.offset(at).map_or(end, |unread| unread.min(end));
        self.seen_mut(&at.topic, at.partition).next_offset = end;
    }

    /// Where to read a topic-partition from so that its rows can be held against its events, too.
    #[must_use]
    pub fn rows_start(&self, at: &TopicPartition) -> Start {
        let from = self.rows_from.get(&*at.topic);
        match (
            from.and_then(|from| from.get(&at.partition)),
            self.start(at),
        ) {
            (Some(from), Start::Offset(next)) => Start::Offset(next.min(*from)),
            (_, start) => start,
        }
    }

    /// Keeps from where on rows are still to be looked at.
    pub fn keep_rows_from(&mut self, from: impl IntoIterator<Item = (TopicPartition, u64)>) {
        self.rows_from.clear();
        for (at, offset) in from {
            let partitions = self.rows_from.entry(at.topic.to_string()).or_default();
            partitions.insert(at.partition, offset);
        }
    }

    /// Keeps the rows that no event made, as many as there is room for.
    pub fn keep_strays(&mut self, mut strays: Vec<KnownStray>) {
        self.more_strays += strays.len().saturating_sub(MOST_STRAYS) as u64;
        strays.truncate(MOST_STRAYS);
        self.strays = strays;
    }

    /// Takes the broken rules that are kept as known: they are not told again. So are rows that there was no
    /// room for; the others are told until they are mended.
    pub fn acknowledge(&mut self) -> u64 {
        let known = self.breaches.len() as u64 + self.more_breaches + self.more_strays;
        self.breaches.clear();
        (self.more_breaches, self.more_strays) = (0, 0);
        known
    }

    /// Takes what is owed back under an order's id as known, for a reason. Answers whether anything is.
    pub fn acknowledge_owed(&mut self, order_id: &str, reason: &str, now: Timestamp) -> bool {
        let order = self.orders.get_mut(order_id);
        order.is_some_and(|order| order.acknowledge(reason, now))
    }

    fn seen_mut(&mut self, topic: &str, partition: u32) -> &mut Seen {
        let partitions = self.positions.entry(topic.to_owned()).or_default();
        partitions.entry(partition).or_default()
    }

    /// Takes the next record of its topic-partition; one that was taken before changes nothing. Of a
    /// topic-partition with a record that can't be read yet, nothing from there on is taken.
    ///
    /// # Errors
    /// When the registry does not answer, or too much is open.
    pub fn take(&mut self, codec: &Codec, stream: Stream, record: &Record) -> anyhow::Result<()> {
        let seen = self.seen(&record.topic, record.partition);
        let is_taken = seen.is_some_and(|seen| record.offset < seen.next_offset);
        if is_taken || self.unread.holds(record) {
            return Ok(());
        }
        let at = Timestamp::from_micros(record.timestamp_us);
        let place = Place { record, at };
        let partition = record.partition;
        let envelope = match envelope(stream, record) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.breach(
                    rules::WRITTEN_BY_A_SHARD,
                    record_key(record),
                    &place,
                    error.to_string(),
                );
                return Ok(());
            }
        };
        let value = record.value.as_deref().unwrap_or_default();
        let event = decided(decode(codec, stream, value))?;
        if let Err(error) = &event
            && Unread::is(error)
        {
            self.unread.add(record, error);
            return Ok(());
        }
        let seen = self.seen_mut(&record.topic, partition);
        let expected = seen.seq + 1;
        seen.seq = envelope.seq;
        seen.recorded_at = Some(at);
        if envelope.seq != expected {
            let detail = format!("seq {} where {expected} is due", envelope.seq);
            self.breach(rules::SEQS_ARE_DENSE, record_key(record), &place, detail);
        }
        match event {
            Ok(event) => self.event(&event, &place),
            Err(error) => {
                self.breach(
                    rules::EVENTS_CAN_BE_READ,
                    record_key(record),
                    &place,
                    error.to_string(),
                );
            }
        }
        let open = self
            .orders
            .len()
            .max(self.holds.len())
            .max(self.stock.len());
        ensure!(
            open <= MOST_OPEN,
            "more than {MOST_OPEN} orders or SKUs are open"
        );
        Ok(())
    }

    fn breach(&mut self, rule: &'static str, subject: String, place: &Place<'_>, detail: String) {
        if self.breaches.len() >= MOST_BREACHES {
            self.more_breaches += 1;
            return;
        }
        self.breaches.push(Finding {
            severity: Severity::Error,
            rule,
            subject,
            detail,
            evidence: Some(place.evidence()),
        });
    }

    fn event(&mut self, event: &Event, place: &Place<'_>) {
        match &event.body {
            EventBody::Stock(stock) => self.stock_event(&event.aggregate_id, stock, place),
            EventBody::Order(order) => self.order_event(event, order, place),
            EventBody::Product(_) | EventBody::Cart(_) => {}
        }
    }

    fn order_event(&mut self, event: &Event, order: &OrderEvent, place: &Place<'_>) {
        let id = &event.aggregate_id;
        let known = self.orders.remove(id);
        let mut open = known.unwrap_or_else(|| OpenOrder::before(place.at, place.evidence()));
        open.take(order, place.at, place.evidence());
        // Inventory may not have let go yet, or not as far as it was read.
        if !open.is_settled() || self.holds.contains_key(id) {
            self.orders.insert(id.clone(), open);
        }
    }

    fn stock_event(&mut self, sku: &str, event: &StockEvent, place: &Place<'_>) {
        let (order_id, change, on_hand, reserved) = match event {
            StockEvent::Received(body) => (None, 0, body.on_hand, body.reserved),
            StockEvent::Adjusted(body) => (None, 0, body.on_hand, body.reserved),
            StockEvent::Restocked(body) => (None, 0, body.on_hand, body.reserved),
            StockEvent::ShortfallChanged(body) => (None, 0, body.on_hand, body.reserved),
            StockEvent::ReservationRejected(body) => (None, 0, body.on_hand, body.reserved),
            StockEvent::Reserved(body) => {
                let id = Some(&body.order_id);
                (id, body.quantity, body.on_hand, body.reserved)
            }
            StockEvent::Released(body) => {
                let id = Some(&body.order_id);
                (id, -body.quantity, body.on_hand, body.reserved)
            }
            StockEvent::Shipped(body) => {
                let id = Some(&body.order_id);
                (id, -body.quantity, body.on_hand, body.reserved)
            }
        };
        let books = self.stock.entry(sku.to_owned()).or_default();
        let expected = books.reserved + change;
        *books = Books { on_hand, reserved };
        if reserved != expected {
            let detail =
                format!("{reserved} reserved by the event, {expected} by what came before");
            self.breach(
                rules::RESERVED_IS_THE_SUM_OF_HOLDS,
                sku.to_owned(),
                place,
                detail,
            );
        }
        if on_hand < 0 {
            let detail = format!("{on_hand} on hand");
            self.breach(
                rules::ON_HAND_IS_NEVER_NEGATIVE,
                sku.to_owned(),
                place,
                detail,
            );
        }
        if let Some(order_id) = order_id {
            self.hold(order_id.as_str(), sku, change, place);
        }
    }

    fn hold(&mut self, order_id: &str, sku: &str, change: i64, place: &Place<'_>) {
        let skus = self.holds.entry(order_id.to_owned()).or_default();
        let hold = skus.entry(sku.to_owned()).or_insert_with(|| Hold {
            units: 0,
            changed_at: place.at,
            at: place.evidence(),
        });
        hold.units += change;
        hold.changed_at = place.at;
        hold.at = place.evidence();
        let units = hold.units;
        if units == 0 {
            skus.remove(sku);
        }
        if skus.is_empty() {
            self.holds.remove(order_id);
            if self.orders.get(order_id).is_some_and(OpenOrder::is_settled) {
                self.orders.remove(order_id);
            }
        }
        if units < 0 {
            let detail = format!("{units} units of {sku} are held: more let go than there were");
            self.breach(
                rules::HOLDS_ARE_NEVER_NEGATIVE,
                order_id.to_owned(),
                place,
                detail,
            );
        }
    }
}

fn record_key(record: &Record) -> String {
    String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned()
}
