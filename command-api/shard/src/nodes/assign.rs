//! Spreading shards over nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::{NodeId, ShardId};

/// Spreads `shards` over `nodes`: each node gets the same number to within one, and as few shards as
/// possible leave the node that they are on in `previous`. The same input gives the same output.
///
/// Without a node nothing is assigned.
#[must_use]
pub fn assign(
    previous: &BTreeMap<ShardId, NodeId>,
    shards: &BTreeSet<ShardId>,
    nodes: &BTreeSet<NodeId>,
) -> BTreeMap<ShardId, NodeId> {
    if nodes.is_empty() {
        return BTreeMap::new();
    }
    let mut held: BTreeMap<&NodeId, Vec<ShardId>> =
        nodes.iter().map(|node| (node, Vec::new())).collect();
    let mut homeless = Vec::new();
    for shard in shards {
        let holder = previous.get(shard).and_then(|node| held.get_mut(node));
        match holder {
            Some(held) => held.push(*shard),
            None => homeless.push(*shard),
        }
    }
    // One more than the others is allowed to the nodes that hold most: every other choice would
    // take a shard from one of them that could have stayed.
    let (each, more) = (shards.len() / nodes.len(), shards.len() % nodes.len());
    let mut by_load: Vec<&NodeId> = nodes.iter().collect();
    by_load.sort_by_key(|node| (std::cmp::Reverse(held[*node].len()), *node));
    let quotas = by_load
        .iter()
        .enumerate()
        .map(|(index, node)| (*node, each + usize::from(index < more)));
    let quotas: BTreeMap<&NodeId, usize> = quotas.collect();

    for (node, held) in &mut held {
        homeless.extend(held.split_off(held.len().min(quotas[*node])));
    }
    homeless.sort_unstable();
    let mut homeless = homeless.into_iter();
    for (node, held) in &mut held {
        let room = quotas[*node] - held.len();
        held.extend(homeless.by_ref().take(room));
    }
    held.into_iter()
        .flat_map(|(node, shards)| shards.into_iter().map(|shard| (shard, node.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use cartwright_events::Context;
    use proptest::prelude::*;

    use super::*;

    fn shards(count: u32) -> BTreeSet<ShardId> {
        (0..count)
            .map(|number| ShardId {
                context: Context::ALL[number as usize % 3],
                partition: number / 3,
            })
            .collect()
    }

    fn nodes(names: impl IntoIterator<Item = usize>) -> BTreeSet<NodeId> {
        names
            .into_iter()
            .map(|name| NodeId(format!("node-{name}")))
            .collect()
    }

    fn loads(
        assigned: &BTreeMap<ShardId, NodeId>,
        nodes: &BTreeSet<NodeId>,
    ) -> BTreeMap<NodeId, usize> {
        let mut loads: BTreeMap<NodeId, usize> =
            nodes.iter().map(|node| (node.clone(), 0)).collect();
        for node in assigned.values() {
            *loads.get_mut(node).expect("one of the nodes") += 1;
        }
        loads
    }

    /// The most shards that can stay where they are under any even spread: by trying every choice
    /// of the nodes that may have one more.
    fn most_that_stay(
        previous: &BTreeMap<ShardId, NodeId>,
        shards: &BTreeSet<ShardId>,
        nodes: &BTreeSet<NodeId>,
    ) -> usize {
        let (each, more) = (shards.len() / nodes.len(), shards.len() % nodes.len());
        let held: Vec<usize> = nodes
            .iter()
            .map(|node| {
                let is_held = |shard: &&ShardId| previous.get(shard) == Some(node);
                shards.iter().filter(is_held).count()
            })
            .collect();
        (0_u32..1 << nodes.len())
            .filter(|chosen| chosen.count_ones() as usize == more)
            .map(|chosen| {
                let stays = |(index, held): (usize, &usize)| {
                    (*held).min(each + usize::from(chosen & (1 << index) != 0))
                };
                held.iter().enumerate().map(stays).sum()
            })
            .max()
            .unwrap_or(0)
    }

    proptest! {
        #[test]
        fn even_to_within_one_with_the_fewest_moves_and_always_the_same(
            count in 1_u32..40,
            alive in prop::collection::btree_set(0_usize..8, 1..7),
            before in prop::collection::vec(prop::option::of(0_usize..8), 40),
        ) {
            let (shards, nodes) = (shards(count), nodes(alive));
            let previous: BTreeMap<ShardId, NodeId> = shards
                .iter()
                .zip(&before)
                .filter_map(|(shard, node)| Some((*shard, NodeId(format!("node-{}", (*node)?)))))
                .collect();
            let assigned = assign(&previous, &shards, &nodes);
            prop_assert_eq!(assigned.keys().copied().collect::<BTreeSet<_>>(), shards.clone());
            let loads = loads(&assigned, &nodes);
            let (least, most) = (loads.values().min().unwrap(), loads.values().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", loads);
            let stayed = assigned.iter().filter(|(shard, node)| previous.get(shard) == Some(*node));
            prop_assert_eq!(stayed.count(), most_that_stay(&previous, &shards, &nodes));
            prop_assert_eq!(&assign(&previous, &shards, &nodes), &assigned);
            // What is even already stays as it is.
            prop_assert_eq!(assign(&assigned, &shards, &nodes), assigned);
        }
    }

    #[test]
    fn without_a_node_nothing_is_assigned() {
        assert!(assign(&BTreeMap::new(), &shards(6), &nodes([])).is_empty());
    }

    #[test]
    fn a_third_node_takes_two_of_six_and_no_other_shard_moves() {
        let before = assign(&BTreeMap::new(), &shards(6), &nodes([1, 2]));
        let after = assign(&before, &shards(6), &nodes([1, 2, 3]));
        let moved = |(shard, node): &(&ShardId, &NodeId)| before[*shard] != **node;
        assert_eq!(after.iter().filter(moved).count(), 2);
        assert!(
            loads(&after, &nodes([1, 2, 3]))
                .values()
                .all(|load| *load == 2)
        );
    }
}
