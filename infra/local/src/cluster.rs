//! A cluster of several brokers on this machine, for runs that take brokers away.
//!
//! Every broker is a controller too, but for one that joins later. Every listener advertises another
//! address than it listens on, and there is one for each client, one for the brokers among themselves and
//! one for the controllers: a proxy stands between, so that the way of one client to one broker, or of all
//! others to a broker, can be cut or slowed down by itself.

use crate::render::fill;

const BROKER: &str = include_str!("../templates/kafka-broker.properties");

/// Where a cluster listens: brokers from 0, clients from 0, all on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterLayout {
    /// The first port; the layout takes 100 from it upwards, the stack's own among them.
    pub base_port: u16,
    /// Brokers that are there from the beginning, at most 3. One more is told where to listen, as the
    /// last, for when it joins.
    pub brokers: u16,
    /// Nodes of command-api, each with a listener of its own, at most 4.
    pub nodes: u16,
    /// Projectors, each with a listener of its own, at most 2.
    pub projectors: u16,
}

/// A process with a way of its own to every broker; both count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterClient {
    /// A node of command-api.
    Node(u16),
    /// A projector.
    Projector(u16),
}

impl ClusterClient {
    fn listener_name(self) -> String {
        match self {
            ClusterClient::Node(node) => format!("NODE{node}"),
            ClusterClient::Projector(projector) => format!("PROJECTOR{projector}"),
        }
    }
}

impl ClusterLayout {
    /// Where a broker listens for the other brokers and for tools.
    #[must_use]
    pub fn broker_listener(&self, broker: u16) -> u16 {
        self.base_port + 76 + broker
    }

    /// What it tells them instead.
    #[must_use]
    pub fn broker_advertised(&self, broker: u16) -> u16 {
        self.base_port + 12 + broker
    }

    /// Where a broker's controller listens for the other controllers.
    #[must_use]
    pub fn controller_listener(&self, broker: u16) -> u16 {
        self.base_port + 96 + broker
    }

    /// What it tells them instead.
    #[must_use]
    pub fn controller_advertised(&self, broker: u16) -> u16 {
        self.base_port + 16 + broker
    }

    /// Everybody with a listener of its own.
    pub fn clients(&self) -> impl Iterator<Item = ClusterClient> {
        let nodes = (0..self.nodes).map(ClusterClient::Node);
        nodes.chain((0..self.projectors).map(ClusterClient::Projector))
    }

    /// Where a node listens: its HTTP.
    #[must_use]
    pub fn node_listener(&self, node: u16) -> u16 {
        self.base_port + 4 + node
    }

    /// Where the other nodes are told to reach it.
    #[must_use]
    pub fn node_advertised(&self, node: u16) -> u16 {
        self.base_port + 52 + node
    }

    /// Where a projector listens: its HTTP.
    #[must_use]
    pub fn projector_listener(&self, projector: u16) -> u16 {
        self.base_port + 8 + projector
    }

    /// Where a process of the read side is told to reach PostgreSQL: the projectors from 0, then
    /// query-api.
    #[must_use]
    pub fn postgres_advertised(&self, reader: u16) -> u16 {
        self.base_port + 31 + reader
    }

    /// Where it is told to reach Cassandra.
    #[must_use]
    pub fn cassandra_advertised(&self, reader: u16) -> u16 {
        self.base_port + 35 + reader
    }

    /// Where nodes and projectors are told to reach the registry.
    #[must_use]
    pub fn registry_advertised(&self) -> u16 {
        self.base_port + 34
    }

    /// Where the registry is told to reach its database.
    #[must_use]
    pub fn registry_database_advertised(&self) -> u16 {
        self.base_port + 38
    }

    /// Where a broker listens for one client.
    #[must_use]
    pub fn listener(&self, broker: u16, client: ClusterClient) -> u16 {
        self.base_port
            + match client {
                ClusterClient::Node(node) => 60 + broker * 4 + node,
                ClusterClient::Projector(projector) => 22 + broker * 2 + projector,
            }
    }

    /// What the broker tells that client instead.
    #[must_use]
    pub fn advertised(&self, broker: u16, client: ClusterClient) -> u16 {
        self.base_port
            + match client {
                ClusterClient::Node(node) => 80 + broker * 4 + node,
                ClusterClient::Projector(projector) => 42 + broker * 2 + projector,
            }
    }

    /// The broker that joins later, and is no controller.
    #[must_use]
    pub fn late_broker(&self) -> u16 {
        self.brokers
    }

    /// The brokers as they see each other, for tools.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let seen = |broker| format!("127.0.0.1:{}", self.broker_advertised(broker));
        (0..self.brokers).map(seen).collect::<Vec<_>>().join(",")
    }

    /// The brokers as one client sees them.
    #[must_use]
    pub fn bootstrap_of(&self, client: ClusterClient) -> String {
        let seen = |broker| format!("127.0.0.1:{}", self.advertised(broker, client));
        (0..self.brokers).map(seen).collect::<Vec<_>>().join(",")
    }

    pub(crate) fn properties(&self, broker: u16, data_dir: &str) -> String {
        let each =
            |text: &dyn Fn(ClusterClient) -> String| self.clients().map(text).collect::<String>();
        let voters: Vec<String> = (0..self.brokers)
            .map(|one| format!("{}@127.0.0.1:{}", one + 1, self.controller_advertised(one)))
            .collect();
        let is_late = broker == self.late_broker();
        let control = |port: u16| match is_late {
            true => String::new(),
            false => format!(",CONTROLLER://127.0.0.1:{port}"),
        };
        let at =
            |client: ClusterClient, port| format!(",{}://127.0.0.1:{port}", client.listener_name());
        let listen = |client| at(client, self.listener(broker, client));
        let tell = |client| at(client, self.advertised(broker, client));
        let plain = |client: ClusterClient| format!(",{}:PLAINTEXT", client.listener_name());
        fill(
            BROKER,
            &[
                ("id", &(broker + 1).to_string()),
                ("controller_role", if is_late { "" } else { ",controller" }),
                ("voters", &voters.join(",")),
                ("port", &self.broker_listener(broker).to_string()),
                ("address", &self.broker_advertised(broker).to_string()),
                (
                    "control_listener",
                    &control(self.controller_listener(broker)),
                ),
                (
                    "control_address",
                    &control(self.controller_advertised(broker)),
                ),
                ("client_listeners", &each(&listen)),
                ("client_addresses", &each(&tell)),
                ("client_protocols", &each(&plain)),
                ("data_dir", data_dir),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::part::Part;

    const LAYOUT: ClusterLayout = ClusterLayout {
        base_port: 7600,
        brokers: 3,
        nodes: 3,
        projectors: 2,
    };

    #[test]
    fn no_two_listeners_share_a_port() {
        let mut ports = Vec::new();
        for broker in 0..4 {
            ports.push(LAYOUT.broker_listener(broker));
            ports.push(LAYOUT.broker_advertised(broker));
            ports.push(LAYOUT.controller_listener(broker));
            ports.push(LAYOUT.controller_advertised(broker));
            ports.push(LAYOUT.node_listener(broker));
            ports.push(LAYOUT.node_advertised(broker));
            let nodes = (0..4).map(ClusterClient::Node);
            for client in nodes.chain((0..2).map(ClusterClient::Projector)) {
                ports.push(LAYOUT.listener(broker, client));
                ports.push(LAYOUT.advertised(broker, client));
            }
        }
        ports.extend((0..2).map(|projector| LAYOUT.projector_listener(projector)));
        for reader in 0..3 {
            ports.push(LAYOUT.postgres_advertised(reader));
            ports.push(LAYOUT.cassandra_advertised(reader));
        }
        ports.push(LAYOUT.registry_advertised());
        ports.push(LAYOUT.registry_database_advertised());
        let stack = crate::ports::Ports::new(LAYOUT.base_port).unwrap();
        let parts = [
            Part::Postgres,
            Part::Cassandra,
            Part::Registry,
            Part::QueryApi,
        ];
        ports.extend(parts.into_iter().flat_map(|part| part.ports(stack)));
        let distinct: BTreeSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), ports.len());
        assert!(ports.iter().all(|port| (7600..7700).contains(port)));
    }

    #[test]
    fn who_joins_later_is_no_controller() {
        let text = LAYOUT.properties(LAYOUT.late_broker(), "/data");
        assert!(
            text.starts_with("process.roles=broker\nnode.id=4\n"),
            "{text}"
        );
        assert!(!text.contains("CONTROLLER://"), "{text}");
    }

    #[test]
    fn a_client_is_told_of_its_proxies() {
        let text = LAYOUT.properties(1, "/data");
        assert!(!text.contains("{{"), "{text}");
        assert!(
            text.contains(",NODE2://127.0.0.1:7666,PROJECTOR0://127.0.0.1:7624,"),
            "{text}"
        );
        assert!(text.contains(",PROJECTOR1://127.0.0.1:7645\n"), "{text}");
        assert!(
            text.contains(
                "controller.quorum.voters=1@127.0.0.1:7616,2@127.0.0.1:7617,3@127.0.0.1:7618"
            ),
            "{text}"
        );
    }
}
