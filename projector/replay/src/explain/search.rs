//! Finding the events and messages that are about an order.

use std::collections::BTreeSet;

use anyhow::Context as _;
use cartwright_event_log::{EventLog, Record, Start, TopicPartition};
use cartwright_events::cart::CartEvent;
use cartwright_events::codec::Codec;
use cartwright_events::envelope::header;
use cartwright_events::messages::MessageId;
use cartwright_events::order::OrderEvent;
use cartwright_events::{Context, EventBody, Stream, Timestamp};
use cartwright_projector::decode;
use serde_json::{Value, json};

use super::{Fact, Kind, Sender};
use crate::reading::{decided, read_once};

pub(super) struct Search<'a> {
    pub(super) codec: &'a Codec,
    pub(super) order_id: &'a str,
    /// SKUs that the order has or its cart had.
    pub(super) skus: BTreeSet<String>,
    pub(super) facts: Vec<Fact>,
    pub(super) records_read: u64,
}

impl<'a> Search<'a> {
    pub(super) fn new(codec: &'a Codec, order_id: &'a str) -> Self {
        Self {
            codec,
            order_id,
            skus: BTreeSet::new(),
            facts: Vec::new(),
            records_read: 0,
        }
    }

    /// Reads the events and the inbox of these partitions.
    pub(super) fn read(
        &mut self,
        log: &impl EventLog,
        places: &[(Context, u32)],
    ) -> anyhow::Result<()> {
        let mut starts = Vec::new();
        for (context, partition) in places {
            let streams = context.streams().iter().map(|stream| stream.topic());
            let topics = streams.chain([context.inbox_topic()]);
            starts.extend(
                topics.map(|topic| (TopicPartition::new(topic, *partition), Start::Beginning)),
            );
        }
        read_once(log, &starts, |record| {
            self.records_read += 1;
            match Stream::of_topic(&record.topic) {
                Some(stream) => self.event(stream, record),
                None => self.message(record),
            }
            .with_context(|| format!("{} at {}", record.topic_partition(), record.offset))
        })
        .map(drop)
    }

    fn event(&mut self, stream: Stream, record: &Record) -> anyhow::Result<()> {
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
        let may_concern = match stream {
            Stream::Stock => self.skus.contains(key.as_ref()),
            _ => key == self.order_id,
        };
        if !may_concern {
            return Ok(());
        }
        let Some(value) = record.value.as_deref() else {
            return Ok(());
        };
        let event = match decided(decode(self.codec, stream, value))? {
            Ok(event) => event,
            Err(error) => {
                let details = json!({ "unreadable": error.to_string() });
                let context = stream.context().name();
                self.fact(Kind::Event, context, "?", &key, record, details);
                return Ok(());
            }
        };
        match &event.body {
            EventBody::Stock(stock) if stock.order_id() != Some(self.order_id) => return Ok(()),
            EventBody::Cart(CartEvent::ItemAdded(added)) => {
                self.skus.insert(added.sku.to_string());
            }
            EventBody::Order(OrderEvent::Created(created)) => {
                let skus = created.lines.iter().map(|line| line.sku.to_string());
                self.skus.extend(skus);
            }
            _ => {}
        }
        let mut details = serde_json::to_value(&event)?;
        let data = details.get_mut("data").map(Value::take).unwrap_or_default();
        let context = stream.context().name();
        let type_name = event.body.type_name();
        self.fact(Kind::Event, context, type_name, &key, record, data);
        Ok(())
    }

    fn message(&mut self, record: &Record) -> anyhow::Result<()> {
        let context = Context::ALL
            .into_iter()
            .find(|context| context.inbox_topic() == &*record.topic);
        let (Some(context), Some(value)) = (context, record.value.as_deref()) else {
            return Ok(());
        };
        let message = match decided(self.codec.decode_message(context, value))? {
            Ok(message) => message,
            // A message has the key of what it is about.
            Err(error) if record.key.as_deref() == Some(self.order_id.as_bytes()) => {
                let details = json!({ "unreadable": error.to_string() });
                let (context, subject) = (context.name(), self.order_id);
                self.fact(Kind::Message, context, "?", subject, record, details);
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        if message.key() != self.order_id {
            return Ok(());
        }
        let details = serde_json::to_value(&message)?;
        let type_name = message.type_name();
        let subject = self.order_id.to_owned();
        self.fact(
            Kind::Message,
            context.name(),
            type_name,
            &subject,
            record,
            details,
        );
        Ok(())
    }

    pub(super) fn fact(
        &mut self,
        kind: Kind,
        context: &'static str,
        type_name: &str,
        subject: &str,
        record: &Record,
        details: Value,
    ) {
        let text = |name: &str| {
            let value = record.header(name).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        self.facts.push(Fact {
            kind,
            context,
            type_name: type_name.to_owned(),
            subject: subject.to_owned(),
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
            // A journal's record has a number there, too: its transaction's.
            seq: match kind {
                Kind::Event => text(header::SEQ).parse().ok(),
                _ => None,
            },
            recorded_at: Timestamp::from_micros(record.timestamp_us),
            since_first_ms: 0,
            since_previous_ms: 0,
            command_id: text(header::COMMAND_ID),
            correlation_id: text(header::CORRELATION_ID),
            transaction: None,
            sender: MessageId::parse(&text(header::CE_ID)).map(|id| Sender {
                context: id.context.name(),
                partition: id.partition,
                transaction: id.transaction,
            }),
            details,
        });
    }
}
