//! The kinds of faults, and in which order they strike.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use crate::ground::Ground;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillNode,
    FreezeNode,
    RestartNode,
    SkewClock,
    KillBroker,
    FreezeBroker,
    FillDisk,
    KillController,
    MoveCoordinator,
    IsolateBroker,
    IsolateNode,
    CutOneWay,
    SlowOneWay,
    CutForwarding,
    RegistryDown,
    KillProjector,
    FreezeProjector,
    IsolateProjector,
    CutStore,
    SlowStore,
    KillPostgres,
    KillCassandra,
    FreezePostgres,
    FreezeCassandra,
    FillPostgres,
    FillCassandra,
    DatabaseDown,
}

/// What a kind of fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Family {
    Nodes,
    Brokers,
    Ways,
    Projectors,
    Stores,
}

impl Family {
    /// In the order of their turns.
    const ALL: [Family; 5] = [
        Family::Stores,
        Family::Projectors,
        Family::Nodes,
        Family::Brokers,
        Family::Ways,
    ];
}

impl Fault {
    const ALL: [Fault; 27] = [
        Fault::KillNode,
        Fault::FreezeNode,
        Fault::RestartNode,
        Fault::SkewClock,
        Fault::KillBroker,
        Fault::FreezeBroker,
        Fault::FillDisk,
        Fault::KillController,
        Fault::MoveCoordinator,
        Fault::IsolateBroker,
        Fault::IsolateNode,
        Fault::CutOneWay,
        Fault::SlowOneWay,
        Fault::CutForwarding,
        Fault::RegistryDown,
        Fault::KillProjector,
        Fault::FreezeProjector,
        Fault::IsolateProjector,
        Fault::CutStore,
        Fault::SlowStore,
        Fault::KillPostgres,
        Fault::KillCassandra,
        Fault::FreezePostgres,
        Fault::FreezeCassandra,
        Fault::FillPostgres,
        Fault::FillCassandra,
        Fault::DatabaseDown,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Fault::KillNode => "node killed (SIGKILL)",
            Fault::FreezeNode => "node frozen (SIGSTOP) beyond its session, then thawed",
            Fault::RestartNode => "node stopped (SIGTERM) and started",
            Fault::SkewClock => "node with a clock that is off",
            Fault::KillBroker => "broker killed (SIGKILL)",
            Fault::FreezeBroker => "broker frozen (SIGSTOP), then thawed",
            Fault::FillDisk => "broker that can write nothing more, until it ends",
            Fault::KillController => "active controller killed (SIGKILL)",
            Fault::MoveCoordinator => "transaction coordinator moved: its broker stopped (SIGTERM)",
            Fault::IsolateBroker => "broker and controller that the others do not reach",
            Fault::IsolateNode => "node cut off from every broker",
            Fault::CutOneWay => "way between a node and a broker cut",
            Fault::SlowOneWay => "way between a node and a broker slow",
            Fault::CutForwarding => "node that the other nodes do not reach",
            Fault::RegistryDown => "registry stopped, a node killed meanwhile",
            Fault::KillProjector => "projector killed (SIGKILL)",
            Fault::FreezeProjector => "projector frozen (SIGSTOP) beyond its session, then thawed",
            Fault::IsolateProjector => "projector cut off from every broker",
            Fault::CutStore => "way between the read side and a store cut",
            Fault::SlowStore => "way between a projector and a store slow",
            Fault::KillPostgres => "PostgreSQL killed (SIGKILL)",
            Fault::KillCassandra => "Cassandra killed (SIGKILL)",
            Fault::FreezePostgres => "PostgreSQL frozen (SIGSTOP), then thawed",
            Fault::FreezeCassandra => "Cassandra frozen (SIGSTOP), then thawed",
            Fault::FillPostgres => "PostgreSQL's disk full",
            Fault::FillCassandra => "Cassandra's disk full",
            Fault::DatabaseDown => "PostgreSQL killed, a node and a projector meanwhile",
        }
    }

    pub(crate) const fn family(self) -> Family {
        match self {
            Fault::KillNode | Fault::FreezeNode | Fault::RestartNode | Fault::SkewClock => {
                Family::Nodes
            }
            Fault::KillBroker
            | Fault::FreezeBroker
            | Fault::FillDisk
            | Fault::KillController
            | Fault::MoveCoordinator => Family::Brokers,
            Fault::IsolateBroker
            | Fault::IsolateNode
            | Fault::CutOneWay
            | Fault::SlowOneWay
            | Fault::CutForwarding => Family::Ways,
            Fault::KillProjector
            | Fault::FreezeProjector
            | Fault::IsolateProjector
            | Fault::CutStore
            | Fault::SlowStore => Family::Projectors,
            Fault::RegistryDown
            | Fault::KillPostgres
            | Fault::KillCassandra
            | Fault::FreezePostgres
            | Fault::FreezeCassandra
            | Fault::FillPostgres
            | Fault::FillCassandra
            | Fault::DatabaseDown => Family::Stores,
        }
    }

    /// Whether commands do not depend on what it strikes.
    pub(crate) const fn spares_commands(self) -> bool {
        match self.family() {
            Family::Projectors => true,
            // Those in which a node is killed too cost commands what that costs.
            Family::Stores => !matches!(self, Fault::RegistryDown | Fault::DatabaseDown),
            Family::Nodes | Family::Brokers | Family::Ways => false,
        }
    }
}

impl Fault {
    /// Whether it can strike before one of the write side does: it does not end what that one needs to be
    /// seen. A node that starts with another clock needs the registry, whose database is PostgreSQL's.
    const fn goes_with(self, writing: Fault) -> bool {
        let without_registry = matches!(
            self,
            Fault::KillPostgres | Fault::FreezePostgres | Fault::FillPostgres
        );
        self.spares_commands() && !(matches!(writing, Fault::SkewClock) && without_registry)
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
/// each, also on a machine that is so busy that few strike. With a fault of the write side comes one of the
/// read side, while there is one left in the round.
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

    /// What strikes next, in this order and before anything is healed.
    pub(crate) fn next(&mut self, ground: &Ground, rng: &mut SmallRng) -> Vec<Fault> {
        let only = self.only.clone();
        let is_wanted = |fault: &Fault| only.is_empty() || only.contains(&fault.family());
        self.deal_with_another(rng, || {
            let all = Fault::ALL.into_iter().filter(is_wanted);
            all.filter(|fault| obstacle(ground, *fault).is_none())
                .collect()
        })
    }

    fn deal_with_another(
        &mut self,
        rng: &mut SmallRng,
        all: impl FnOnce() -> Vec<Fault>,
    ) -> Vec<Fault> {
        let fault = self.deal(rng, all);
        let another = match fault.family() {
            Family::Nodes | Family::Brokers | Family::Ways => {
                self.take(rng, |another| another.goes_with(fault))
            }
            Family::Projectors | Family::Stores => None,
        };
        another.into_iter().chain([fault]).collect()
    }

    fn deal(&mut self, rng: &mut SmallRng, all: impl FnOnce() -> Vec<Fault>) -> Fault {
        if self.kinds.is_empty() {
            self.kinds = all();
        }
        let kinds = &mut self.kinds;
        let has_kinds = |family: &Family| kinds.iter().any(|fault| fault.family() == *family);
        self.families.retain(has_kinds);
        if self.families.is_empty() {
            self.families = Family::ALL.into_iter().filter(has_kinds).collect();
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

    #[test]
    fn every_kind_strikes_once_a_round_and_every_family_early() {
        for seed in 0..50 {
            let (mut bag, mut rng) = (Bag::default(), SmallRng::seed_from_u64(seed));
            for _ in 0..2 {
                let mut round: Vec<Fault> = Vec::new();
                let mut early = Vec::new();
                for turn in 1.. {
                    let faults = bag.deal_with_another(&mut rng, || Fault::ALL.to_vec());
                    let (beside, last) = faults.split_at(faults.len() - 1);
                    assert!(beside.iter().all(|fault| fault.goes_with(last[0])));
                    early.extend(last.iter().map(|fault| fault.family()));
                    round.extend(faults);
                    if turn == Family::ALL.len() {
                        assert_eq!(early, Family::ALL, "seed {seed}");
                    }
                    if round.len() >= Fault::ALL.len() {
                        break;
                    }
                }
                round.sort();
                assert_eq!(round, Fault::ALL, "seed {seed}");
            }
        }
    }
}
