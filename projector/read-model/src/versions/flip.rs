//! The switch: which version becomes current, and what is held against it.

use std::collections::BTreeMap;
use std::time::Duration;

use cartwright_events::{Stream, Timestamp};

use super::document::{Outcome, State, Switch, Version, Versions};
use super::refused::Refused;
use super::rules::seconds_between;
use crate::position::{Position, PositionKey};

/// What a switch is held against.
#[derive(Debug, Clone, Copy)]
pub struct FlipCheck<'a> {
    /// Positions of the current version, now or a moment ago.
    pub current: &'a [(PositionKey, Position)],
    /// Positions of the version that is to become current.
    pub next: &'a [(PositionKey, Position)],
    /// Whether a verification has to be there: not for the way back.
    pub verified: bool,
    /// How old it may be.
    pub max_age: Duration,
    /// The present time.
    pub now: Timestamp,
}

impl Versions {
    /// Makes `number` current.
    ///
    /// # Errors
    /// A rule that does not hold. With `force`, only what can never be: a version that is not fed,
    /// or that is partial; and the rule that was broken is recorded.
    pub fn flip(&self, number: u32, check: &FlipCheck<'_>, force: bool) -> Result<Self, Refused> {
        let version = self.get(number).ok_or(Refused::Unknown(number))?;
        if number == self.current {
            return Err(Refused::IsCurrent(number));
        }
        if version.is_partial() {
            return Err(Refused::Partial(number));
        }
        let forced = match self.may_flip(version, check) {
            Ok(()) => None,
            Err(broken) if force => Some(broken.to_string()),
            Err(broken) => return Err(broken),
        };
        let current = self.current;
        let mut next = self.change(number, &[State::Live], |_| {})?;
        next.switch(Switch {
            from: Some(current),
            to: number,
            at: check.now,
            forced,
            back: !check.verified,
        });
        Ok(next)
    }

    fn may_flip(&self, version: &Version, check: &FlipCheck<'_>) -> Result<(), Refused> {
        let (number, current) = (version.number, self.current);
        if check.verified {
            let verification = version.verification.as_ref();
            let verification = verification.filter(|each| each.against == current);
            let verification = verification.ok_or(Refused::NotVerified { number, current })?;
            match verification.outcome {
                Outcome::Passed => {}
                Outcome::Failed => {
                    let differences = verification.differences;
                    return Err(Refused::VerificationFailed {
                        number,
                        differences,
                    });
                }
                Outcome::Unsettled => return Err(Refused::VerificationUnsettled { number }),
            }
            let age = seconds_between(verification.at, check.now);
            if age > check.max_age.as_secs() {
                return Err(Refused::VerificationStale {
                    number,
                    age_s: age,
                    limit_s: check.max_age.as_secs(),
                });
            }
        }
        behind(check).map_or(Ok(()), |(stream, partition, events)| {
            Err(Refused::Behind {
                number,
                current,
                topic: stream.topic(),
                partition,
                events,
            })
        })
    }
}

/// The first partition in which the next version has not read as far as the current one.
fn behind(check: &FlipCheck<'_>) -> Option<(Stream, u32, u64)> {
    let place = |key: &PositionKey| (key.stream, key.partition);
    let next: BTreeMap<_, _> = check
        .next
        .iter()
        .map(|(key, at)| (place(key), at))
        .collect();
    check.current.iter().find_map(|(key, current)| {
        let reached = next.get(&place(key));
        let reached = reached.filter(|next| next.generation == current.generation);
        let seq = reached.map_or(0, |next| next.seq);
        // Not offsets: those also count control records, which either may have passed or not.
        (seq < current.seq).then(|| (key.stream, key.partition, current.seq - seq))
    })
}
