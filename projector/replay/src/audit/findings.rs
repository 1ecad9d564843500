//! What an audit finds.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Somebody should look at it.
    Warning,
    /// A promise is broken.
    Error,
}

/// A place in the log that shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
}

/// Something that an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The rule, a name for programs.
    pub rule: &'static str,
    /// The order, SKU, partition or projection that it is about.
    pub subject: String,
    /// What is wrong.
    pub detail: String,
    /// Where the log shows it.
    pub evidence: Option<Evidence>,
}

/// Rules about single events. What breaks one stays in the log, and so it stays open from audit to audit.
pub(super) mod rules {
    pub(crate) const WRITTEN_BY_A_SHARD: &str = "written_by_a_shard";
    pub(crate) const SEQS_ARE_DENSE: &str = "seqs_are_dense";
    pub(crate) const EVENTS_CAN_BE_READ: &str = "events_can_be_read";
    pub(crate) const RESERVED_IS_THE_SUM_OF_HOLDS: &str = "reserved_is_the_sum_of_holds";
    pub(crate) const ON_HAND_IS_NEVER_NEGATIVE: &str = "on_hand_is_never_negative";
    pub(crate) const HOLDS_ARE_NEVER_NEGATIVE: &str = "holds_are_never_negative";

    pub(crate) const ALL: [&str; 6] = [
        WRITTEN_BY_A_SHARD,
        SEQS_ARE_DENSE,
        EVENTS_CAN_BE_READ,
        RESERVED_IS_THE_SUM_OF_HOLDS,
        ON_HAND_IS_NEVER_NEGATIVE,
        HOLDS_ARE_NEVER_NEGATIVE,
    ];
}

/// A finding as a state file has it.
#[derive(Deserialize)]
struct Kept {
    severity: Severity,
    rule: String,
    subject: String,
    detail: String,
    evidence: Option<Evidence>,
}

impl<'de> Deserialize<'de> for Finding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kept = Kept::deserialize(deserializer)?;
        let rule = rules::ALL.into_iter().find(|rule| *rule == kept.rule);
        let unknown = || D::Error::custom(format!("there is no rule {:?}", kept.rule));
        Ok(Self {
            severity: kept.severity,
            rule: rule.ok_or_else(unknown)?,
            subject: kept.subject,
            detail: kept.detail,
            evidence: kept.evidence,
        })
    }
}
