//! The project's own processes, and how each is told where the others are.

use std::fs;

use anyhow::ensure;
use cartwright_local::{ClusterClient, Part, Ports, Surroundings, service_settings};

use super::{Ground, PAYMENT_DEADLINE};
use crate::process::Process;

impl Ground {
    pub(super) fn node(&self, node: u16) -> anyhow::Result<Process> {
        let name = format!("node-{}", node + 1);
        let around = self.direct(self.layout.bootstrap_of(ClusterClient::Node(node)))?;
        let listen = self.layout.node_listener(node);
        let settings = format!(
            "{}\n[nodes]\nid = \"{name}\"\naddress = \"http://127.0.0.1:{}\"\n\n[checkout]\n\
             payment_deadline_ms = {}\n",
            service_settings(Part::CommandApi, listen, &around),
            self.layout.node_advertised(node),
            PAYMENT_DEADLINE.as_millis(),
        );
        self.service(&name, Part::CommandApi, &settings)
    }

    pub(super) fn projector(&self, projector: u16) -> anyhow::Result<Process> {
        let client = ClusterClient::Projector(projector);
        let around = self.by_proxy(self.layout.bootstrap_of(client), projector)?;
        let listen = self.layout.projector_listener(projector);
        let settings = service_settings(Part::Projector, listen, &around);
        let name = format!("projector-{}", projector + 1);
        self.service(&name, Part::Projector, &settings)
    }

    pub(super) fn query(&self) -> anyhow::Result<Process> {
        let around = self.by_proxy(String::new(), self.layout.projectors)?;
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

    fn by_proxy(&self, bootstrap: String, reader: u16) -> anyhow::Result<Surroundings> {
        Ok(Surroundings {
            postgres: self.layout.postgres_advertised(reader),
            cassandra: self.layout.cassandra_advertised(reader),
            ..self.direct(bootstrap)?
        })
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
