//! The end of a run: no more faults, and everything that is under way ends.

use cartwright_events::Context;

use super::{MOST_STEPS, PARTITIONS, World};
use crate::node::Node;

impl World {
    /// No more faults: everything that is under way ends, every deadline passes, and the read model
    /// follows to the end.
    pub(super) fn come_to_rest(&mut self) -> Result<(), String> {
        self.log.clear_faults();
        self.sim.calm_down();
        self.stores
            .values()
            .for_each(|store| store.memory.set_down(false));
        for partition in 0..PARTITIONS as usize {
            self.catalog[partition].bury();
            self.inventory[partition].bury();
            self.checkout[partition].bury();
            self.catalog[partition].clock().set_offset_millis(0);
            self.inventory[partition].clock().set_offset_millis(0);
            self.checkout[partition].clock().set_offset_millis(0);
        }
        // What a fast clock has written is the past by then.
        self.pass(60_000);
        self.write_side_rests()?;
        self.memory_is_what_the_log_says()?;
        for shopper in &mut self.shoppers {
            shopper.listen()?;
        }
        self.read_side_rests()
    }

    /// As others have it that take over now. (An owner that was replaced, and has not noticed since it had
    /// nothing to do, may be behind.)
    fn memory_is_what_the_log_says(&mut self) -> Result<(), String> {
        self.compact_all();
        self.sim.check()?;
        for partition in 0..PARTITIONS as usize {
            self.catalog[partition].crash();
            self.inventory[partition].crash();
            self.checkout[partition].crash();
        }
        self.write_side_rests()?;
        self.memory_agrees()
    }

    fn memory_agrees(&self) -> Result<(), String> {
        let events = |context: Context| -> Result<Vec<_>, String> {
            let streams = context.streams().iter();
            streams.map(|stream| self.events(*stream)).collect()
        };
        let catalog = events(Context::Catalog)?;
        let inventory = events(Context::Inventory)?;
        let checkout = events(Context::Checkout)?;
        for partition in 0..PARTITIONS as usize {
            self.catalog[partition].agrees_with(&catalog)?;
            self.inventory[partition].agrees_with(&inventory)?;
            self.checkout[partition].agrees_with(&checkout)?;
        }
        Ok(())
    }

    fn write_side_rests(&mut self) -> Result<(), String> {
        for _ in 0..MOST_STEPS {
            let mut busy = false;
            for partition in 0..PARTITIONS as usize {
                busy |= self.catalog[partition].act(usize::MAX)?;
                busy |= self.inventory[partition].act(usize::MAX)?;
                busy |= self.checkout[partition].act(usize::MAX)?;
            }
            if busy {
                continue;
            }
            let due = self.checkout.iter().filter_map(Node::next_due);
            let due = due.chain(self.inventory.iter().filter_map(Node::next_due));
            let now = self.sim.now();
            match due.min() {
                // What is due later is a shard's sign of life, a day after its last transaction: nothing else is
                // left. A clock that was ahead made deadlines later by half an hour at most.
                Some(due) if due < now.plus_millis(12 * 3_600_000) => {
                    self.pass((due.as_micros() - now.as_micros()) / 1000 + 1);
                }
                _ => return Ok(()),
            }
        }
        Err("the shards do not come to rest".to_owned())
    }

    fn read_side_rests(&mut self) -> Result<(), String> {
        self.feed_versions()?;
        self.replay.finish_building()?;
        self.following.misreads = false;
        self.feed_versions()?;
        for projector in &mut self.projectors {
            projector.mend();
        }
        self.projectors_rest()?;
        for projector in &self.projectors {
            self.asked += 1;
            projector.ask_for_what_is_parked(self.asked);
        }
        self.projectors_rest()?;
        self.replay.agree()
    }

    fn projectors_rest(&mut self) -> Result<(), String> {
        let mut quiet = 0;
        for _ in 0..MOST_STEPS {
            let mut busy = false;
            for projector in &mut self.projectors {
                projector.thaw();
                busy |= projector.act()?;
            }
            quiet = if busy { 0 } else { quiet + 1 };
            if quiet == 3 {
                // Whatever lands now was given up by everybody.
                while self.land_a_late_write() {}
                return self.sim.check();
            }
        }
        Err("the projectors do not come to rest".to_owned())
    }
}
