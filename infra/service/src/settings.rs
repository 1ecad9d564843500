//! The sections that several services share. Each service composes its own struct from them.
//!
//! Addresses and credentials have no default, since a wrong guess would only be found later;
//! everything that tunes has one, stated at the field. Times are in milliseconds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;

use crate::config::Secret;
use crate::shutdown::Drain;

/// `[http]`: the listener and its limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address and port to listen on, such as `127.0.0.1:7001`. Port 0 takes a free one. Required.
    pub listen: SocketAddr,
    /// Largest request body, in bytes; beyond it the answer is 413. Default 1 MiB.
    #[serde(default = "default::max_body_bytes")]
    pub max_body_bytes: usize,
    /// How long a request may take until its response begins, reading the body included; then
    /// the answer is 504. Must exceed the longest wait a client may ask for. Default 30,000.
    #[serde(default = "default::request_timeout_ms")]
    pub request_timeout_ms: u64,
    /// Requests being answered at a time; beyond it the answer is 503 with Retry-After.
    /// Default 8,192.
    #[serde(default = "default::max_in_flight", deserialize_with = "positive")]
    pub max_in_flight: usize,
    /// Open connections at a time; further ones wait in the system's backlog. Default 8,192.
    #[serde(default = "default::max_connections", deserialize_with = "positive")]
    pub max_connections: usize,
    /// How long a connection may take until the head of its next request is complete; then it is
    /// closed. Longer than clients keep idle connections, so that they close first.
    /// Default 120,000.
    #[serde(default = "default::idle_timeout_ms")]
    pub idle_timeout_ms: u64,
    /// How long a client may take none of its answer; then the connection is closed. Default 30,000.
    #[serde(default = "default::write_timeout_ms")]
    pub write_timeout_ms: u64,
    /// How long to go on accepting after the signal to stop, with readiness already withdrawn, so
    /// that load balancers look elsewhere first. Default 0.
    #[serde(default)]
    pub drain_delay_ms: u64,
    /// How long requests in flight may take to finish after that; then they are cut off.
    /// Default 10,000.
    #[serde(default = "default::drain_limit_ms")]
    pub drain_limit_ms: u64,
}

impl Http {
    /// The defaults, listening on `listen`.
    #[must_use]
    pub fn at(listen: SocketAddr) -> Self {
        Self {
            listen,
            max_body_bytes: default::max_body_bytes(),
            request_timeout_ms: default::request_timeout_ms(),
            max_in_flight: default::max_in_flight(),
            max_connections: default::max_connections(),
            idle_timeout_ms: default::idle_timeout_ms(),
            write_timeout_ms: default::write_timeout_ms(),
            drain_delay_ms: 0,
            drain_limit_ms: default::drain_limit_ms(),
        }
    }

    /// [`Http::request_timeout_ms`] as a duration.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// How to stop.
    #[must_use]
    pub fn drain(&self) -> Drain {
        Drain {
            delay: Duration::from_millis(self.drain_delay_ms),
            limit: Duration::from_millis(self.drain_limit_ms),
        }
    }
}

/// `[kafka]`: how to reach the cluster. What makes transactions safe is not here but with the
/// event log, since it is not a matter of taste.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `host:port`, several separated by commas. Required.
    pub bootstrap: String,
    /// Further librdkafka properties for every client, such as `security.protocol` and `sasl.*`.
    /// Their values are treated as secrets. Default none.
    #[serde(default)]
    pub properties: BTreeMap<String, Secret>,
}

/// `[registry]`: the schema registry.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Base URL of the Confluent-compatible API, such as
    /// `http://127.0.0.1:7040/apis/ccompat/v7`. Holds no credentials. Required.
    pub url: String,
}

/// `[postgres]`: the store for search, lists and reports.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// `postgres://user:password@host:port/database`. A secret, since it holds the password.
    /// Required.
    pub url: Secret,
    /// Connections in the pool. Default 8.
    #[serde(
        default = "default::postgres_max_connections",
        deserialize_with = "positive"
    )]
    pub max_connections: usize,
    /// How long to wait for a connection, a new one or a pooled one. Default 5,000.
    #[serde(default = "default::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
}

impl Postgres {
    /// [`Postgres::connect_timeout_ms`] as a duration.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }
}

/// `[cassandra]`: the store for views by key (ScyllaDB or Cassandra).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cassandra {
    /// Contact points as `host:port`. Required, at least one.
    #[serde(deserialize_with = "non_empty")]
    pub nodes: Vec<String>,
    /// Keyspace of the views. Default `cartwright`.
    #[serde(default = "default::keyspace")]
    pub keyspace: String,
    /// The data centre whose replicas answer LOCAL_QUORUM. Default `datacenter1`.
    #[serde(default = "default::local_datacenter")]
    pub local_datacenter: String,
    /// User, where the cluster asks for one; goes with `password`. Default none.
    #[serde(default)]
    pub user: Option<String>,
    /// Password of `user`. Default none.
    #[serde(default)]
    pub password: Option<Secret>,
}

impl Cassandra {
    /// User and password, when both are set.
    #[must_use]
    pub fn credentials(&self) -> Option<(&str, &str)> {
        Some((self.user.as_deref()?, self.password.as_ref()?.expose()))
    }
}

/// `[log]`: what is written to standard output.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `human` for a terminal, `json` for one object a line. Default `human`.
    pub format: LogFormat,
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or directives such as
    /// `info,cartwright_shard=debug`. Default `info`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Human,
            level: "info".to_owned(),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line an event.
    Human,
    /// One JSON object a line.
    Json,
}

fn non_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let values = Vec::deserialize(deserializer)?;
    if values.is_empty() {
        return Err(serde::de::Error::custom("must name at least one"));
    }
    Ok(values)
}

/// A limit of 0 would let nothing through.
fn positive<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    NonZeroUsize::deserialize(deserializer).map(NonZeroUsize::get)
}

mod default {
    pub(super) fn max_body_bytes() -> usize {
        1024 * 1024
    }
    pub(super) fn request_timeout_ms() -> u64 {
        30_000
    }
    pub(super) fn max_in_flight() -> usize {
        8_192
    }
    pub(super) fn max_connections() -> usize {
        8_192
    }
    pub(super) fn idle_timeout_ms() -> u64 {
        120_000
    }
    pub(super) fn write_timeout_ms() -> u64 {
        30_000
    }
    pub(super) fn drain_limit_ms() -> u64 {
        10_000
    }
    pub(super) fn postgres_max_connections() -> usize {
        8
    }
    pub(super) fn connect_timeout_ms() -> u64 {
        5_000
    }
    pub(super) fn keyspace() -> String {
        "cartwright".to_owned()
    }
    pub(super) fn local_datacenter() -> String {
        "datacenter1".to_owned()
    }
}
