//! The service's settings.

use std::collections::BTreeSet;
use std::time::Duration;

use cartwright_domain::CheckoutSettings;
use cartwright_event_log::kafka::KafkaOptions;
use cartwright_events::{Context, NODES_TOPIC, OWNERS_TOPIC, SchemaTopic};
use cartwright_service::config::{Http, Kafka, Log, Registry};
use cartwright_shard::ShardOptions;
use cartwright_shard::nodes::NodeOptions;
use serde::Deserialize;

use crate::writers;

/// All settings of command-api. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[http]`: the listener and its limits.
    pub http: Http,
    /// `[kafka]`: the log.
    pub kafka: Kafka,
    /// `[registry]`: the schema registry, asked at boot.
    pub registry: Registry,
    /// `[log]`: what is written to standard output.
    #[serde(default)]
    pub log: Log,
    /// `[command]`: which contexts are served, and how long a command may take.
    #[serde(default)]
    pub command: Command,
    /// `[checkout]`: times and limits of carts and orders.
    #[serde(default)]
    pub checkout: Checkout,
    /// `[shard]`: limits and times of a shard.
    #[serde(default)]
    pub shard: ShardOptions,
    /// `[nodes]`: this process as one of several. Without it, it is alone and owns every shard of its
    /// contexts.
    #[serde(default)]
    pub nodes: Option<Nodes>,
}

/// `[nodes]`: this process as one of several. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nodes {
    /// This node's name: the same for every start, different from every other node's.
    pub id: String,
    /// Where the other nodes reach this one: a URL without a path, such as `http://10.0.0.7:7001`.
    pub address: String,
    /// Hops after which a command is not forwarded again but waits for the map to settle. Default 2:
    /// the second is for a shard that has just moved.
    #[serde(default = "default_max_hops")]
    pub max_hops: u8,
    /// An allocator that shows no sign of life for so long is replaced. The least that brokers
    /// allow unless told otherwise, and the default, is 6,000.
    #[serde(default = "default_election_session_ms")]
    pub election_session_ms: u64,
    /// How long a node that was told to stop waits for others to take its shards over. A successor
    /// first reads where finished orders are, for some seconds with a million of them. Default
    /// 60,000.
    #[serde(default = "default_leave_limit_ms")]
    pub leave_limit_ms: u64,
    /// `[nodes.times]`: beats and what follows from them.
    #[serde(default)]
    pub times: NodeOptions,
}

const fn default_max_hops() -> u8 {
    2
}

const fn default_election_session_ms() -> u64 {
    6_000
}

const fn default_leave_limit_ms() -> u64 {
    60_000
}

impl Nodes {
    /// [`Nodes::leave_limit_ms`] as a duration.
    #[must_use]
    pub const fn leave_limit(&self) -> Duration {
        Duration::from_millis(self.leave_limit_ms)
    }

    fn validate(&self) -> Result<(), InvalidSetting> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let invalid = |key, rule: &str| {
            Err(InvalidSetting {
                key,
                rule: rule.to_owned(),
            })
        };
        if !(1..=64).contains(&self.id.len()) || !self.id.bytes().all(word) {
            return invalid(
                "nodes.id",
                "must be 1 to 64 letters, digits, `.`, `_` or `-`",
            );
        }
        let address = self.address.parse::<http::Uri>();
        let is_url = address.is_ok_and(|uri| {
            uri.scheme_str() == Some("http")
                && uri.authority().is_some()
                && matches!(uri.path(), "" | "/")
        });
        if !is_url {
            return invalid("nodes.address", "must be http://host:port");
        }
        if self.max_hops == 0 {
            return invalid("nodes.max_hops", "must be above zero");
        }
        if self.times.beat_ms == 0 || self.times.dead_after_ms < 3 * self.times.beat_ms {
            return invalid(
                "nodes.times.dead_after_ms",
                "must be at least three times nodes.times.beat_ms, which must be above zero",
            );
        }
        Ok(())
    }
}

/// `[command]`: the edge. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Command {
    /// Contexts that this process serves, each whole. Default all three.
    pub contexts: Vec<Context>,
    /// Whether callers may quote prices instead of taking the catalog's. For imports and trusted
    /// back offices. Default false.
    pub allow_quoted_prices: bool,
    /// Whether callers may say when something happened. For imports. Default false.
    pub allow_occurred_at: bool,
    /// A command whose turn has not come after so long is not decided any more. Default 5,000.
    pub deadline_ms: u64,
    /// How long the edge waits for a shard's reply. Beyond the deadline, since what was decided in
    /// time may still have to be committed. Default 10,000.
    pub reply_wait_ms: u64,
    /// How long a command about a cart may wait for the price table to hold the position that it
    /// gives. Default 5,000.
    pub position_wait_ms: u64,
    /// The longest wait for an order's outcome that `Prefer: wait` can ask for. Default 10,000.
    pub wait_max_ms: u64,
    /// Commands whose callers do not wait that may wait to be written to an inbox; one more is
    /// refused. Default 2,048.
    pub queue_capacity: usize,
    /// So many of them are written in one transaction at most. Default 500.
    pub queue_group: usize,
    /// How long to try at boot to reach the log and the registry. Default 30,000.
    pub boot_wait_ms: u64,
    /// How long the shards may take to stop. Default 10,000.
    pub stop_limit_ms: u64,
    /// After a commit that took longer a shard reads its log back, since a late copy of what ended the
    /// transaction may be on its way. For a disk that is slow by nature, more. Default 500.
    pub slow_commit_ms: u64,
}

impl Default for Command {
    fn default() -> Self {
        Self {
            contexts: Context::ALL.to_vec(),
            allow_quoted_prices: false,
            allow_occurred_at: false,
            deadline_ms: 5_000,
            reply_wait_ms: 10_000,
            position_wait_ms: 5_000,
            wait_max_ms: 10_000,
            queue_capacity: 2_048,
            queue_group: 500,
            boot_wait_ms: 30_000,
            stop_limit_ms: 10_000,
            slow_commit_ms: 500,
        }
    }
}

impl Command {
    /// [`Command::reply_wait_ms`] as a duration.
    #[must_use]
    pub const fn reply_wait(&self) -> Duration {
        Duration::from_millis(self.reply_wait_ms)
    }

    /// [`Command::position_wait_ms`] as a duration.
    #[must_use]
    pub const fn position_wait(&self) -> Duration {
        Duration::from_millis(self.position_wait_ms)
    }

    /// [`Command::wait_max_ms`] as a duration.
    #[must_use]
    pub const fn wait_max(&self) -> Duration {
        Duration::from_millis(self.wait_max_ms)
    }

    /// [`Command::queue_capacity`] and [`Command::queue_group`].
    pub(crate) const fn queue_limits(&self) -> (usize, usize) {
        (self.queue_capacity, self.queue_group)
    }

    /// [`Command::boot_wait_ms`] as a duration.
    #[must_use]
    pub const fn boot_wait(&self) -> Duration {
        Duration::from_millis(self.boot_wait_ms)
    }

    /// [`Command::stop_limit_ms`] as a duration.
    #[must_use]
    pub const fn stop_limit(&self) -> Duration {
        Duration::from_millis(self.stop_limit_ms)
    }
}

/// `[checkout]`: times (in milliseconds) and limits of carts and orders. The defaults are the
/// domain's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkout {
    /// A cart that nobody touched for so long is abandoned. Default 24 hours.
    pub cart_idle_ms: i64,
    /// An order that is not paid so long after checkout expires. Default 30 minutes.
    pub payment_deadline_ms: i64,
    /// From an authorisation on, an order has at least so long to be paid. Default 60 minutes.
    pub payment_extension_ms: i64,
    /// Most lines in a cart. Default 2,000.
    pub max_lines: usize,
    /// Most units in a line. Default 1,000,000.
    pub max_line_quantity: i64,
}

impl Default for Checkout {
    fn default() -> Self {
        let domain = CheckoutSettings::default();
        Self {
            cart_idle_ms: domain.cart_idle_ms,
            payment_deadline_ms: domain.payment_deadline_ms,
            payment_extension_ms: domain.payment_extension_ms,
            max_lines: domain.max_lines,
            max_line_quantity: domain.max_line_quantity,
        }
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
    /// [`InvalidSetting`]: no context or one twice, a time or limit of zero or below, a mailbox that
    /// holds as many as the process takes at a time, or waits that together outlast
    /// `http.request_timeout_ms`.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let contexts = &self.command.contexts;
        let distinct: BTreeSet<&Context> = contexts.iter().collect();
        if contexts.is_empty() || distinct.len() != contexts.len() {
            let rule = "must name at least one context, and each once".to_owned();
            return Err(InvalidSetting {
                key: "command.contexts",
                rule,
            });
        }
        let positive = [
            ("command.deadline_ms", i128::from(self.command.deadline_ms)),
            ("checkout.cart_idle_ms", self.checkout.cart_idle_ms.into()),
            (
                "checkout.payment_deadline_ms",
                self.checkout.payment_deadline_ms.into(),
            ),
            (
                "checkout.payment_extension_ms",
                self.checkout.payment_extension_ms.into(),
            ),
            ("checkout.max_lines", self.checkout.max_lines as i128),
            (
                "checkout.max_line_quantity",
                self.checkout.max_line_quantity.into(),
            ),
            (
                "shard.mailbox_capacity",
                self.shard.mailbox_capacity as i128,
            ),
            (
                "command.queue_capacity",
                self.command.queue_capacity as i128,
            ),
            ("command.queue_group", self.command.queue_group as i128),
        ];
        for (key, value) in positive {
            if value <= 0 {
                return Err(InvalidSetting {
                    key,
                    rule: "must be above zero".to_owned(),
                });
            }
        }
        if self.shard.mailbox_capacity >= self.http.max_in_flight {
            let most = self.http.max_in_flight;
            return Err(InvalidSetting {
                key: "shard.mailbox_capacity",
                rule: format!(
                    "must be below http.max_in_flight ({most}), or one shard's queue takes every place"
                ),
            });
        }
        if let Some(nodes) = &self.nodes {
            nodes.validate()?;
        }
        self.validate_waits()
    }

    fn validate_waits(&self) -> Result<(), InvalidSetting> {
        let Command {
            deadline_ms,
            reply_wait_ms,
            position_wait_ms,
            wait_max_ms,
            ..
        } = self.command;
        if reply_wait_ms < deadline_ms {
            let rule = format!("must not be below command.deadline_ms ({deadline_ms})");
            return Err(InvalidSetting {
                key: "command.reply_wait_ms",
                rule,
            });
        }
        let longest = position_wait_ms
            .saturating_add(reply_wait_ms)
            .saturating_add(wait_max_ms);
        if longest >= self.http.request_timeout_ms {
            let rule = format!(
                "must exceed {longest}, the sum of command.position_wait_ms, command.reply_wait_ms \
                 and command.wait_max_ms"
            );
            return Err(InvalidSetting {
                key: "http.request_timeout_ms",
                rule,
            });
        }
        Ok(())
    }

    /// How the log is reached.
    #[must_use]
    pub fn kafka_options(&self) -> KafkaOptions {
        let mut options = KafkaOptions::new(self.kafka.bootstrap.clone());
        options.client_id = "cartwright-command-api".to_owned();
        options.slow_commit = Duration::from_millis(self.command.slow_commit_ms);
        if let Some(nodes) = &self.nodes {
            options.session_timeout = Duration::from_millis(nodes.election_session_ms);
        }
        options.extra = self
            .kafka
            .properties
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect();
        let topics = SchemaTopic::ALL.into_iter().map(SchemaTopic::topic);
        let snapshots = Context::ALL.into_iter().map(Context::snapshots_topic);
        let topics = topics.chain(snapshots).chain([NODES_TOPIC, OWNERS_TOPIC]);
        options.written_topics = topics.map(str::to_owned).collect();
        options.may_write = writers::may_write;
        options
    }

    /// The checkout's settings, for an inventory of so many partitions.
    #[must_use]
    pub fn checkout_settings(&self, inventory_partitions: u32) -> CheckoutSettings {
        CheckoutSettings {
            allow_quoted_prices: self.command.allow_quoted_prices,
            allow_occurred_at: self.command.allow_occurred_at,
            cart_idle_ms: self.checkout.cart_idle_ms,
            payment_deadline_ms: self.checkout.payment_deadline_ms,
            payment_extension_ms: self.checkout.payment_extension_ms,
            max_lines: self.checkout.max_lines,
            max_line_quantity: self.checkout.max_line_quantity,
            inventory_partitions,
        }
    }
}
