//! In which order faults strike, and which strike together.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::kinds::{Family, Fault};
use crate::ground::Ground;

impl Fault {
    /// Whether it can strike in one turn with `other`: neither takes away what the other one needs to be
    /// seen, and two of three brokers stay within reach.
    fn goes_with(self, other: Fault) -> bool {
        let one_way_round =
            |one: Fault, other: Fault| !(one.stops_the_registry() && other.needs_the_registry());
        let same = |is_like: fn(Fault) -> bool| is_like(self) && is_like(other);
        one_way_round(self, other)
            && one_way_round(other, self)
            && !same(Fault::takes_a_broker_away)
            && !same(Fault::needs_the_registry)
    }

    /// The registry's database is PostgreSQL's.
    const fn stops_the_registry(self) -> bool {
        matches!(
            self,
            Fault::KillPostgres | Fault::FreezePostgres | Fault::FillPostgres
        )
    }

    /// A node that starts asks the registry.
    const fn needs_the_registry(self) -> bool {
        matches!(
            self,
            Fault::SkewClock
                | Fault::CutRegistry
                | Fault::SlowRegistry
                | Fault::CutRegistryDatabase
                | Fault::SlowRegistryDatabase
        )
    }

    fn takes_a_broker_away(self) -> bool {
        self.family() == Family::Brokers
            || matches!(self, Fault::IsolateBroker | Fault::SlowBrokers)
    }
}

/// Why this machine can't do a kind; `None` when it can.
fn obstacle(ground: &Ground, fault: Fault) -> Option<&'static str> {
    match fault {
        Fault::SkewClock if ground.skew.is_none() => Some("there is no C compiler"),
        Fault::FillPostgres | Fault::FillCassandra if ground.disks.is_none() => {
            Some("no file system can be mounted")
        }
        _ => None,
    }
}

/// The kinds that this machine can't do, and why.
pub(crate) fn left_out(ground: &Ground) -> Vec<(&'static str, &'static str)> {
    let all = Fault::ALL.into_iter();
    all.filter_map(|fault| Some((fault.name(), obstacle(ground, fault)?)))
        .collect()
}

/// Deals faults out: every kind once, then again. Families take turns, so that a short run has some of
/// each, also on a machine that is so busy that few strike. With a fault of the write side come one of the
/// read side and one of a way, while there are some left in the round.
#[derive(Default)]
pub(crate) struct Bag {
    /// Of these families; of all when none is named.
    only: Vec<Family>,
    /// Kinds that have not had their turn in this round.
    kinds: Vec<Fault>,
    /// Families that have not had their turn among those that still have kinds.
    families: Vec<Family>,
}

impl Bag {
    pub(crate) fn new(only: Vec<Family>) -> Self {
        Self {
            only,
            ..Self::default()
        }
    }

    /// The families that it deals out.
    pub(crate) fn wanted(&self) -> Vec<Family> {
        let all = Family::ALL.into_iter();
        all.filter(|family| self.only.is_empty() || self.only.contains(family))
            .collect()
    }

    /// What strikes next, in this order and before anything is healed.
    pub(crate) fn next(&mut self, ground: &Ground, rng: &mut SmallRng) -> Vec<Fault> {
        let wanted = self.wanted();
        self.deal_together(rng, || {
            let all = Fault::ALL.into_iter();
            all.filter(|fault| wanted.contains(&fault.family()))
                .filter(|fault| obstacle(ground, *fault).is_none())
                .collect()
        })
    }

    /// What can strike while a store of the read side takes its time to come back; nothing when the round
    /// has none of those left.
    pub(crate) fn next_meanwhile(&mut self, rng: &mut SmallRng) -> Vec<Fault> {
        let first = self
            .take(rng, |fault| {
                matches!(fault.family(), Family::Nodes | Family::Brokers)
            })
            .or_else(|| self.take(rng, |fault| fault.family() == Family::Ways));
        let Some(first) = first else {
            return Vec::new();
        };
        let of_reads = self.take(rng, Fault::needs_no_store);
        let way = self.take(rng, |way| {
            way.family() == Family::Ways && way.goes_with(first)
        });
        let faults = of_reads.into_iter().chain([first]);
        faults.chain(way).collect()
    }

    fn deal_together(
        &mut self,
        rng: &mut SmallRng,
        all: impl FnOnce() -> Vec<Fault>,
    ) -> Vec<Fault> {
        let fault = self.deal(rng, all);
        if matches!(fault.family(), Family::Projectors | Family::Stores) {
            return vec![fault];
        }
        let of_reads = self.take(rng, |reads| {
            reads.spares_commands() && reads.goes_with(fault)
        });
        let mut faults: Vec<Fault> = of_reads.into_iter().chain([fault]).collect();
        let way = self.take(rng, |way| {
            way.family() == Family::Ways && faults.iter().all(|fault| way.goes_with(*fault))
        });
        // Last, since what it disturbs may have to do with what the others have struck.
        faults.extend(way);
        faults
    }

    fn deal(&mut self, rng: &mut SmallRng, all: impl FnOnce() -> Vec<Fault>) -> Fault {
        if self.kinds.is_empty() {
            self.kinds = all();
        }
        let kinds = &mut self.kinds;
        let has_kinds = |family: &Family| kinds.iter().any(|fault| fault.family() == *family);
        self.families.retain(has_kinds);
        if self.families.is_empty() {
            self.families = Family::TURNS.into_iter().filter(has_kinds).collect();
        }
        let family = self.families.remove(0);
        let fault = self.take(rng, |fault| fault.family() == family);
        fault.expect("a kind of a family that has some")
    }

    /// One of the kinds left that are like this.
    fn take(&mut self, rng: &mut SmallRng, is_like: impl Fn(Fault) -> bool) -> Option<Fault> {
        let is_it = |index: &usize| is_like(self.kinds[*index]);
        let places: Vec<usize> = (0..self.kinds.len()).filter(is_it).collect();
        let place = places.choose(rng).copied()?;
        Some(self.kinds.swap_remove(place))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// The turns of two rounds; what strikes while Cassandra comes back belongs to its turn.
    fn turns(seed: u64) -> Vec<Vec<Vec<Fault>>> {
        let (mut bag, mut rng) = (Bag::default(), SmallRng::seed_from_u64(seed));
        let mut turns = Vec::new();
        let mut struck = 0;
        while struck < 2 * Fault::ALL.len() {
            let faults = bag.deal_together(&mut rng, || Fault::ALL.to_vec());
            let slow = faults.iter().any(|fault| fault.heals_slowly());
            let meanwhile = slow.then(|| bag.next_meanwhile(&mut rng));
            let turn: Vec<Vec<Fault>> = [faults].into_iter().chain(meanwhile).collect();
            struck += turn.iter().map(Vec::len).sum::<usize>();
            turns.push(turn);
        }
        turns
    }

    #[test]
    fn every_kind_strikes_once_a_round_and_every_family_early() {
        for seed in 0..50 {
            let turns = turns(seed);
            let mut rounds = turns.concat().concat();
            let early: Vec<Fault> = turns[..Family::ALL.len()].concat().concat();
            for family in Family::ALL {
                assert!(
                    early.iter().any(|fault| fault.family() == family),
                    "seed {seed}: {early:?}"
                );
            }
            for round in rounds.chunks_mut(Fault::ALL.len()) {
                round.sort();
                assert_eq!(round, Fault::ALL, "seed {seed}");
            }
        }
    }

    /// So that many strike in a run, and not one after the other.
    #[test]
    fn two_strike_at_a_time_and_now_and_then_the_read_side_alone() {
        let turns: Vec<Vec<Fault>> = (0..50).flat_map(turns).flatten().collect();
        let faults = turns.concat().len();
        assert!(
            faults > 2 * turns.len(),
            "{faults} in {} turns",
            turns.len()
        );
        let alone = turns.iter().filter(|turn| match turn.as_slice() {
            [fault] => fault.spares_commands(),
            _ => false,
        });
        let rounds = faults / Fault::ALL.len();
        let alone = alone.count();
        assert!(alone > 2 * rounds, "{alone} in {rounds} rounds");
    }

    #[test]
    fn what_strikes_together_leaves_the_others_what_they_need() {
        for faults in (0..50).flat_map(turns).flatten() {
            let is_way = |fault: &&Fault| fault.family() == Family::Ways;
            assert!(faults.len() <= 3, "{faults:?}");
            for (at, one) in faults.iter().enumerate() {
                let others = faults.iter().skip(at + 1);
                assert!(
                    others.copied().all(|other| one.goes_with(other)),
                    "{faults:?}"
                );
            }
            let brokers = faults.iter().filter(|fault| fault.takes_a_broker_away());
            assert!(brokers.count() <= 1, "{faults:?}");
            assert!(faults.iter().filter(is_way).count() <= 2, "{faults:?}");
        }
    }
}
