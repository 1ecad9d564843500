//! Money that is owed back.

use cartwright_events::Timestamp;
use serde::{Deserialize, Serialize};

use super::findings::Evidence;

/// What is owed back in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// How much, in minor units. Below zero when more went back than came in, as far as it was read:
    /// reports of the payment provider come in any order.
    pub minor: i64,
    /// Since when.
    pub since: Timestamp,
    /// The event that made it more, the last time.
    pub at: Evidence,
    /// Set when an operator knows of it.
    pub known: Option<Known>,
}

/// An operator knows of money that is owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// How much was owed then, in minor units.
    pub minor: i64,
    /// When the operator said so.
    pub at: Timestamp,
    /// What is done about it, in the operator's words.
    pub reason: String,
}

impl Owed {
    /// What is owed when an event has made it `minor`; `None` when nothing is.
    pub(super) fn made(
        before: Option<Self>,
        minor: i64,
        at: Timestamp,
        evidence: &Evidence,
    ) -> Option<Self> {
        if minor == 0 {
            return None;
        }
        let fresh = Self {
            minor,
            since: at,
            at: evidence.clone(),
            known: None,
        };
        Some(match before {
            Some(before) if before.minor > 0 && minor > 0 => Self {
                minor,
                at: match minor > before.minor {
                    true => fresh.at,
                    false => before.at,
                },
                ..before
            },
            _ => fresh,
        })
    }

    /// What an operator knows of it; nothing when it has become more since.
    #[must_use]
    pub fn known(&self) -> Option<&Known> {
        let known = self.known.as_ref();
        known.filter(|known| self.minor <= known.minor)
    }
}
