//! Bounded contexts, their topics, and where a key lives.

use serde::{Deserialize, Serialize};

use crate::wire::{DecodeError, Wire};

/// Signs of life of command-api's nodes, by node. Of no context; one partition, which elects.
pub const NODES_TOPIC: &str = "command.nodes.v1";
/// Which node owns which shard, by shard. Of no context; one partition, compacted.
pub const OWNERS_TOPIC: &str = "command.owners.v1";

/// A bounded context: deployable on its own, with its own partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    /// Products and their prices.
    Catalog,
    /// Stock, per SKU.
    Inventory,
    /// Carts and orders.
    Checkout,
}

impl Context {
    /// Every context.
    pub const ALL: [Context; 3] = [Context::Catalog, Context::Inventory, Context::Checkout];

    /// The context's name in topic names, transactional ids and configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Context::Catalog => "catalog",
            Context::Inventory => "inventory",
            Context::Checkout => "checkout",
        }
    }

    /// The context's public event streams.
    #[must_use]
    pub const fn streams(self) -> &'static [Stream] {
        match self {
            Context::Catalog => &[Stream::Product],
            Context::Inventory => &[Stream::Stock],
            Context::Checkout => &[Stream::Cart, Stream::Order],
        }
    }

    /// The topic of messages to this context's shards.
    #[must_use]
    pub const fn inbox_topic(self) -> &'static str {
        match self {
            Context::Catalog => "catalog.inbox.v1",
            Context::Inventory => "inventory.inbox.v1",
            Context::Checkout => "checkout.inbox.v1",
        }
    }

    /// The topic with one record per transaction of this context's shards.
    #[must_use]
    pub const fn journal_topic(self) -> &'static str {
        match self {
            Context::Catalog => "catalog.journal.v1",
            Context::Inventory => "inventory.journal.v1",
            Context::Checkout => "checkout.journal.v1",
        }
    }

    /// The compacted topic of this context's snapshots.
    #[must_use]
    pub const fn snapshots_topic(self) -> &'static str {
        match self {
            Context::Catalog => "catalog.snapshots.v1",
            Context::Inventory => "inventory.snapshots.v1",
            Context::Checkout => "checkout.snapshots.v1",
        }
    }

    /// The transactional id that fences partition `partition` of this context.
    #[must_use]
    pub fn transactional_id(self, partition: u32) -> String {
        format!("cartwright-{}-{partition}", self.name())
    }
}

impl Wire for Context {
    /// As its name: an Avro `string`.
    fn encode(&self, out: &mut Vec<u8>) {
        (self.name().len() as i64).encode(out);
        out.extend_from_slice(self.name().as_bytes());
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let word = String::decode(input)?;
        let known = Context::ALL.into_iter().find(|one| one.name() == word);
        known.ok_or(DecodeError::UnknownWord {
            type_name: "Context",
            word,
        })
    }
}

#[cfg(test)]
impl crate::tests::generated::Generated for Context {
    fn generated() -> proptest::strategy::BoxedStrategy<Self> {
        use proptest::strategy::Strategy as _;
        proptest::sample::select(&Context::ALL[..]).boxed()
    }
}

/// A public stream of events: one topic, one kind of aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// `catalog.product.events.v1`, by SKU.
    Product,
    /// `inventory.stock.events.v1`, by SKU.
    Stock,
    /// `checkout.cart.events.v1`, by cart id.
    Cart,
    /// `checkout.order.events.v1`, by order id.
    Order,
}

impl Stream {
    /// Every stream.
    pub const ALL: [Stream; 4] = [Stream::Product, Stream::Stock, Stream::Cart, Stream::Order];

    /// The topic.
    #[must_use]
    pub const fn topic(self) -> &'static str {
        match self {
            Stream::Product => "catalog.product.events.v1",
            Stream::Stock => "inventory.stock.events.v1",
            Stream::Cart => "checkout.cart.events.v1",
            Stream::Order => "checkout.order.events.v1",
        }
    }

    /// The stream of a topic.
    #[must_use]
    pub fn of_topic(topic: &str) -> Option<Stream> {
        Stream::ALL
            .into_iter()
            .find(|stream| stream.topic() == topic)
    }

    /// The context that writes it.
    #[must_use]
    pub const fn context(self) -> Context {
        match self {
            Stream::Product => Context::Catalog,
            Stream::Stock => Context::Inventory,
            Stream::Cart | Stream::Order => Context::Checkout,
        }
    }

    /// One letter for the stream, in position tokens.
    #[must_use]
    pub const fn alias(self) -> char {
        match self {
            Stream::Product => 'p',
            Stream::Stock => 's',
            Stream::Cart => 'c',
            Stream::Order => 'o',
        }
    }
}
