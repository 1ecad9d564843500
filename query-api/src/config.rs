//! The service's settings.

use std::time::Duration;

use cartwright_service::config::{Cassandra, Http, Log, Postgres};
use serde::Deserialize;

/// All settings of query-api. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[http]`: the listener and its limits.
    pub http: Http,
    /// `[postgres]`: the store of lists, search, timelines and reports.
    pub postgres: Postgres,
    /// `[cassandra]`: the store of the views by key.
    pub cassandra: Cassandra,
    /// `[log]`: what is written to standard output.
    #[serde(default)]
    pub log: Log,
    /// `[query]`: waits and limits of reads.
    #[serde(default)]
    pub query: Query,
}

/// `[query]`: waits and limits of reads. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// The generation of the log that position tokens must be of. Raised when the log is restored or
    /// made anew, in every service at once. Default 1.
    pub log_generation: u32,
    /// How long a read waits for the position that it gives; `Prefer: wait=N` may shorten it.
    /// Default 5,000.
    pub position_wait_ms: u64,
    /// Reads that may wait for a position at a time; beyond it the answer is 503. Default 1,024.
    pub max_waiters: usize,
    /// How soon positions are read again while somebody waits, at first. Default 10.
    pub poll_min_ms: u64,
    /// The same after a while. Default 100.
    pub poll_max_ms: u64,
    /// How old the positions may be that `Cartwright-As-Of` is taken from. Default 250.
    pub as_of_max_age_ms: u64,
    /// How long a store may take over one statement. Default 10,000.
    pub store_timeout_ms: u64,
    /// How long a read waits for its turn at a store that is busy; then the answer is 503.
    /// Default 2,000.
    pub store_queue_ms: u64,
    /// Reads in progress at Cassandra at a time. Default 512.
    pub cassandra_max_in_flight: usize,
    /// Reports being made at a time; they take long and share PostgreSQL's connections with lists.
    /// Default 2.
    pub reports_max_in_flight: usize,
    /// How often the stores are asked which version of each view is current. Default 250.
    pub pointer_poll_ms: u64,
    /// How long views are answered from without knowing that; then the answer is 503. Whoever
    /// retires a version waits as long. Default 5,000.
    pub pointer_max_age_ms: u64,
    /// How often the stores are looked at for readiness. Default 2,000.
    pub probe_interval_ms: u64,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            log_generation: 1,
            position_wait_ms: 5_000,
            max_waiters: 1_024,
            poll_min_ms: 10,
            poll_max_ms: 100,
            as_of_max_age_ms: 250,
            store_timeout_ms: 10_000,
            store_queue_ms: 2_000,
            cassandra_max_in_flight: 512,
            reports_max_in_flight: 2,
            pointer_poll_ms: 250,
            pointer_max_age_ms: 5_000,
            probe_interval_ms: 2_000,
        }
    }
}

impl Query {
    /// [`Query::position_wait_ms`] as a duration.
    #[must_use]
    pub const fn position_wait(&self) -> Duration {
        Duration::from_millis(self.position_wait_ms)
    }

    /// [`Query::poll_min_ms`] as a duration.
    #[must_use]
    pub const fn poll_min(&self) -> Duration {
        Duration::from_millis(self.poll_min_ms)
    }

    /// [`Query::poll_max_ms`] as a duration.
    #[must_use]
    pub const fn poll_max(&self) -> Duration {
        Duration::from_millis(self.poll_max_ms)
    }

    /// [`Query::as_of_max_age_ms`] as a duration.
    #[must_use]
    pub const fn as_of_max_age(&self) -> Duration {
        Duration::from_millis(self.as_of_max_age_ms)
    }

    /// [`Query::store_timeout_ms`] as a duration.
    #[must_use]
    pub const fn store_timeout(&self) -> Duration {
        Duration::from_millis(self.store_timeout_ms)
    }

    /// [`Query::store_queue_ms`] as a duration.
    #[must_use]
    pub const fn store_queue(&self) -> Duration {
        Duration::from_millis(self.store_queue_ms)
    }

    /// [`Query::pointer_poll_ms`] as a duration.
    #[must_use]
    pub const fn pointer_poll(&self) -> Duration {
        Duration::from_millis(self.pointer_poll_ms)
    }

    /// [`Query::pointer_max_age_ms`] as a duration.
    #[must_use]
    pub const fn pointer_max_age(&self) -> Duration {
        Duration::from_millis(self.pointer_max_age_ms)
    }

    /// [`Query::probe_interval_ms`] as a duration.
    #[must_use]
    pub const fn probe_interval(&self) -> Duration {
        Duration::from_millis(self.probe_interval_ms)
    }
}

/// A setting that can be read but makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configuration key `{key}`: {rule}")]
pub struct InvalidSetting {
    /// The dotted key.
    pub key: &'static str,
    /// The rule that it breaks.
    pub rule: String,
}

impl Config {
    /// Checks what no single key can show.
    ///
    /// # Errors
    /// [`InvalidSetting`]: a limit or interval of zero, a first poll that is slower than the later
    /// ones, or waits that together outlast `http.request_timeout_ms`.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let query = &self.query;
        let positive = [
            ("query.log_generation", u64::from(query.log_generation)),
            ("query.max_waiters", query.max_waiters as u64),
            ("query.poll_min_ms", query.poll_min_ms),
            ("query.store_timeout_ms", query.store_timeout_ms),
            (
                "query.cassandra_max_in_flight",
                query.cassandra_max_in_flight as u64,
            ),
            (
                "query.reports_max_in_flight",
                query.reports_max_in_flight as u64,
            ),
            ("query.probe_interval_ms", query.probe_interval_ms),
            ("query.pointer_poll_ms", query.pointer_poll_ms),
        ];
        for (key, value) in positive {
            if value == 0 {
                let rule = "must be above zero".to_owned();
                return Err(InvalidSetting { key, rule });
            }
        }
        if query.poll_max_ms < query.poll_min_ms {
            let rule = format!(
                "must not be below query.poll_min_ms ({})",
                query.poll_min_ms
            );
            return Err(InvalidSetting {
                key: "query.poll_max_ms",
                rule,
            });
        }
        if query.pointer_max_age_ms <= query.pointer_poll_ms {
            let least = query.pointer_poll_ms;
            let rule = format!("must exceed query.pointer_poll_ms ({least})");
            return Err(InvalidSetting {
                key: "query.pointer_max_age_ms",
                rule,
            });
        }
        self.validate_waits()
    }

    fn validate_waits(&self) -> Result<(), InvalidSetting> {
        let parts = [
            self.query.position_wait_ms,
            self.query.store_queue_ms,
            self.postgres.connect_timeout_ms,
            self.query.store_timeout_ms,
        ];
        let longest = parts.into_iter().fold(0, u64::saturating_add);
        if longest < self.http.request_timeout_ms {
            return Ok(());
        }
        Err(InvalidSetting {
            key: "http.request_timeout_ms",
            rule: format!(
                "must exceed {longest}, the sum of query.position_wait_ms, query.store_queue_ms, \
                 postgres.connect_timeout_ms and query.store_timeout_ms"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cartwright_service::config::load_from;

    use super::*;

    const REQUIRED: &str = r#"
[http]
listen = "127.0.0.1:7002"
[postgres]
url = "postgres://postgres@127.0.0.1:7030/cartwright"
[cassandra]
nodes = ["127.0.0.1:7020"]
keyspace = "cartwright"
"#;

    fn read(more: &str) -> Result<Config, String> {
        let text = format!("{REQUIRED}\n{more}");
        let file = Some((Path::new("query-api.toml"), text.as_str()));
        load_from(file, "CARTWRIGHT__", []).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(read("").unwrap().validate(), Ok(()));
        assert_eq!(
            read("[log]\nformat = \"json\"").unwrap().query,
            Query::default()
        );
    }

    #[test]
    fn a_key_that_nobody_reads_is_named() {
        let error = read("[query]\nposition_wait_s = 5").unwrap_err();
        assert!(error.contains("query.position_wait_s"), "{error}");
        let error = read("[kafka]\nbootstrap = \"127.0.0.1:7010\"").unwrap_err();
        assert!(error.contains("kafka"), "{error}");
    }

    #[test]
    fn settings_that_contradict_each_other_are_named() {
        for (text, key) in [
            ("max_waiters = 0", "query.max_waiters"),
            ("log_generation = 0", "query.log_generation"),
            ("poll_min_ms = 200", "query.poll_max_ms"),
            ("pointer_max_age_ms = 250", "query.pointer_max_age_ms"),
            ("position_wait_ms = 29000", "http.request_timeout_ms"),
        ] {
            let config = read(&format!("[query]\n{text}")).unwrap();
            assert_eq!(config.validate().unwrap_err().key, key, "{text}");
        }
    }
}
