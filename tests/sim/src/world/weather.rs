//! What goes wrong by itself.

use cartwright_event_log::TopicPartition;
use cartwright_event_log::memory::Fault;
use cartwright_events::Context;
use cartwright_read_model::Store;

use super::{PARTITIONS, World, topics};

/// Faults of the log that a correct shard survives. (An unnoticed stale end of a transaction is not
/// among them: a shard can only find it and refuse, which its own tests and the model show.)
pub(super) const FAULTS: [(Fault, &str); 10] = [
    (Fault::FailNextCommit, "commit aborted"),
    (
        Fault::UnknownCommit { committed: true },
        "commit's answer lost, committed",
    ),
    (
        Fault::UnknownCommit { committed: false },
        "commit's answer lost, left open",
    ),
    (Fault::FenceNext, "fenced inside a transaction"),
    (
        Fault::StaleEndTxn { noticed: true },
        "second copy of an EndTxn delayed",
    ),
    (Fault::DeliveryFailure, "record not delivered"),
    (Fault::LateProduce, "produce delayed beyond its transaction"),
    (Fault::SlowCommit, "slow commit"),
    (Fault::TakeOverError, "take-over failed"),
    (Fault::ReaderError, "read failed"),
];

impl World {
    /// Something that goes wrong by itself. (Kills, lost requests and failing stores are where they
    /// happen.)
    pub(super) fn go_wrong(&mut self) {
        match self.sim.below(23) {
            0..9 => {
                let (fault, name) = FAULTS[self.sim.below(FAULTS.len())];
                self.sim.trace(&format!("soon: {name}"));
                self.log.inject(fault);
            }
            9 | 10 => self.freeze_an_owner(),
            11 => self.jump_a_clock(),
            12 | 13 => self.let_a_leader_lag(),
            14 | 15 => self.rebalance(),
            16 => {
                let index = self.sim.below(self.projectors.len());
                self.sim.count("projector frozen and taken for dead");
                self.projectors[index].freeze(6);
                let group = self.projectors[index].plan.group();
                self.log.expire_oldest_member(&group);
            }
            17 => {
                let store = Store::ALL[self.sim.below(Store::ALL.len())];
                self.sim.count("store down");
                self.stores[&store].memory.set_down(true);
            }
            18 | 19 => self.compact_some(),
            20 => self.slow_a_leader_down(),
            _ => self
                .stores
                .values()
                .for_each(|store| store.memory.set_down(false)),
        }
    }

    fn freeze_an_owner(&mut self) {
        self.sim.count("owner frozen and replaced");
        let partition = self.sim.below(PARTITIONS as usize);
        match self.sim.below(4) {
            0 => self.catalog[partition].freeze(),
            1 => self.inventory[partition].freeze(),
            _ => self.checkout[partition].freeze(),
        }
    }

    fn jump_a_clock(&mut self) {
        let millis = match self.sim.below(4) {
            0 => self.sim.between(-30_000..30_000),
            _ => self.sim.between(-4_000..4_000),
        };
        let partition = self.sim.below(PARTITIONS as usize);
        let clock = match self.sim.below(4) {
            0 => self.catalog[partition].clock(),
            1 => self.inventory[partition].clock(),
            2 => self.checkout[partition].clock(),
            _ => {
                self.sim.count("projector's clock jumped");
                let index = self.sim.below(self.projectors.len());
                self.projectors[index].clock().set_offset_millis(millis);
                return;
            }
        };
        clock.set_offset_millis(millis);
        self.sim.count("clock jumped");
    }

    /// The last stable offset of a shard's partitions steps back behind its last transaction, as at
    /// a leader that was elected just now. Its owner dies at the same time.
    fn let_a_leader_lag(&mut self) {
        let partition = self.sim.below(PARTITIONS as usize);
        let index = self.sim.below(Context::ALL.len());
        let context = Context::ALL[index];
        let polls = 1 + u32::try_from(self.sim.below(4)).unwrap_or_default();
        let own = context.streams().iter().map(|stream| stream.topic());
        let own = own.chain([context.journal_topic()]);
        let number = u32::try_from(partition).unwrap_or_default();
        let own = own.map(|topic| TopicPartition::new(topic, number));
        let mut state = self.sim.lock();
        // Those that have a transaction.
        let written: Vec<_> = own
            .filter(|at| state.last_transaction.contains_key(at))
            .collect();
        if written.is_empty() {
            return;
        }
        state
            .lagging
            .extend(written.into_iter().map(|at| (at, polls)));
        drop(state);
        self.sim
            .count("leader elected whose last stable offset is behind");
        self.crash(context, partition);
    }

    /// What is read of one of a shard's partitions comes later than whoever reads waits for, often several
    /// times. Its owner dies at the same time, which makes somebody read, or goes on.
    fn slow_a_leader_down(&mut self) {
        let partition = self.sim.below(PARTITIONS as usize);
        let context = Context::ALL[self.sim.below(Context::ALL.len())];
        let topics: Vec<_> = topics(context).collect();
        let topic = topics[self.sim.below(topics.len())];
        let polls = 1 + u32::try_from(self.sim.below(8)).unwrap_or_default();
        let at = TopicPartition::new(topic, u32::try_from(partition).unwrap_or_default());
        self.sim.lock().slow.insert(at, polls);
        self.sim.trace("soon: read late");
        if self.sim.below(2) == 0 {
            self.crash(context, partition);
        }
    }

    fn crash(&mut self, context: Context, partition: usize) {
        match context {
            Context::Catalog => self.catalog[partition].crash(),
            Context::Inventory => self.inventory[partition].crash(),
            Context::Checkout => self.checkout[partition].crash(),
        }
    }

    fn rebalance(&mut self) {
        let index = self.sim.below(self.projectors.len());
        let group = self.projectors[index].plan.group();
        if self.sim.below(2) == 0 {
            self.sim.count("group rebalanced");
            self.log.force_rebalance(&group);
        } else {
            self.sim.count("group member taken for dead");
            self.log.expire_oldest_member(&group);
        }
    }
}
