//! What an operator does with versions.

use std::collections::BTreeMap;
use std::time::Duration;

use cartwright_read_model::tables::OLDER;
use cartwright_read_model::versions::{
    Build, FlipCheck, Outcome, Refused, State, Verification, Version, Versions,
};
use cartwright_read_model::{Position, PositionKey, is_meant_to_differ};
use cartwright_replay::reading;
use cartwright_replay::verify::{Findings, Limits, compare};

use super::Replay;
use super::side::Still;
use crate::bug::Bug;

/// How old a verification may be.
const MAX_AGE: Duration = Duration::from_secs(3_600);
/// How long cursors of a version are good for after it was last current.
const GRACE: Duration = Duration::from_secs(10);

impl Replay {
    /// What the operator does next.
    pub(super) fn operate(&mut self) -> Result<(), String> {
        if self.leaving.is_some() {
            self.remove_what_leaves();
            return Ok(());
        }
        let Some(other) = self.other() else {
            if self.builds > 0 && self.sim().below(3) == 0 {
                self.begin()?;
            }
            return Ok(());
        };
        match (other.state, self.sim().below(8)) {
            (State::Building, 0) => self.cancel(&other),
            (State::Building, 1 | 2) => self.pause(&other),
            (State::Live, 0..3) => match self.compare(&other) {
                Ok(findings) => self.verified(&other, &findings).map(drop),
                // The log could not be read: the operator asks again.
                Err(_) => Ok(()),
            },
            (State::Live, 3..6) => {
                let force = self.sim().below(4) == 0;
                match self.flip(&other, force) {
                    // Asked for at the wrong moment: the operator tries again.
                    Ok(()) | Err(Switch::Refused(_)) => Ok(()),
                    Err(Switch::Wrong(problem)) => Err(problem),
                }
            }
            (State::Live, 6) => self.retire(&other),
            (State::Retiring, _) => self.retired(&other),
            _ => Ok(()),
        }
    }

    fn change(&mut self, next: Result<Versions, Refused>) -> Result<(), String> {
        self.versions = next.map_err(|refused| refused.to_string())?;
        Ok(())
    }

    /// The newest declaration under the next number, or another one that there is.
    fn begin(&mut self) -> Result<(), String> {
        self.builds -= 1;
        let mut older = OLDER.into_iter();
        let older = older.find(|each| each.name == self.projection.name);
        let declared = match older {
            Some(older) if self.sim().below(2) == 0 => older,
            _ => self.projection,
        };
        let number = self.versions.next_number(self.projection);
        let now = self.sim().now();
        self.change(self.versions.add(declared, number, Build::default(), now))?;
        self.note("version begun");
        Ok(())
    }

    fn pause(&mut self, version: &Version) -> Result<(), String> {
        let paused = version.build.as_ref().is_some_and(|build| build.paused);
        self.change(self.versions.pause(version.number, !paused))?;
        self.note(if paused {
            "build resumed"
        } else {
            "build paused"
        });
        Ok(())
    }

    /// The version is forgotten at once; its traces go when nobody builds it any more.
    fn cancel(&mut self, version: &Version) -> Result<(), String> {
        self.change(self.versions.cancel(version.number))?;
        self.leaving = Some((self.declared(version), version.number));
        self.note("build cancelled");
        Ok(())
    }

    pub(super) fn remove_what_leaves(&mut self) {
        if self.builder.is_some() {
            return;
        }
        if let Some((declared, number)) = self.leaving.take() {
            self.store.remove(self.sim(), declared, number);
            self.gone.push((declared, number));
            self.note("traces of a cancelled version removed");
        }
    }

    fn retire(&mut self, version: &Version) -> Result<(), String> {
        let now = self.sim().now();
        // Refused while its cursors are good: the operator comes back.
        if let Ok(next) = self.versions.retire(version.number, GRACE, now) {
            self.versions = next;
            self.note("version retiring");
        }
        Ok(())
    }

    /// Its traces go when projectors have seen that it goes.
    fn retired(&mut self, version: &Version) -> Result<(), String> {
        if self.seen < self.versions.revision {
            return Ok(());
        }
        let declared = self.declared(version);
        self.store.remove(self.sim(), declared, version.number);
        self.gone.push((declared, version.number));
        self.change(self.versions.retired(version.number))?;
        self.note("version retired");
        Ok(())
    }

    /// Keeps what a comparison with the current version said.
    fn verified(&mut self, version: &Version, findings: &Findings) -> Result<Outcome, String> {
        let outcome = findings.outcome();
        let verification = Verification {
            against: self.versions.current,
            at: self.sim().now(),
            outcome,
            rows: findings.rows,
            differences: findings.count(),
        };
        self.change(self.versions.verified(version.number, verification))?;
        // What is parked in one of them only is a difference that passes.
        let parked = self
            .store
            .parked(self.projection, self.versions.current)
            .len()
            + self.store.parked(self.projection, version.number).len();
        if outcome == Outcome::Failed && parked == 0 {
            return Err(format!(
                "two versions that have read as far do not agree: {findings:?}"
            ));
        }
        self.note(match outcome {
            Outcome::Passed => "versions agree",
            Outcome::Failed => "versions differ for the time being",
            Outcome::Unsettled => "versions compared too early",
        });
        Ok(outcome)
    }

    /// The replay tool's comparison with the current version, as both stand.
    fn compare(&self, version: &Version) -> Result<Findings, String> {
        let current = self.versions.get(self.versions.current);
        let current = current.ok_or("the current version is not known")?;
        let side = |version: &Version| Still {
            log: &self.model,
            store: &self.store.memory,
            declared: self.declared(version),
            number: version.number,
            positions: self.positions(version.number),
        };
        let (mut left, mut right) = (side(current), side(version));
        let (old, new) = (left.declared, right.declared);
        let compared = |table: &str, column: &str| !is_meant_to_differ(new, old, table, column);
        let ends = || {
            let mut ends = reading::ends(&self.model, new)?;
            ends.retain(|_, end| *end > 0);
            Ok(ends)
        };
        let limits = Limits {
            buckets: 64,
            ..Limits::default()
        };
        let tables = new.tables;
        let findings = compare(&mut left, &mut right, tables, &compared, &ends, limits);
        findings.map_err(|error| error.to_string())
    }

    /// Makes the version current that is not, be it for the first time or again.
    fn flip(&mut self, version: &Version, force: bool) -> Result<(), Switch> {
        let (from, to) = (self.versions.current, version.number);
        let back = self.versions.previous() == Some(to);
        let (current, next) = (self.positions(from), self.positions(to));
        let check = FlipCheck {
            // With the bug planted nobody asks how far the current version is.
            current: match self.sim().has(Bug::FlipWhileBehind) {
                true => &[],
                false => &current,
            },
            next: &next,
            verified: !back,
            max_age: MAX_AGE,
            now: self.sim().now(),
        };
        let flipped = self.versions.flip(to, &check, force);
        self.versions = flipped.map_err(Switch::Refused)?;
        let last = self.versions.switches.last();
        let forced = last.is_some_and(|switch| switch.forced.is_some());
        if !forced && let Some(problem) = behind(&current, &next) {
            return Err(Switch::Wrong(format!(
                "{} was switched from {from} to {to}, which {problem}",
                self.projection.name
            )));
        }
        self.note(match (forced, back) {
            (true, _) => "version switched to by force",
            (false, true) => "version rolled back",
            (false, false) => "version switched to",
        });
        Ok(())
    }

    /// No more faults: what has been begun comes to its end.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn finish_building(&mut self) -> Result<(), String> {
        self.log.misreads = false;
        self.builder = None;
        self.remove_what_leaves();
        let Some(version) = self.other() else {
            return Ok(());
        };
        match version.state {
            State::Building if version.build.as_ref().is_some_and(|build| build.paused) => {
                self.pause(&version)?;
            }
            State::Retiring => return self.retired(&version),
            _ => {}
        }
        for _ in 0..MOST_BUILD_STEPS {
            if !self.build()? {
                return Ok(());
            }
        }
        Err(format!(
            "the build of {} does not end",
            self.projection.name
        ))
    }

    /// Everything has been read to its end: two versions that are live agree, and nothing stands in
    /// the way of a switch.
    ///
    /// # Errors
    /// When they do not.
    pub(crate) fn agree(&mut self) -> Result<(), String> {
        let Some(other) = self.other() else {
            return Ok(());
        };
        let findings = self.compare(&other)?;
        if self.verified(&other, &findings)? != Outcome::Passed {
            return Err(format!(
                "two live versions do not agree at rest: {findings:?}"
            ));
        }
        if self.sim().below(2) == 0 {
            let other = self.other().ok_or("the other version is gone")?;
            self.flip(&other, false).map_err(|problem| match problem {
                Switch::Refused(refused) => format!("a switch at rest is refused: {refused}"),
                Switch::Wrong(problem) => problem,
            })?;
        }
        Ok(())
    }
}

/// Steps after which a build that has not come to its end is stuck.
const MOST_BUILD_STEPS: u32 = 20_000;

/// Why a switch was not made, or should not have been.
enum Switch {
    Refused(Refused),
    Wrong(String),
}

/// Says where `next` has applied less than `current`.
fn behind(current: &[(PositionKey, Position)], next: &[(PositionKey, Position)]) -> Option<String> {
    let place = |key: &PositionKey| (key.stream, key.partition);
    let next: BTreeMap<_, u64> = next.iter().map(|(key, at)| (place(key), at.seq)).collect();
    current.iter().find_map(|(key, at)| {
        let reached = next.get(&place(key)).copied().unwrap_or_default();
        let topic = key.stream.topic();
        (reached < at.seq).then(|| format!("is at seq {reached} of {} in {topic}", at.seq))
    })
}
