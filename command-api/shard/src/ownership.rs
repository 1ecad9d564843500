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
    /// Another process took the partition over. This one never writes again.
    Fenced,
    /// The log holds something that this process must not write after: it says what.
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
            Ownership::Fenced
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
            Ownership::Fenced => {
                f.write_str("fenced: another process has taken the partition over")
            }
            Ownership::Refused { reason } | Ownership::Outdated { reason } => {
                write!(f, "refuses to serve: {reason}")
            }
            Ownership::Stopped => f.write_str("stopped"),
        }
    }
}
