//! The parts the stack is made of.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rustix::process::Signal;

use crate::error::StackError;
use crate::ports::Ports;

/// One process of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The log: one broker that is its own controller.
    Kafka,
    /// Views by key; stands in for ScyllaDB.
    Cassandra,
    /// Facts, search and reports; also holds the registry's data.
    Postgres,
    /// The schema registry.
    Registry,
    /// The service that takes commands.
    CommandApi,
    /// The service that builds the read model.
    Projector,
    /// The service that answers reads.
    QueryApi,
    /// A further node of the service that takes commands.
    CommandNode(CommandNode),
}

/// Number of a further node of command-api: 2 to [`MAX_NODES`]. The first is [`Part::CommandApi`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandNode(u8);

/// Most nodes of command-api that a stack has ports for.
pub const MAX_NODES: u8 = 9;

const NODE_NAMES: [&str; MAX_NODES as usize - 1] = [
    "command-api-2",
    "command-api-3",
    "command-api-4",
    "command-api-5",
    "command-api-6",
    "command-api-7",
    "command-api-8",
    "command-api-9",
];

impl CommandNode {
    fn name(self) -> &'static str {
        NODE_NAMES[usize::from(self.0) - 2]
    }
}

impl Part {
    /// Every part, in the order in which they are shown.
    pub const ALL: [Part; 7] = [
        Part::Kafka,
        Part::Cassandra,
        Part::Postgres,
        Part::Registry,
        Part::CommandApi,
        Part::Projector,
        Part::QueryApi,
    ];

    /// What the services stand on.
    pub const INFRASTRUCTURE: [Part; 4] =
        [Part::Kafka, Part::Cassandra, Part::Postgres, Part::Registry];

    /// The project's own processes.
    pub const SERVICES: [Part; 3] = [Part::CommandApi, Part::Projector, Part::QueryApi];

    /// All nodes of command-api, for so many of them.
    pub fn command_nodes(count: u8) -> Vec<Part> {
        let further =
            (2..=count.min(MAX_NODES)).map(|number| Part::CommandNode(CommandNode(number)));
        std::iter::once(Part::CommandApi).chain(further).collect()
    }

    /// Number of a node of command-api, from 1.
    pub fn node_number(self) -> Option<u8> {
        match self {
            Part::CommandApi => Some(1),
            Part::CommandNode(node) => Some(node.0),
            _ => None,
        }
    }

    /// The part whose program and settings it shares: itself, but for further nodes.
    pub fn kind(self) -> Part {
        match self {
            Part::CommandNode(_) => Part::CommandApi,
            part => part,
        }
    }

    /// Its name in commands, logs and status.
    pub fn name(self) -> &'static str {
        match self {
            Part::Kafka => "kafka",
            Part::Cassandra => "cassandra",
            Part::Postgres => "postgres",
            Part::Registry => "registry",
            Part::CommandApi => "command-api",
            Part::Projector => "projector",
            Part::QueryApi => "query-api",
            Part::CommandNode(node) => node.name(),
        }
    }

    /// Whether it is one of the project's own processes.
    pub fn is_service(self) -> bool {
        Self::SERVICES.contains(&self.kind())
    }

    /// Every port it listens on; the first is the one others talk to.
    pub fn ports(self, ports: Ports) -> Vec<u16> {
        match self {
            Part::Kafka => vec![ports.kafka(), ports.kafka_controller()],
            Part::Cassandra => vec![ports.cassandra(), ports.cassandra_storage()],
            Part::Postgres => vec![ports.postgres()],
            Part::Registry => vec![ports.registry(), ports.registry_management()],
            Part::CommandApi => vec![ports.command_api()],
            Part::Projector => vec![ports.projector()],
            Part::QueryApi => vec![ports.query_api()],
            Part::CommandNode(node) => vec![ports.command_node(node.0)],
        }
    }

    /// Where others reach it: `host:port`, or a URL where it speaks HTTP.
    pub fn address(self, ports: Ports) -> String {
        let port = self.ports(ports)[0];
        match self {
            Part::Kafka | Part::Cassandra | Part::Postgres => format!("127.0.0.1:{port}"),
            _ => format!("http://127.0.0.1:{port}"),
        }
    }

    /// Memory it takes under load, in MiB; all parts together take 3 GiB.
    pub fn memory_mib(self) -> u64 {
        match self {
            Part::Kafka => 800,
            Part::Cassandra => 950,
            Part::Postgres => 400,
            Part::Registry => 322,
            Part::CommandApi | Part::CommandNode(_) | Part::Projector | Part::QueryApi => 200,
        }
    }

    /// How long a start may take on a busy machine before it counts as failed.
    pub fn start_limit(self) -> Duration {
        Duration::from_secs(match self {
            Part::Kafka | Part::Registry => 120,
            Part::Cassandra => 180,
            _ => 60,
        })
    }

    /// How long it may take to end by itself before it is killed.
    pub fn stop_limit(self) -> Duration {
        Duration::from_secs(match self {
            // The first time, each Java part writes its class archive as it ends.
            Part::Kafka | Part::Cassandra | Part::Registry => 45,
            Part::Postgres => 15,
            // Longer than a service's own limits for draining and stopping; a node hands its shards over
            // before that.
            Part::CommandApi | Part::CommandNode(_) => 90,
            Part::Projector | Part::QueryApi => 30,
        })
    }

    /// The signal that asks it to end. PostgreSQL's SIGTERM would wait for every client to leave.
    pub fn stop_signal(self) -> Signal {
        match self {
            Part::Postgres => Signal::INT,
            _ => Signal::TERM,
        }
    }
}

/// All names, for messages.
pub fn all_names() -> String {
    names(&Part::ALL)
}

/// The names of some parts, for messages.
pub fn names(parts: &[Part]) -> String {
    let names: Vec<_> = parts.iter().map(|part| part.name()).collect();
    names.join(", ")
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Part {
    type Err = StackError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Part::ALL
            .into_iter()
            .chain(Part::command_nodes(MAX_NODES))
            .find(|part| part.name() == name)
            .ok_or_else(|| StackError::UnknownPart(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_parts_share_a_port_and_all_stay_inside_the_layout() {
        let ports = Ports::new(7000).unwrap();
        let all: Vec<u16> = Part::ALL
            .into_iter()
            .chain(Part::command_nodes(MAX_NODES).into_iter().skip(1))
            .flat_map(|part| part.ports(ports))
            .collect();
        let distinct: BTreeSet<_> = all.iter().collect();
        assert_eq!(all.len(), distinct.len());
        assert!(
            all.iter().all(|port| (7001..7060).contains(port)),
            "{all:?}"
        );
    }

    #[test]
    fn every_name_leads_back_to_its_part() {
        for part in Part::ALL.into_iter().chain(Part::command_nodes(MAX_NODES)) {
            assert_eq!(part.name().parse::<Part>().unwrap(), part);
        }
        let error = "kafak".parse::<Part>().unwrap_err().to_string();
        assert!(
            error.contains("kafak") && error.contains("query-api"),
            "{error}"
        );
    }

    #[test]
    fn the_whole_stack_asks_for_three_gibibytes() {
        let total: u64 = Part::ALL.iter().map(|part| part.memory_mib()).sum();
        assert_eq!(total, 3072);
    }
}
