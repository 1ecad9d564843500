//! The kinds of faults.

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
    AddBroker,
    IsolateBroker,
    IsolateNode,
    CutOneWay,
    SlowOneWay,
    SlowBrokers,
    CutForwarding,
    SlowForwarding,
    CutRegistry,
    SlowRegistry,
    CutRegistryDatabase,
    SlowRegistryDatabase,
    RegistryDown,
    KillProjector,
    FreezeProjector,
    IsolateProjector,
    SlowProjector,
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
    pub(crate) const ALL: [Family; 5] = [
        Family::Stores,
        Family::Projectors,
        Family::Nodes,
        Family::Brokers,
        Family::Ways,
    ];

    /// In which order they have their turns. Those of brokers do not go together, so that they need more turns
    /// than others, which come with them.
    pub(super) const TURNS: [Family; 8] = [
        Family::Stores,
        Family::Projectors,
        Family::Nodes,
        Family::Brokers,
        Family::Ways,
        Family::Brokers,
        Family::Nodes,
        Family::Brokers,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Family::Nodes => "nodes",
            Family::Brokers => "brokers",
            Family::Ways => "ways",
            Family::Projectors => "projectors",
            Family::Stores => "stores",
        }
    }
}

impl Fault {
    pub(super) const ALL: [Fault; 35] = [
        Fault::KillNode,
        Fault::FreezeNode,
        Fault::RestartNode,
        Fault::SkewClock,
        Fault::KillBroker,
        Fault::FreezeBroker,
        Fault::FillDisk,
        Fault::KillController,
        Fault::MoveCoordinator,
        Fault::AddBroker,
        Fault::IsolateBroker,
        Fault::IsolateNode,
        Fault::CutOneWay,
        Fault::SlowOneWay,
        Fault::SlowBrokers,
        Fault::CutForwarding,
        Fault::SlowForwarding,
        Fault::CutRegistry,
        Fault::SlowRegistry,
        Fault::CutRegistryDatabase,
        Fault::SlowRegistryDatabase,
        Fault::RegistryDown,
        Fault::KillProjector,
        Fault::FreezeProjector,
        Fault::IsolateProjector,
        Fault::SlowProjector,
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
            Fault::AddBroker => "broker added, partitions moved to it and back",
            Fault::IsolateBroker => "broker and controller that nobody reaches",
            Fault::IsolateNode => "node cut off from every broker",
            Fault::CutOneWay => "way between a node and a broker cut",
            Fault::SlowOneWay => "way between a node and a broker slow",
            Fault::SlowBrokers => "broker and controller that the others reach slowly",
            Fault::CutForwarding => "node that the other nodes do not reach",
            Fault::SlowForwarding => "node that the other nodes reach slowly",
            Fault::CutRegistry => "way to the registry cut, a node started meanwhile",
            Fault::SlowRegistry => "way to the registry slow, a node started meanwhile",
            Fault::CutRegistryDatabase => {
                "way between the registry and PostgreSQL cut, a node started meanwhile"
            }
            Fault::SlowRegistryDatabase => {
                "way between the registry and PostgreSQL slow, a node started meanwhile"
            }
            Fault::RegistryDown => "registry stopped, a node killed meanwhile",
            Fault::KillProjector => "projector killed (SIGKILL)",
            Fault::FreezeProjector => "projector frozen (SIGSTOP) beyond its session, then thawed",
            Fault::IsolateProjector => "projector cut off from every broker",
            Fault::SlowProjector => "projector that reaches the brokers slowly",
            Fault::CutStore => "way between the read side and a store cut",
            Fault::SlowStore => "way between the read side and a store slow",
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
            | Fault::MoveCoordinator
            | Fault::AddBroker => Family::Brokers,
            Fault::IsolateBroker
            | Fault::IsolateNode
            | Fault::CutOneWay
            | Fault::SlowOneWay
            | Fault::SlowBrokers
            | Fault::CutForwarding
            | Fault::SlowForwarding
            | Fault::CutRegistry
            | Fault::SlowRegistry
            | Fault::CutRegistryDatabase
            | Fault::SlowRegistryDatabase => Family::Ways,
            Fault::KillProjector
            | Fault::FreezeProjector
            | Fault::IsolateProjector
            | Fault::SlowProjector
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

    /// Whether it can strike while a store comes back: neither store has to be there for it to be seen.
    pub(super) const fn needs_no_store(self) -> bool {
        matches!(
            self,
            Fault::KillProjector | Fault::IsolateProjector | Fault::SlowProjector
        )
    }

    /// Whether what it strikes takes half a minute and more to come back: others can strike by then.
    pub(crate) const fn heals_slowly(self) -> bool {
        matches!(self, Fault::KillCassandra | Fault::FillCassandra)
    }
}
