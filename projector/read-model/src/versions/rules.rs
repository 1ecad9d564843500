//! How versions come, become current and go: pure functions from one revision to the next.

use std::collections::BTreeMap;
use std::time::Duration;

use cartwright_events::{Stream, Timestamp};
use thiserror::Error;

use super::document::{Build, Outcome, State, Switch, Verification, Version, Versions};
use crate::position::{Position, PositionKey};
use crate::schema::Projection;

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// The code declares something else than what the version was built by.
    #[error(
        "{label} was begun with fold version {built} and this code declares fold version {declared} \
         {tables}under the same number: declare a new version beside it, or build it anew with \
         `replay start`"
    )]
    IdentityChanged {
        /// `name@number`.
        label: String,
        /// The fold version that it was begun with.
        built: u32,
        /// The fold version in the code.
        declared: u32,
        /// Says so when the tables differ.
        tables: &'static str,
    },
    /// The code no longer has what a version that is in use is built by.
    #[error(
        "{label} is still {state} and this code no longer declares version {declared}, which it is \
         built by: retire it before its fold is removed"
    )]
    NotDeclared {
        /// `name@number`.
        label: String,
        /// Its state.
        state: &'static str,
        /// What the code lacks.
        declared: u32,
    },
    /// There is no such version.
    #[error("there is no version {0}")]
    Unknown(u32),
    /// A number that has been used, by a version that is no more.
    #[error("version {number} has been used; the next number is {next}")]
    Used {
        /// What was asked for.
        number: u32,
        /// The smallest that is free.
        next: u32,
    },
    /// The name is taken by another version.
    #[error("there is a version called {0:?} already")]
    NameTaken(String),
    /// The version's state does not allow it.
    #[error("version {number} is {state}, not {needed}")]
    WrongState {
        /// Which.
        number: u32,
        /// What it is.
        state: &'static str,
        /// What it would have to be.
        needed: &'static str,
    },
    /// It is the current version.
    #[error("version {0} is current")]
    IsCurrent(u32),
    /// It holds only a part of the log.
    #[error("version {0} holds only a part of the log")]
    Partial(u32),
    /// It has not been compared with the current version.
    #[error("version {number} has not been verified against version {current}")]
    NotVerified {
        /// Which.
        number: u32,
        /// The current version.
        current: u32,
    },
    /// The comparison found something.
    #[error("version {number} was verified and {differences} rows or parked records differ")]
    VerificationFailed {
        /// Which.
        number: u32,
        /// How many.
        differences: u64,
    },
    /// The comparison is too long ago.
    #[error("version {number} was verified {age_s} s ago, and {limit_s} s is the limit")]
    VerificationStale {
        /// Which.
        number: u32,
        /// How long ago.
        age_s: u64,
        /// The limit.
        limit_s: u64,
    },
    /// It has not read as far as the current version.
    #[error("version {number} is {events} events behind version {current} in {topic}-{partition}")]
    Behind {
        /// Which.
        number: u32,
        /// The current version.
        current: u32,
        /// The topic.
        topic: &'static str,
        /// The partition.
        partition: u32,
        /// How many.
        events: u64,
    },
    /// Nothing was current before.
    #[error("no version was current before version {0}")]
    NoPrevious(u32),
    /// It was current too recently.
    #[error(
        "version {number} was current until {left_s} s ago; its cursors are good for {grace_s} s"
    )]
    CursorsAlive {
        /// Which.
        number: u32,
        /// How long ago.
        left_s: u64,
        /// How long cursors are good for.
        grace_s: u64,
    },
}

/// What a projector does about one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Feeds it, as this declaration says.
    Feed(&'static Projection),
    /// Leaves it to processes with newer code.
    Newer,
    /// Nothing: it is not to be fed by projectors.
    Rest,
}

/// What a switch is held against.
#[derive(Debug, Clone, Copy)]
pub struct FlipCheck<'a> {
    /// Positions of the current version.
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
    /// The first revision: `number` is live and current, built by `declared`.
    #[must_use]
    pub fn begin(declared: &Projection, number: u32, now: Timestamp) -> Self {
        Self {
            revision: 1,
            current: number,
            highest: number,
            versions: vec![Version {
                number,
                declared: declared.version,
                identity: declared.identity(),
                state: State::Live,
                begun_at: now,
                build: None,
                verification: None,
            }],
            switches: vec![Switch {
                from: None,
                to: number,
                at: now,
                forced: None,
            }],
        }
    }

    /// The number of the first version: the declaration's own, or one after every number in `used`,
    /// under which something is stored or runs although no version is known: the store was lost, and
    /// workers of before have written positions from memory.
    #[must_use]
    pub fn first_number(declared: &Projection, used: impl IntoIterator<Item = u32>) -> u32 {
        let highest = used.into_iter().max();
        let after = highest.map_or(0, |highest| highest.saturating_add(1));
        declared.version.max(after)
    }

    /// The first revision after a store was lost: `number` is current, and read and fed only when it
    /// has been built from the log.
    #[must_use]
    pub fn begin_anew(declared: &Projection, number: u32, now: Timestamp) -> Self {
        let mut first = Self::begin(declared, number, now);
        for version in &mut first.versions {
            version.state = State::Building;
            version.build = Some(Build::default());
        }
        first
    }

    /// What a projector with the declarations `declared` of the projection `name` does about each
    /// version.
    ///
    /// # Errors
    /// [`Refused::IdentityChanged`] and [`Refused::NotDeclared`]: the projector must not run.
    pub fn runs(
        &self,
        name: &str,
        declared: &[&'static Projection],
    ) -> Result<Vec<(u32, Run)>, Refused> {
        let newest = declared.iter().map(|each| each.version).max().unwrap_or(0);
        let runs = self.versions.iter().map(|version| {
            if matches!(version.state, State::Retiring | State::Retired) {
                return Ok((version.number, Run::Rest));
            }
            let label = || format!("{name}@{}", version.number);
            let found = declared
                .iter()
                .find(|each| each.version == version.declared);
            let Some(found) = found else {
                return match version.declared > newest {
                    true => Ok((version.number, Run::Newer)),
                    false => Err(Refused::NotDeclared {
                        label: label(),
                        state: version.state.word(),
                        declared: version.declared,
                    }),
                };
            };
            let identity = found.identity();
            if identity != version.identity {
                return Err(Refused::IdentityChanged {
                    label: label(),
                    built: version.identity.fold_version,
                    declared: identity.fold_version,
                    tables: match identity.tables == version.identity.tables {
                        true => "",
                        false => "and other tables ",
                    },
                });
            }
            Ok((
                version.number,
                match version.state {
                    State::Live => Run::Feed(found),
                    _ => Run::Rest,
                },
            ))
        });
        runs.collect()
    }

    /// The number that a new version gets when none is asked for.
    #[must_use]
    pub fn next_number(&self, declared: &Projection) -> u32 {
        declared.version.max(self.highest + 1)
    }

    /// Adds a version that is to be built.
    ///
    /// # Errors
    /// A number or a name that has been used.
    pub fn add(
        &self,
        declared: &Projection,
        number: u32,
        build: Build,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        if number <= self.highest {
            return Err(Refused::Used {
                number,
                next: self.highest + 1,
            });
        }
        if let Some(until) = &build.until
            && self
                .versions
                .iter()
                .any(|each| each.name() == Some(&until.name) && each.state != State::Retired)
        {
            return Err(Refused::NameTaken(until.name.clone()));
        }
        let mut next = self.successor();
        next.highest = number;
        next.versions.push(Version {
            number,
            declared: declared.version,
            identity: declared.identity(),
            state: State::Building,
            begun_at: now,
            build: Some(build),
            verification: None,
        });
        Ok(next)
    }

    /// Makes a build hold still, or go on.
    ///
    /// # Errors
    /// When it is not being built.
    pub fn pause(&self, number: u32, paused: bool) -> Result<Self, Refused> {
        self.change(number, &[State::Building], |version| {
            version.build.get_or_insert_default().paused = paused;
        })
    }

    /// The build has read to its end: projectors take over, or a part of the log stays as it is.
    ///
    /// # Errors
    /// When it is not being built.
    pub fn built(&self, number: u32) -> Result<Self, Refused> {
        self.change(number, &[State::Building], |version| {
            version.state = match version.is_partial() {
                true => State::Frozen,
                false => State::Live,
            };
        })
    }

    /// Records a comparison.
    ///
    /// # Errors
    /// When there is no such version.
    pub fn verified(&self, number: u32, verification: Verification) -> Result<Self, Refused> {
        self.change(number, &[State::Live, State::Frozen], |version| {
            version.verification = Some(verification);
        })
    }

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
        next.current = number;
        next.switches.push(Switch {
            from: Some(current),
            to: number,
            at: check.now,
            forced,
        });
        let excess = next.switches.len().saturating_sub(Self::MOST_SWITCHES);
        next.switches.drain(..excess);
        Ok(next)
    }

    fn may_flip(&self, version: &Version, check: &FlipCheck<'_>) -> Result<(), Refused> {
        let (number, current) = (version.number, self.current);
        if check.verified {
            let verification = version.verification.as_ref();
            let verification = verification.filter(|each| each.against == current);
            let verification = verification.ok_or(Refused::NotVerified { number, current })?;
            if verification.outcome != Outcome::Passed {
                let differences = verification.differences;
                return Err(Refused::VerificationFailed {
                    number,
                    differences,
                });
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

    /// Takes a version out of use; it is neither fed nor read afterwards.
    ///
    /// # Errors
    /// When it is current, still being built, or its cursors are still good.
    pub fn retire(&self, number: u32, grace: Duration, now: Timestamp) -> Result<Self, Refused> {
        if number == self.current {
            return Err(Refused::IsCurrent(number));
        }
        if let Some(left) = self.left_at(number) {
            let left_s = seconds_between(left, now);
            if left_s < grace.as_secs() {
                return Err(Refused::CursorsAlive {
                    number,
                    left_s,
                    grace_s: grace.as_secs(),
                });
            }
        }
        let from = [State::Live, State::Frozen, State::Retiring];
        self.change(number, &from, |version| version.state = State::Retiring)
    }

    /// The tables of a version that was retired are gone.
    ///
    /// # Errors
    /// When it was not retired before.
    pub fn retired(&self, number: u32) -> Result<Self, Refused> {
        self.change(number, &[State::Retiring, State::Retired], |version| {
            version.state = State::Retired;
        })
    }

    /// Forgets a version that never was live. Its number is not used again.
    ///
    /// # Errors
    /// When it is live or was.
    pub fn cancel(&self, number: u32) -> Result<Self, Refused> {
        let mut next = self.change(number, &[State::Building, State::Frozen], |_| {})?;
        next.versions.retain(|each| each.number != number);
        Ok(next)
    }

    fn successor(&self) -> Self {
        let mut next = self.clone();
        next.revision += 1;
        next
    }

    fn change(
        &self,
        number: u32,
        from: &[State],
        change: impl FnOnce(&mut Version),
    ) -> Result<Self, Refused> {
        let mut next = self.successor();
        let version = next.versions.iter_mut().find(|each| each.number == number);
        let version = version.ok_or(Refused::Unknown(number))?;
        if !from.contains(&version.state) {
            return Err(Refused::WrongState {
                number,
                state: version.state.word(),
                needed: from.first().map_or("", |state| state.word()),
            });
        }
        change(version);
        Ok(next)
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

fn seconds_between(earlier: Timestamp, later: Timestamp) -> u64 {
    let micros = later.as_micros().saturating_sub(earlier.as_micros());
    u64::try_from(micros).unwrap_or(0) / 1_000_000
}
