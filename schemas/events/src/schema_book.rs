//! Which schema goes with which topic. The schemas are built in: a program reads and writes with
//! the ones it was compiled against, whatever lies on the disk beside it.

use crate::event::Event;
use crate::journal::JournalRecord;
use crate::messages::Message;
use crate::streams::{Context, Stream};
use crate::wire::Wire as _;

/// A topic whose records have an Avro schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchemaTopic {
    /// A public stream of events.
    Events(Stream),
    /// Messages to a context's shards.
    Inbox(Context),
    /// Transactions of a context's shards.
    Journal(Context),
}

impl SchemaTopic {
    /// Every such topic.
    pub const ALL: [SchemaTopic; 10] = [
        SchemaTopic::Events(Stream::Product),
        SchemaTopic::Events(Stream::Stock),
        SchemaTopic::Events(Stream::Cart),
        SchemaTopic::Events(Stream::Order),
        SchemaTopic::Inbox(Context::Catalog),
        SchemaTopic::Inbox(Context::Inventory),
        SchemaTopic::Inbox(Context::Checkout),
        SchemaTopic::Journal(Context::Catalog),
        SchemaTopic::Journal(Context::Inventory),
        SchemaTopic::Journal(Context::Checkout),
    ];

    /// The topic's name.
    #[must_use]
    pub const fn topic(self) -> &'static str {
        match self {
            SchemaTopic::Events(stream) => stream.topic(),
            SchemaTopic::Inbox(context) => context.inbox_topic(),
            SchemaTopic::Journal(context) => context.journal_topic(),
        }
    }

    /// The registry's subject of the topic's values.
    #[must_use]
    pub fn subject(self) -> String {
        subject_of(self.topic())
    }

    /// The schema's name: its file in `schemas/avro` without `.avsc`, and its folder of kept
    /// versions and golden records. Inboxes share one schema, and journals another.
    #[must_use]
    pub const fn schema_name(self) -> &'static str {
        match self {
            SchemaTopic::Events(stream) => stream.topic(),
            SchemaTopic::Inbox(_) => "inbox.v1",
            SchemaTopic::Journal(_) => "journal.v1",
        }
    }

    /// The schema, as its file has it.
    #[must_use]
    pub const fn schema(self) -> &'static str {
        match self {
            SchemaTopic::Events(Stream::Product) => {
                include_str!("../../avro/catalog.product.events.v1.avsc")
            }
            SchemaTopic::Events(Stream::Stock) => {
                include_str!("../../avro/inventory.stock.events.v1.avsc")
            }
            SchemaTopic::Events(Stream::Cart) => {
                include_str!("../../avro/checkout.cart.events.v1.avsc")
            }
            SchemaTopic::Events(Stream::Order) => {
                include_str!("../../avro/checkout.order.events.v1.avsc")
            }
            SchemaTopic::Inbox(_) => include_str!("../../avro/inbox.v1.avsc"),
            SchemaTopic::Journal(_) => include_str!("../../avro/journal.v1.avsc"),
        }
    }

    /// The bytes of a record that is given as JSON, without the wire format's schema id.
    ///
    /// # Errors
    /// When it is not JSON of the topic's kind.
    pub fn encode_json(self, json: &str) -> Result<Vec<u8>, serde_json::Error> {
        let mut out = Vec::new();
        match self {
            SchemaTopic::Events(_) => serde_json::from_str::<Event>(json)?.encode_into(&mut out),
            SchemaTopic::Inbox(_) => serde_json::from_str::<Message>(json)?.encode(&mut out),
            SchemaTopic::Journal(_) => {
                serde_json::from_str::<JournalRecord>(json)?.encode(&mut out)
            }
        }
        Ok(out)
    }

    /// Its place in [`SchemaTopic::ALL`].
    pub(crate) const fn index(self) -> usize {
        match self {
            SchemaTopic::Events(Stream::Product) => 0,
            SchemaTopic::Events(Stream::Stock) => 1,
            SchemaTopic::Events(Stream::Cart) => 2,
            SchemaTopic::Events(Stream::Order) => 3,
            SchemaTopic::Inbox(Context::Catalog) => 4,
            SchemaTopic::Inbox(Context::Inventory) => 5,
            SchemaTopic::Inbox(Context::Checkout) => 6,
            SchemaTopic::Journal(Context::Catalog) => 7,
            SchemaTopic::Journal(Context::Inventory) => 8,
            SchemaTopic::Journal(Context::Checkout) => 9,
        }
    }
}

/// The registry's subject of a topic's values: TopicNameStrategy.
#[must_use]
pub fn subject_of(topic: &str) -> String {
    format!("{topic}-value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_listed_at_its_index() {
        for (index, topic) in SchemaTopic::ALL.into_iter().enumerate() {
            assert_eq!(topic.index(), index, "{topic:?}");
        }
    }
}
