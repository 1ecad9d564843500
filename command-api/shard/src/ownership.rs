//! Who holds the shard's partition, as far as this process knows.

use std::fmt;

/// The state of a shard's claim on its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// Reading the log back; nothing is decided.
    Recovering {
        /// Why: the first start, or what raised a doubt.
        because: String,
    },
    /// Connected, and the log read up to near its end, while another process still serves.
    Standby,
    /// The only writer, with this epoch in every record.
    Serving {
        /// The writer's epoch.
        epoch: u64,
    },
    /// Kafka takes nothing of it any more: another process took the partition over, or a transaction was
    /// open for longer than it may be, as while the broker was away or this process stood still.
    Fenced {
        /// The last epoch that was its own or of one that it had fenced itself; 0 when it knew of none.
        epoch: u64,
    },
    /// Another process has served the partition since this one did.
    Replaced,
    /// The log holds something that this process must not write after, or something else keeps it from
    /// writing, as a clock that has jumped: it says what.
    Refused {
        /// What was found.
        reason: String,
    },
    /// The log holds something that a newer version of this code wrote: this process can't serve the
    /// partition, one that is upgraded can.
    Outdated {
        /// What was found.
        reason: String,
    },
    /// Stopped on request, everything decided being committed.
    Stopped,
}

impl Ownership {
    /// Whether no answer will come from this shard any more.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Ownership::Fenced { .. }
                | Ownership::Replaced
                | Ownership::Refused { .. }
                | Ownership::Outdated { .. }
                | Ownership::Stopped
        )
    }
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ownership::Recovering { because } => write!(f, "recovering: {because}"),
            Ownership::Standby => f.write_str("standing by to take over"),
            Ownership::Serving { epoch } => write!(f, "serving in epoch {epoch}"),
            Ownership::Fenced { .. } => f.write_str(
                "fenced: another process has taken the partition over, or a transaction took too long",
            ),
            Ownership::Replaced => f.write_str("another process has taken the partition over"),
            Ownership::Refused { reason } | Ownership::Outdated { reason } => {
                write!(f, "refuses to serve: {reason}")
            }
            Ownership::Stopped => f.write_str("stopped"),
        }
    }
}
