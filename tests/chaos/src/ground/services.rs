//! The project's own processes, and how each is told where the others are.

use std::fs;

use anyhow::ensure;
use cartwright_local::{ClusterClient, Part, Ports, Surroundings, service_settings};

use super::{Ground, ORDERS_STAY, PAYMENT_DEADLINE, RESULTS_REMEMBERED};
use crate::process::Process;

/// A shard that does within two minutes what one of production does in hours: many rounds of snapshots, each
/// over several transactions so that it can be broken off, some of which hold the results too.
const SMALL_SHARDS: &str = "[shard]\ncheckpoint_tail = 100\nsnapshot_group_bytes = 8192\n\
    snapshot_bytes_per_event = 128\nresults_reach = 100\narchive_page = 25\n";

impl Ground {
    /// The lines with this in them in the logs of the project's own processes, each with whose it is.
    pub(crate) fn logged(&self, text: &str) -> anyhow::Result<Vec<String>> {
        let reading = self.projectors.iter().chain(&self.query);
        let mut found = Vec::new();
        for process in self.nodes.iter().chain(reading) {
            let lines = process.has_logged(text)?.into_iter();
            found.extend(lines.map(|line| format!("{}: {line}", process.name)));
        }
        Ok(found)
    }

    pub(super) fn node(&self, node: u16) -> anyhow::Result<Process> {
        let name = format!("node-{}", node + 1);
        let around = self.by_registry_proxy(ClusterClient::Node(node))?;
        let listen = self.layout.node_listener(node);
        let settings = format!(
            "{}\n[nodes]\nid = \"{name}\"\naddress = \"http://127.0.0.1:{}\"\n\n[checkout]\n\
             payment_deadline_ms = {}\n\n{SMALL_SHARDS}archive_after_ms = {}\nresults_ttl_ms = {}\n",
            service_settings(Part::CommandApi, listen, &around),
            self.layout.node_advertised(node),
            PAYMENT_DEADLINE.as_millis(),
            ORDERS_STAY.as_millis(),
            RESULTS_REMEMBERED.as_millis(),
        );
        self.service(&name, Part::CommandApi, &settings)
    }

    pub(super) fn projector(&self, projector: u16) -> anyhow::Result<Process> {
        let by_registry_proxy = self.by_registry_proxy(ClusterClient::Projector(projector))?;
        let around = self.by_store_proxies(by_registry_proxy, projector);
        let listen = self.layout.projector_listener(projector);
        let settings = service_settings(Part::Projector, listen, &around);
        let name = format!("projector-{}", projector + 1);
        self.service(&name, Part::Projector, &settings)
    }

    pub(super) fn query(&self) -> anyhow::Result<Process> {
        let around = self.by_store_proxies(self.direct(String::new())?, self.layout.projectors);
        let listen = Ports::new(self.layout.base_port)?.query_api();
        let settings = service_settings(Part::QueryApi, listen, &around);
        self.service(Part::QueryApi.name(), Part::QueryApi, &settings)
    }

    /// Writes the settings of the tools, which go past all proxies.
    pub(crate) fn tool_settings(&self) -> anyhow::Result<std::path::PathBuf> {
        let around = self.direct(self.layout.bootstrap())?;
        let listen = self.layout.projector_listener(0);
        let path = self.config.config_dir().join("tools.toml");
        fs::write(&path, service_settings(Part::Projector, listen, &around))?;
        Ok(path)
    }

    fn direct(&self, bootstrap: String) -> anyhow::Result<Surroundings> {
        let ports = Ports::new(self.layout.base_port)?;
        Ok(Surroundings {
            bootstrap,
            registry: ports.registry(),
            postgres: ports.postgres(),
            cassandra: ports.cassandra(),
        })
    }

    fn by_registry_proxy(&self, client: ClusterClient) -> anyhow::Result<Surroundings> {
        Ok(Surroundings {
            registry: self.layout.registry_advertised(),
            ..self.direct(self.layout.bootstrap_of(client))?
        })
    }

    fn by_store_proxies(&self, around: Surroundings, reader: u16) -> Surroundings {
        Surroundings {
            postgres: self.layout.postgres_advertised(reader),
            cassandra: self.layout.cassandra_advertised(reader),
            ..around
        }
    }

    fn service(&self, name: &str, part: Part, settings: &str) -> anyhow::Result<Process> {
        let path = self.config.config_dir().join(format!("{name}.toml"));
        fs::write(&path, settings)?;
        let program = self.config.program(&format!("cartwright-{part}"));
        ensure!(program.exists(), "{} is not built", program.display());
        let command = vec![
            program.display().to_string(),
            "--config".to_owned(),
            path.display().to_string(),
        ];
        let cwd = self.config.state_dir.clone();
        Ok(Process::new(name, command, cwd, self.log_of(name)))
    }
}
