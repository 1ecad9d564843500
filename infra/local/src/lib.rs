//! The native local stack: Kafka, Cassandra, PostgreSQL, the schema registry and the project's three services as
//! plain processes on loopback, everything they keep in one folder.
//!
//! [`Stack`] starts, watches and stops them. What is running is told by the processes themselves and by pid files in
//! the state folder, never by a supervisor: every call finds out anew, so a second [`Stack`] on the same folder sees
//! the same.

mod boot;
mod brokers;
mod cluster;
mod config;
mod cql;
mod download;
mod error;
mod health;
mod launch;
mod part;
mod ports;
mod postgres;
mod preflight;
mod process;
mod progress;
mod render;
mod stack;
mod status;
mod stop;
mod topics;

pub use brokers::{BrokerLaunch, Brokers, KafkaTools};
pub use cluster::{ClusterClient, ClusterLayout};
pub use config::StackConfig;
pub use error::{Result, StackError};
pub use part::{MAX_NODES, Part, all_names};
pub use ports::{DEFAULT_BASE_PORT, MAX_BASE_PORT, Ports};
pub use progress::Progress;
pub use render::{READ_MODEL_NAME, Surroundings, service_settings};
pub use stack::{Stack, UpReport};
pub use status::{PartState, PartStatus};
pub use topics::{PROGRAM as TOPICS_PROGRAM, arguments as topics_arguments};
