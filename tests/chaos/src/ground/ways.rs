//! The proxies.

use cartwright_local::{ClusterClient, ClusterLayout, Part, Ports};

use crate::proxy::{Proxy, Way};

/// Every way that can be cut, silenced or slowed down.
pub(crate) struct Ways {
    /// By node, then broker.
    pub(crate) to_broker: Vec<Vec<Proxy>>,
    /// By broker, to it from all other brokers: the broker, and its controller if it has one.
    pub(crate) between_brokers: Vec<Vec<Proxy>>,
    /// By node, to it from all other nodes.
    pub(crate) between_nodes: Vec<Proxy>,
    /// By projector, then broker.
    pub(crate) projector_to_broker: Vec<Vec<Proxy>>,
    /// By process of the read side (the projectors, then query-api), to PostgreSQL and to Cassandra.
    pub(crate) to_stores: Vec<[Proxy; 2]>,
    /// Of all nodes and projectors to the registry.
    pub(crate) to_registry: Proxy,
    /// Of the registry to PostgreSQL.
    pub(crate) registry_to_database: Proxy,
}

impl Ways {
    pub(crate) async fn build(layout: ClusterLayout) -> anyhow::Result<Self> {
        let ports = Ports::new(layout.base_port)?;
        let (registry, database) = (
            layout.registry_advertised(),
            layout.registry_database_advertised(),
        );
        let mut ways = Self {
            to_broker: Vec::new(),
            between_brokers: Vec::new(),
            between_nodes: Vec::new(),
            projector_to_broker: Vec::new(),
            to_stores: Vec::new(),
            to_registry: Proxy::start(registry, ports.registry()).await?,
            registry_to_database: Proxy::start(database, ports.postgres()).await?,
        };
        for broker in 0..=layout.late_broker() {
            let (from, to) = (
                layout.broker_advertised(broker),
                layout.broker_listener(broker),
            );
            let mut to_it = vec![Proxy::start(from, to).await?];
            if broker != layout.late_broker() {
                let (from, to) = (
                    layout.controller_advertised(broker),
                    layout.controller_listener(broker),
                );
                to_it.push(Proxy::start(from, to).await?);
            }
            ways.between_brokers.push(to_it);
        }
        for node in 0..layout.nodes {
            let client = ClusterClient::Node(node);
            ways.to_broker.push(to_brokers(layout, client).await?);
            let (from, to) = (layout.node_advertised(node), layout.node_listener(node));
            ways.between_nodes.push(Proxy::start(from, to).await?);
        }
        for projector in 0..layout.projectors {
            let client = ClusterClient::Projector(projector);
            let to_brokers = to_brokers(layout, client).await?;
            ways.projector_to_broker.push(to_brokers);
        }
        // The last one is query-api.
        for reader in 0..=layout.projectors {
            let postgres = layout.postgres_advertised(reader);
            let cassandra = layout.cassandra_advertised(reader);
            ways.to_stores.push([
                Proxy::start(postgres, ports.postgres()).await?,
                Proxy::start(cassandra, ports.cassandra()).await?,
            ]);
        }
        Ok(ways)
    }

    /// The way of one process of the read side to a store.
    pub(crate) fn to_store(&self, reader: usize, store: Part) -> Proxy {
        self.to_stores[reader][usize::from(store == Part::Cassandra)].clone()
    }

    /// All ways to a broker: of the other brokers and controllers, the nodes and the projectors.
    pub(crate) fn to_one_broker(&self, broker: usize) -> Vec<Proxy> {
        let clients = self.to_broker.iter().chain(&self.projector_to_broker);
        let clients = clients.map(|to_brokers| &to_brokers[broker]);
        clients
            .chain(&self.between_brokers[broker])
            .cloned()
            .collect()
    }

    pub(crate) fn open(&self) {
        let to_brokers = self.to_broker.iter().chain(&self.projector_to_broker);
        let between = to_brokers.chain(&self.between_brokers);
        let all = between.flatten().chain(self.to_stores.iter().flatten());
        let registry = [&self.to_registry, &self.registry_to_database];
        for proxy in all.chain(&self.between_nodes).chain(registry) {
            proxy.set(Way::Open);
        }
    }
}

async fn to_brokers(layout: ClusterLayout, client: ClusterClient) -> anyhow::Result<Vec<Proxy>> {
    let mut all = Vec::new();
    for broker in 0..=layout.late_broker() {
        let from = layout.advertised(broker, client);
        all.push(Proxy::start(from, layout.listener(broker, client)).await?);
    }
    Ok(all)
}
