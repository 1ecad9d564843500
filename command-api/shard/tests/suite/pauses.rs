//! How long nobody answers for a shard that changes hands as planned. Shards take over at once here, so
//! this is what the nodes need to agree; reading the rest of the log comes to it.

use std::collections::BTreeMap;

use cartwright_shard::nodes::ShardId;

use crate::cluster::{Cluster, PARTITIONS, STEP_MS, shard};

/// The longest pause that the median shard may have.
const LIMIT_MS: u64 = 500;

/// What was seen of each shard.
#[derive(Default)]
struct Pauses {
    silent_ms: BTreeMap<ShardId, u64>,
    longest_ms: BTreeMap<ShardId, u64>,
}

impl Pauses {
    /// Asks every shard after each step, for as long as `goes_on`.
    fn watch(&mut self, cluster: &mut Cluster, mut goes_on: impl FnMut(&Cluster) -> bool) {
        let begun_ms = cluster.now_ms;
        while goes_on(cluster) {
            assert!(cluster.now_ms - begun_ms < 60_000, "it does not end");
            cluster.step();
            for shard in (0..PARTITIONS).map(shard) {
                let silent_ms = self.silent_ms.entry(shard).or_default();
                *silent_ms = if cluster.answers(shard) {
                    0
                } else {
                    *silent_ms + STEP_MS
                };
                let longest_ms = self.longest_ms.entry(shard).or_default();
                *longest_ms = (*longest_ms).max(*silent_ms);
            }
        }
    }

    /// Until every shard is served by the owner that it is to have.
    fn watch_until_settled(&mut self, cluster: &mut Cluster) {
        let mut left = 200;
        self.watch(cluster, |_| {
            left -= 1;
            left > 0
        });
        cluster.assert_even();
        let silent = self.silent_ms.values().filter(|silent_ms| **silent_ms > 0);
        assert_eq!(silent.count(), 0, "{:?}", self.silent_ms);
    }

    /// The longest pause of the shard in the middle of these.
    fn median_ms(&self, shards: impl Iterator<Item = ShardId>) -> u64 {
        let pauses = shards.map(|shard| self.longest_ms.get(&shard).copied().unwrap_or_default());
        let mut pauses: Vec<u64> = pauses.collect();
        pauses.sort_unstable();
        println!("longest pauses: {pauses:?} ms");
        pauses[pauses.len() / 2]
    }
}

#[test]
fn the_median_shard_pauses_for_half_a_second_at_most_while_every_node_is_restarted() {
    let mut cluster = Cluster::of([1, 2, 3]);
    cluster.settle();
    let mut pauses = Pauses::default();
    for node in [1, 2, 3] {
        cluster.agents.get_mut(&node).expect("a node").leave();
        pauses.watch(&mut cluster, |cluster| !cluster.agents[&node].is_released());
        cluster.agents.get_mut(&node).expect("a node").finish();
        cluster.kill(node);
        cluster.start(node);
        pauses.watch_until_settled(&mut cluster);
        assert!(cluster.loads()[&node] > 0);
    }
    let median_ms = pauses.median_ms((0..PARTITIONS).map(shard));
    assert!(median_ms > 0, "what moves is silent for a moment");
    assert!(median_ms <= LIMIT_MS, "{median_ms} ms");
}

#[test]
fn the_median_shard_that_goes_to_a_node_which_joins_pauses_for_half_a_second_at_most() {
    let mut cluster = Cluster::of([1]);
    cluster.settle();
    for node in [2, 3, 4] {
        let before = cluster.owners();
        let mut pauses = Pauses::default();
        cluster.start(node);
        pauses.watch_until_settled(&mut cluster);
        let after = cluster.owners();
        let moves = |partition: &u32| {
            let partition = *partition as usize;
            before[partition] != after[partition]
        };
        let (moved, stayed): (Vec<u32>, Vec<u32>) = (0..PARTITIONS).partition(moves);
        let median_ms = pauses.median_ms(moved.into_iter().map(shard));
        assert!(median_ms <= LIMIT_MS, "{median_ms} ms");
        let stayed = stayed.into_iter().map(shard);
        assert!(stayed.clone().all(|shard| pauses.longest_ms[&shard] == 0));
    }
}
