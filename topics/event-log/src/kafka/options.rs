//! Settings of the Kafka client, each with its reason.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::{Limits, ReaderPurpose, TopicPartition};

/// Options of [`KafkaLog`](super::KafkaLog).
#[derive(Clone)]
pub struct KafkaOptions {
    /// Bootstrap brokers, `host:port,host:port`.
    pub brokers: String,
    /// Name of this process in the brokers' logs and quotas.
    pub client_id: String,
    /// librdkafka settings that are set last, for security and for tuning. Their
    /// values are never printed.
    pub extra: BTreeMap<String, String>,
    /// After this the coordinator aborts an open transaction. Short, since an
    /// open transaction holds up every read_committed reader of its partitions.
    /// A record that can't be delivered for this long fails. Default 3 s.
    pub transaction_timeout: Duration,
    /// How long a commit may take before its outcome counts as unknown.
    /// Default 5 s.
    pub commit_timeout: Duration,
    /// A commit slower than this makes the receipt doubtful. Default 500 ms.
    pub slow_commit: Duration,
    /// Least time from the end of a transaction to the begin of the next of the
    /// same writer. Some waiting (1 ms) avoids the broker's back-off while it
    /// completes the earlier one. Default 0.
    pub transaction_gap: Duration,
    /// How long a take-over may take. Default 10 s.
    pub take_over_timeout: Duration,
    /// How long requests for metadata and offsets may take. Default 5 s.
    pub request_timeout: Duration,
    /// How long a new producer may connect before it is used. Without this
    /// time, its first take-over takes half a second. Default 100 ms.
    pub warm_up: Duration,
    /// Without a sign of life for this long, a group member is taken for dead.
    /// Brokers accept no less than 6 s by default. Default 6 s.
    pub session_timeout: Duration,
    /// A group member that does not poll for this long loses its partitions.
    /// Default 5 min.
    pub max_poll_interval: Duration,
    /// Memory for records fetched ahead, by reader, bytes. Default 16 MiB.
    pub fetch_ahead_bytes: usize,
    /// What one transaction may hold.
    pub limits: Limits,
    /// Topics that writers write to. A take-over ends what a coordinator has left open there of its
    /// id; it asks the brokers over plain connections, so not those that want TLS or a login, and
    /// needs their leave to read `__transaction_state` and to write markers (`ClusterAction`). Default
    /// none: nothing is looked for.
    pub written_topics: Vec<String>,
    /// Whether a transactional id may have written to a partition of these. A take-over fails while the
    /// leader of one that it may have written to does not say what is open there. Default: all may.
    pub may_write: fn(&str, &TopicPartition) -> bool,
}

impl KafkaOptions {
    /// The defaults, for these brokers.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            client_id: "cartwright".to_owned(),
            extra: BTreeMap::new(),
            transaction_timeout: Duration::from_secs(3),
            commit_timeout: Duration::from_secs(5),
            slow_commit: Duration::from_millis(500),
            transaction_gap: Duration::ZERO,
            take_over_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
            warm_up: Duration::from_millis(100),
            session_timeout: Duration::from_secs(6),
            max_poll_interval: Duration::from_secs(300),
            fetch_ahead_bytes: 16 * 1_024 * 1_024,
            limits: Limits::default(),
            written_topics: Vec::new(),
            may_write: |_, _| true,
        }
    }

    /// Whether the brokers want more than a plain connection.
    pub(super) fn is_secured(&self) -> bool {
        let protocol = self.extra.get("security.protocol");
        protocol.is_some_and(|protocol| !protocol.eq_ignore_ascii_case("plaintext"))
    }

    pub(super) fn producer(&self, transactional_id: &str) -> ClientConfig {
        let timeout_ms = millis(self.transaction_timeout);
        let mut config = self.client();
        config
            .set("transactional.id", transactional_id)
            .set("transaction.timeout.ms", &timeout_ms)
            .set("message.timeout.ms", &timeout_ms)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("partitioner", "murmur2_random")
            // Disconnects are counted from log lines of this level.
            .set_log_level(RDKafkaLogLevel::Info);
        self.finish(config)
    }

    pub(super) fn reader(&self, purpose: ReaderPurpose) -> ClientConfig {
        let mut config = self.consumer("cartwright-reader", "read_committed");
        let wait_ms = match purpose {
            ReaderPurpose::Recovery => "5",
            ReaderPurpose::Tailing => "500",
        };
        config.set("fetch.wait.max.ms", wait_ms);
        self.finish(config)
    }

    pub(super) fn group_reader(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer(group, "read_committed");
        config
            .set("fetch.wait.max.ms", "500")
            .set("partition.assignment.strategy", "roundrobin")
            .set("session.timeout.ms", millis(self.session_timeout))
            .set("heartbeat.interval.ms", millis(self.session_timeout / 6))
            .set("max.poll.interval.ms", millis(self.max_poll_interval));
        self.finish(config)
    }

    /// For metadata and watermarks. read_uncommitted, because librdkafka asks
    /// for the end of a partition with its own isolation level, and a
    /// read_committed client gets the last stable offset for it.
    pub(super) fn cluster(&self) -> ClientConfig {
        self.finish(self.consumer("cartwright-cluster", "read_uncommitted"))
    }

    /// librdkafka wants a group for every consumer; only group readers ever
    /// join theirs, and none keeps offsets in it.
    fn consumer(&self, group: &str, isolation: &str) -> ClientConfig {
        let fetch_ahead_kb = (self.fetch_ahead_bytes / 1_024).max(1).to_string();
        let mut config = self.client();
        config
            .set("group.id", group)
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("allow.auto.create.topics", "false")
            .set("queued.max.messages.kbytes", fetch_ahead_kb)
            // How long fetching pauses when the queue is full, or after an
            // error; the defaults of 1 s and 0.5 s would dominate a recovery.
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "50")
            .set_log_level(RDKafkaLogLevel::Info);
        config
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            .set("retry.backoff.ms", "20")
            .set("retry.backoff.max.ms", "200")
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "500")
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true");
        config
    }

    fn finish(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.extra {
            config.set(name, value);
        }
        config
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers)
            .field("client_id", &self.client_id)
            .field("extra", &self.extra.keys())
            .field("transaction_timeout", &self.transaction_timeout)
            .field("commit_timeout", &self.commit_timeout)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().max(1).to_string()
}
