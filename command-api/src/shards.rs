//! The shards of one context, as the edge sees them.

use std::sync::Arc;

use cartwright_events::Context;
use cartwright_events::partition::partition_of;
use cartwright_shard::Mailbox;
use cartwright_shard::nodes::ShardId;
use tokio::sync::watch;

/// The shards of a context, by partition: those that run in this process with their mailbox. A cheap
/// handle; clones share it.
#[derive(Debug)]
pub struct Shards<C> {
    context: Context,
    slots: Arc<Vec<Slot<C>>>,
}

/// Where the shard of a partition is reached in this process; nothing while none runs here.
pub type Slot<C> = watch::Sender<Option<Mailbox<C>>>;

/// One shard: where a key's commands go.
#[derive(Debug)]
pub struct ShardRef<'a, C> {
    /// Which.
    pub id: ShardId,
    /// How to reach it here.
    pub slot: &'a Slot<C>,
}

impl<C> Clone for Shards<C> {
    fn clone(&self) -> Self {
        Self {
            context: self.context,
            slots: Arc::clone(&self.slots),
        }
    }
}

impl<C> Shards<C> {
    /// The shards of `context`, none of which runs yet.
    ///
    /// # Panics
    /// Without a partition: a context has at least one.
    #[must_use]
    pub fn new(context: Context, partitions: u32) -> Self {
        assert!(partitions > 0, "a context has at least one partition");
        let slots = (0..partitions).map(|_| watch::Sender::new(None));
        Self {
            context,
            slots: Arc::new(slots.collect()),
        }
    }

    /// Which context.
    #[must_use]
    pub fn context(&self) -> Context {
        self.context
    }

    /// Where the shard of a partition is reached here; `None` when there is no such partition.
    #[must_use]
    pub fn at(&self, partition: u32) -> Option<&Slot<C>> {
        self.slots.get(partition as usize)
    }

    /// The shard that decides for `key`.
    #[must_use]
    pub fn of(&self, key: &str) -> ShardRef<'_, C> {
        let partition = partition_of(key, self.slots.len() as u32);
        ShardRef {
            id: ShardId {
                context: self.context,
                partition,
            },
            slot: &self.slots[partition as usize],
        }
    }

    /// Puts the mailbox of a shard that was started where the edge finds it.
    pub(crate) fn set(&self, partition: u32, mailbox: Option<Mailbox<C>>) {
        if let Some(slot) = self.slots.get(partition as usize) {
            slot.send_replace(mailbox);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.slots.len() as u32
    }
}
