//! How versions come, who feeds them, and how they go: pure functions from one revision to the next.

use std::time::Duration;

use cartwright_events::Timestamp;

use super::document::{Build, State, Switch, Took, Verification, Version, Versions};
use super::refused::Refused;
use crate::schema::Projection;

/// Numbers that a new version may leave out. What is left of one that was cancelled is looked for under every
/// number that is no version's.
const MOST_LEFT_OUT: u32 = 100;

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
                back: false,
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

    /// The revision after one whose current version is none of the versions: `number`, which was never
    /// used, is current, and read and fed only when it has been built from the log.
    ///
    /// # Errors
    /// When the current version is there, or the number has been used.
    pub fn begin_again(
        &self,
        declared: &Projection,
        number: u32,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        if let Some(current) = self.get(self.current) {
            return Err(Refused::WrongState {
                number: self.current,
                state: current.state.word(),
                needed: "gone",
            });
        }
        let mut next = self.add(declared, number, Build::default(), now)?;
        next.switch(Switch {
            from: None,
            to: number,
            at: now,
            forced: None,
            back: false,
        });
        Ok(next)
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
        if number - self.highest > MOST_LEFT_OUT + 1 {
            return Err(Refused::Ahead {
                number,
                next: self.highest + 1,
                most: MOST_LEFT_OUT,
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

    /// Makes a build read at most so many records a second; `None`: as fast as it can.
    ///
    /// # Errors
    /// When it is not being built.
    pub fn pace(&self, number: u32, max_rate: Option<u32>) -> Result<Self, Refused> {
        self.change(number, &[State::Building], |version| {
            version.build.get_or_insert_default().max_rate = max_rate;
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
            // There is nothing left that could hold still.
            if let Some(build) = &mut version.build {
                build.paused = false;
            }
        })
    }

    /// The same, with what the build took.
    ///
    /// # Errors
    /// As [`Versions::built`].
    pub fn built_in(&self, number: u32, took: Option<Took>) -> Result<Self, Refused> {
        let mut next = self.built(number)?;
        let mut versions = next.versions.iter_mut();
        let version = versions.find(|each| each.number == number);
        if let Some(build) = version.and_then(|version| version.build.as_mut()) {
            build.took = took;
        }
        Ok(next)
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

    /// Whether a list that this version has begun goes on in it: it is current, or was so until less than
    /// [`CURSORS_S`](Self::CURSORS_S) ago, or it is of a point in time and stays as it is. Who retires
    /// it waits as long.
    #[must_use]
    pub fn goes_on(&self, number: u32, now: Timestamp) -> bool {
        match self.get(number).map(|version| version.state) {
            Some(State::Frozen) => true,
            Some(State::Live) if number == self.current => true,
            Some(State::Live) => {
                let left = self.left_at(number);
                left.is_some_and(|left| seconds_between(left, now) < Self::CURSORS_S)
            }
            _ => false,
        }
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
    /// When it is live or was, or is current: one that is built after its store was lost, without which
    /// nothing could ever be read again.
    pub fn cancel(&self, number: u32) -> Result<Self, Refused> {
        if number == self.current {
            return Err(Refused::IsCurrent(number));
        }
        let mut next = self.change(number, &[State::Building, State::Frozen], |_| {})?;
        next.versions.retain(|each| each.number != number);
        Ok(next)
    }

    pub(super) fn switch(&mut self, switch: Switch) {
        self.current = switch.to;
        self.switches.push(switch);
        let excess = self.switches.len().saturating_sub(Self::MOST_SWITCHES);
        self.switches.drain(..excess);
    }

    fn successor(&self) -> Self {
        let mut next = self.clone();
        next.revision += 1;
        next
    }

    pub(super) fn change(
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

pub(super) fn seconds_between(earlier: Timestamp, later: Timestamp) -> u64 {
    let micros = later.as_micros().saturating_sub(earlier.as_micros());
    u64::try_from(micros).unwrap_or(0) / 1_000_000
}
