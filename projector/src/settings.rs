//! The program's settings.

use std::time::Duration;

use cartwright_read_model::PROJECTIONS;
use cartwright_service::config::{Cassandra, Http, Kafka, Log, Postgres, Registry};
use serde::Deserialize;
use thiserror::Error;

use crate::plan::Limits;

/// All settings of the projector. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[http]`: health and metrics.
    pub http: Http,
    /// `[kafka]`: the log.
    pub kafka: Kafka,
    /// `[registry]`: the schema registry.
    pub registry: Registry,
    /// `[postgres]`: the store of lists, search, timelines and reports.
    pub postgres: Postgres,
    /// `[cassandra]`: the store of the views by key.
    pub cassandra: Cassandra,
    /// `[log]`: what is written to standard output.
    #[serde(default)]
    pub log: Log,
    /// `[projector]`: what is projected, and within which limits.
    #[serde(default)]
    pub projector: Projector,
}

/// `[projector]`. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Projector {
    /// The projections to keep, by name. Default: all.
    pub projections: Vec<String>,
    /// The generation of the log, 1 to 63. Raised when the log is restored or made anew, in every
    /// service at once. Default 1.
    pub log_generation: u32,
    /// Records taken from the log at a time. Default 500.
    pub max_batch_records: usize,
    /// Bytes of them, about. Default 33,554,432.
    pub max_batch_bytes: usize,
    /// Row operations in one batch; a single event may ask for more. Default 5,000.
    pub max_batch_rows: usize,
    /// How long to gather records after the first one. More makes larger batches, which are
    /// cheaper; less makes reads fresher. Default 10.
    pub linger_ms: u64,
    /// How long to wait for a record; bounds how soon a signal to stop is heard. Default 200.
    pub poll_ms: u64,
    /// How long to wait before a store is tried again, at first. Default 100.
    pub retry_min_ms: u64,
    /// The same at most; it doubles from try to try. Default 5,000.
    pub retry_max_ms: u64,
    /// How often a partition that has been read to its end says so with its position, so that reads
    /// of it count as fresh though nothing happens; 0: never. Default 2,000.
    pub heartbeat_ms: u64,
    /// Keys that may be parked in one partition; with more the projection stops. Default 1,000.
    pub max_parked_keys: usize,
    /// Records that may be parked in one partition, those behind others included; with more the
    /// projection stops. Default 20,000.
    pub max_parked_records: usize,
    /// How often to look for requests about parked records. Default 1,000.
    pub requests_interval_ms: u64,
    /// Parked records that are read again at a time. Default 10,000.
    pub unpark_records: usize,
    /// Bytes of them that are held at a time. Default 33,554,432.
    pub unpark_bytes: usize,
    /// How long new records wait at a time while parked ones are read again. Default 300.
    pub unpark_slice_ms: u64,
    /// How long a position may stand still while the log goes on before the partition counts as
    /// stuck. Default 30,000.
    pub stuck_after_ms: u64,
    /// How often the stores are asked which versions are to be fed. Default 1,000.
    pub versions_poll_ms: u64,
    /// Where others reach this process over HTTP, to be shown to operators. Default: `http.listen`.
    pub address: Option<String>,
    /// How often lag is measured. Default 2,000.
    pub report_interval_ms: u64,
    /// How long the projections may take to finish their batches when the process stops.
    /// Default 10,000.
    pub stop_limit_ms: u64,
    /// How long PostgreSQL may take over one statement. Default 60,000.
    pub postgres_statement_timeout_ms: u64,
    /// How long PostgreSQL waits for a projector that stands still in the middle of a transaction. Until
    /// then the partition is locked, also for the process that has taken it over. Default 5,000.
    pub postgres_idle_in_transaction_ms: u64,
    /// Writes that each projection keeps in flight at Cassandra. Default 128.
    pub cassandra_concurrency: usize,
    /// Replicas that have to answer. Default `local_quorum`.
    pub cassandra_consistency: Consistency,
    /// Copies of each row in the local data centre, when the keyspace is made; not changed later.
    /// Default 1.
    pub cassandra_replication_factor: u32,
    /// How long Cassandra may take over one statement. Default 5,000.
    pub cassandra_timeout_ms: u64,
}

/// Replicas that have to answer a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// One in the local data centre. For a single node, and for nobody who reads elsewhere.
    LocalOne,
    /// Most of those in the local data centre.
    LocalQuorum,
}

/// A setting has a value that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("configuration key `projector.{key}`: {rule}")]
pub struct InvalidSetting {
    /// The key.
    pub key: &'static str,
    /// The rule that it breaks.
    pub rule: String,
}

impl Default for Projector {
    fn default() -> Self {
        let limits = Limits::default();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            projections: PROJECTIONS
                .iter()
                .map(|each| each.name.to_owned())
                .collect(),
            log_generation: 1,
            max_batch_records: limits.max_records,
            max_batch_bytes: limits.max_bytes,
            max_batch_rows: limits.max_rows,
            linger_ms: ms(limits.linger),
            poll_ms: ms(limits.poll),
            retry_min_ms: ms(limits.retry_min),
            retry_max_ms: ms(limits.retry_max),
            heartbeat_ms: limits.heartbeat.map_or(0, ms),
            max_parked_keys: limits.max_parked_keys,
            max_parked_records: limits.max_parked_records,
            requests_interval_ms: ms(limits.requests_every),
            unpark_records: limits.unpark_records,
            unpark_bytes: limits.unpark_bytes,
            unpark_slice_ms: ms(limits.unpark_slice),
            stuck_after_ms: 30_000,
            versions_poll_ms: 1_000,
            address: None,
            report_interval_ms: 2_000,
            stop_limit_ms: 10_000,
            postgres_statement_timeout_ms: 60_000,
            postgres_idle_in_transaction_ms: 5_000,
            cassandra_concurrency: 128,
            cassandra_consistency: Consistency::LocalQuorum,
            cassandra_replication_factor: 1,
            cassandra_timeout_ms: 5_000,
        }
    }
}

impl Projector {
    /// What the workers may take at a time.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            max_records: self.max_batch_records,
            max_bytes: self.max_batch_bytes,
            max_rows: self.max_batch_rows,
            linger: Duration::from_millis(self.linger_ms),
            poll: Duration::from_millis(self.poll_ms),
            retry_min: Duration::from_millis(self.retry_min_ms),
            retry_max: Duration::from_millis(self.retry_max_ms),
            heartbeat: (self.heartbeat_ms > 0).then(|| Duration::from_millis(self.heartbeat_ms)),
            max_parked_keys: self.max_parked_keys,
            max_parked_records: self.max_parked_records,
            requests_every: Duration::from_millis(self.requests_interval_ms),
            unpark_records: self.unpark_records,
            unpark_bytes: self.unpark_bytes,
            unpark_slice: Duration::from_millis(self.unpark_slice_ms),
        }
    }

    /// Holds the values against their rules.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the first key that breaks one.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let invalid = |key, rule: String| Err(InvalidSetting { key, rule });
        let positive = [
            ("max_batch_records", self.max_batch_records),
            ("max_batch_bytes", self.max_batch_bytes),
            ("max_batch_rows", self.max_batch_rows),
            ("max_parked_keys", self.max_parked_keys),
            ("max_parked_records", self.max_parked_records),
            ("unpark_records", self.unpark_records),
            ("unpark_bytes", self.unpark_bytes),
            ("unpark_slice_ms", self.unpark_slice_ms as usize),
            ("requests_interval_ms", self.requests_interval_ms as usize),
            ("cassandra_concurrency", self.cassandra_concurrency),
            (
                "cassandra_replication_factor",
                self.cassandra_replication_factor as usize,
            ),
            ("poll_ms", self.poll_ms as usize),
            ("versions_poll_ms", self.versions_poll_ms as usize),
            ("retry_min_ms", self.retry_min_ms as usize),
            ("retry_max_ms", self.retry_max_ms as usize),
            (
                "postgres_statement_timeout_ms",
                self.postgres_statement_timeout_ms as usize,
            ),
            (
                "postgres_idle_in_transaction_ms",
                self.postgres_idle_in_transaction_ms as usize,
            ),
            ("cassandra_timeout_ms", self.cassandra_timeout_ms as usize),
        ];
        for (key, value) in positive {
            if value == 0 {
                return invalid(key, "must be above zero".to_owned());
            }
        }
        let most = cartwright_read_model::CellTime::MAX_GENERATION;
        if !(1..=most).contains(&self.log_generation) {
            return invalid("log_generation", format!("must be 1 to {most}"));
        }
        let known = |name: &String| PROJECTIONS.iter().any(|each| each.name == name);
        if let Some(unknown) = self.projections.iter().find(|name| !known(name)) {
            let names = PROJECTIONS.map(|each| each.name).join(", ");
            let rule = format!("there is no projection {unknown:?}; there are {names}");
            return invalid("projections", rule);
        }
        if self.projections.is_empty() {
            return invalid("projections", "must name at least one".to_owned());
        }
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = self.projections.iter().find(|name| !seen.insert(*name)) {
            return invalid("projections", format!("names {twice:?} twice"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_keep_their_own_rules_and_name_every_projection() {
        let settings = Projector::default();
        assert_eq!(settings.check(), Ok(()));
        assert_eq!(settings.projections.len(), PROJECTIONS.len());
    }

    #[test]
    fn a_value_that_is_not_allowed_is_named() {
        let key = |change: fn(&mut Projector)| {
            let mut settings = Projector::default();
            change(&mut settings);
            settings.check().map_err(|error| error.key)
        };
        assert_eq!(key(|of| of.max_batch_rows = 0), Err("max_batch_rows"));
        assert_eq!(key(|of| of.log_generation = 64), Err("log_generation"));
        assert_eq!(key(|of| of.projections.clear()), Err("projections"));
        assert_eq!(
            key(|of| of.projections.push("x".into())),
            Err("projections")
        );
        assert_eq!(
            key(|of| of.projections.push("sales".into())),
            Err("projections")
        );
    }

    #[test]
    fn the_least_configuration_is_enough_and_unknown_keys_are_refused() {
        let least = "
            [http]
            listen = '127.0.0.1:7003'
            [kafka]
            bootstrap = '127.0.0.1:7010'
            [registry]
            url = 'http://127.0.0.1:7040'
            [postgres]
            url = 'postgres://postgres@127.0.0.1:7030/cartwright'
            [cassandra]
            nodes = ['127.0.0.1:7020']
        ";
        let settings: Settings = toml::from_str(least).unwrap();
        assert_eq!(settings.projector, Projector::default());
        let with =
            |line: &str| toml::from_str::<Settings>(&format!("{least}\n[projector]\n{line}"));
        let settings = with("cassandra_consistency = 'local_one'").unwrap();
        assert_eq!(
            settings.projector.cassandra_consistency,
            Consistency::LocalOne
        );
        assert!(with("linger = 3").is_err());
    }
}
