//! Which transactional ids write where.

use cartwright_event_log::TopicPartition;
use cartwright_events::{Context, NODES_TOPIC, OWNERS_TOPIC};
use cartwright_shard::nodes::{ALLOCATOR_TRANSACTIONAL_ID, NODE_TRANSACTIONAL_ID};

/// Whether a transactional id may have written to a partition: anybody to an inbox, a shard to its own
/// partition, nodes and the allocator to the topics about the nodes.
pub(crate) fn may_write(transactional_id: &str, at: &TopicPartition) -> bool {
    let topic = at.topic.as_ref();
    if [NODES_TOPIC, OWNERS_TOPIC].contains(&topic) {
        return transactional_id == ALLOCATOR_TRANSACTIONAL_ID
            || transactional_id.starts_with(NODE_TRANSACTIONAL_ID);
    }
    Context::ALL.into_iter().any(|context| {
        let mut events = context.streams().iter().map(|stream| stream.topic());
        let is_own = events.any(|one| one == topic)
            || [context.journal_topic(), context.snapshots_topic()].contains(&topic);
        topic == context.inbox_topic()
            || (is_own && transactional_id == context.transactional_id(at.partition))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_may_have_written_to_its_own_partition_and_to_every_inbox() {
        let shard = Context::Checkout.transactional_id(1);
        let may = |topic, partition| may_write(&shard, &TopicPartition::new(topic, partition));
        assert!(may(Context::Checkout.journal_topic(), 1));
        assert!(may(Context::Checkout.snapshots_topic(), 1));
        assert!(may(Context::Checkout.streams()[0].topic(), 1));
        assert!(may(Context::Inventory.inbox_topic(), 0));
        assert!(!may(Context::Checkout.journal_topic(), 0));
        assert!(!may(Context::Inventory.journal_topic(), 1));
        assert!(!may(NODES_TOPIC, 0));
        let nodes = TopicPartition::new(NODES_TOPIC, 0);
        assert!(may_write("cartwright-node-a", &nodes));
    }
}
