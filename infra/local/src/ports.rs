//! Where everything listens: one base port decides all.

use crate::error::{Result, StackError};

/// The base port when nothing else is said.
pub const DEFAULT_BASE_PORT: u16 = 7000;

/// The highest base port: the layout takes the 60 ports from it upwards.
pub const MAX_BASE_PORT: u16 = u16::MAX - 60;

/// The ports of one stack, all on 127.0.0.1. Stacks whose base ports differ by 60 or more never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    base: u16,
}

impl Ports {
    /// The layout from `base` upwards.
    ///
    /// # Errors
    /// [`StackError::BasePort`] below 1024 or above [`MAX_BASE_PORT`].
    pub fn new(base: u16) -> Result<Self> {
        if (1024..=MAX_BASE_PORT).contains(&base) {
            Ok(Self { base })
        } else {
            Err(StackError::BasePort(base.to_string()))
        }
    }

    /// The layout a setting asks for; `None` and an empty text mean [`DEFAULT_BASE_PORT`].
    ///
    /// # Errors
    /// [`StackError::BasePort`] when it is no usable number.
    pub fn parse(setting: Option<&str>) -> Result<Self> {
        match setting.map(str::trim).filter(|text| !text.is_empty()) {
            None => Self::new(DEFAULT_BASE_PORT),
            Some(text) => text
                .parse()
                .map_err(|_| StackError::BasePort(text.to_owned()))
                .and_then(Self::new),
        }
    }

    /// The base itself.
    pub fn base(self) -> u16 {
        self.base
    }

    /// HTTP of command-api.
    pub fn command_api(self) -> u16 {
        self.base + 1
    }

    /// HTTP of a further node of command-api; the second one's is 51 above the base.
    pub fn command_node(self, number: u8) -> u16 {
        self.base + 49 + u16::from(number)
    }

    /// HTTP of query-api.
    pub fn query_api(self) -> u16 {
        self.base + 2
    }

    /// Health and metrics of the projector.
    pub fn projector(self) -> u16 {
        self.base + 3
    }

    /// Kafka's clients.
    pub fn kafka(self) -> u16 {
        self.base + 10
    }

    /// Kafka's controller.
    pub fn kafka_controller(self) -> u16 {
        self.base + 11
    }

    /// CQL.
    pub fn cassandra(self) -> u16 {
        self.base + 20
    }

    /// Cassandra's own traffic between nodes.
    pub fn cassandra_storage(self) -> u16 {
        self.base + 21
    }

    /// PostgreSQL.
    pub fn postgres(self) -> u16 {
        self.base + 30
    }

    /// HTTP of the schema registry.
    pub fn registry(self) -> u16 {
        self.base + 40
    }

    /// Health of the schema registry.
    pub fn registry_management(self) -> u16 {
        self.base + 41
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_setting_moves_every_port() {
        let ports = Ports::parse(Some("7100")).unwrap();
        assert_eq!(ports.command_api(), 7101);
        assert_eq!(ports.query_api(), 7102);
        assert_eq!(ports.kafka(), 7110);
        assert_eq!(ports.cassandra(), 7120);
        assert_eq!(ports.postgres(), 7130);
        assert_eq!(ports.registry(), 7140);
    }

    #[test]
    fn no_setting_means_the_default() {
        assert_eq!(Ports::parse(None).unwrap().base(), DEFAULT_BASE_PORT);
        assert_eq!(Ports::parse(Some(" ")).unwrap().base(), DEFAULT_BASE_PORT);
    }

    #[test]
    fn an_unusable_base_port_is_refused_by_name() {
        for text in ["80", "65535", "seven", "-1"] {
            let error = Ports::parse(Some(text)).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
