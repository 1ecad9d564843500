//! What is kept of a projection's versions.

use std::collections::BTreeMap;

use cartwright_events::Timestamp;
use serde::{Deserialize, Serialize};

use crate::schema::Identity;

/// Every version of one projection, and which one is current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Counts changes, from 1.
    pub revision: u64,
    /// The number of the version that reads are answered from.
    pub current: u32,
    /// The largest number that was ever used.
    pub highest: u32,
    /// By number; those that were cancelled are not in it.
    pub versions: Vec<Version>,
    /// How the current version came to be it, oldest first; the last [`Versions::MOST_SWITCHES`].
    pub switches: Vec<Switch>,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number.
    pub number: u32,
    /// The version of the declaration that it is built by.
    pub declared: u32,
    /// What the declaration was when the version was begun.
    pub identity: Identity,
    /// Where it is in its life.
    pub state: State,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// How it is built; `None` for the first of all, which a projector builds while it is live.
    pub build: Option<Build>,
    /// How it compared with another, the last time.
    pub verification: Option<Verification>,
}

/// Where a version is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Being built from the log, by the replay tool.
    Building,
    /// Kept up to date by projectors; one of these is current.
    Live,
    /// Built up to a point and kept as it is.
    Frozen,
    /// Neither fed nor read any more; its tables are about to go.
    Retiring,
    /// Its tables are gone.
    Retired,
}

/// How a version is built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Whether the build is to hold still.
    #[serde(default)]
    pub paused: bool,
    /// Where it ends, for a version of a point in time.
    pub until: Option<Until>,
    /// Where the log ended when a version of a point in time was begun, by `topic-partition`: nothing behind
    /// that is read, however late the build goes on. Empty: it is not known.
    #[serde(default)]
    pub log_ends: BTreeMap<String, u64>,
    /// Only records with these keys, for a trial; empty: all.
    #[serde(default)]
    pub only_keys: Vec<String>,
    /// Records a second, at most.
    pub max_rate: Option<u32>,
    /// What it took, where one process has built it from its beginning to its end as fast as it could.
    #[serde(default)]
    pub took: Option<Took>,
}

/// What a build took, keys and indexes included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    /// Events read.
    pub events: u64,
    /// Milliseconds.
    pub time_ms: u64,
}

/// The point in time that a version shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Until {
    /// The name by which it is asked for.
    pub name: String,
    /// Records before this time of the log, where a time was given.
    pub time: Option<Timestamp>,
    /// The last seq that is read, by `topic-partition`, where a position was given; a partition that it does
    /// not name is read to where the log ended when the version was begun.
    pub ends: BTreeMap<String, u64>,
}

/// What a comparison of two versions said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The number of the version that it was compared with.
    pub against: u32,
    /// When the comparison ended.
    pub at: Timestamp,
    /// Its outcome.
    pub outcome: Outcome,
    /// Rows that were compared.
    pub rows: u64,
    /// Rows that differ, or did not settle.
    pub differences: u64,
}

/// The outcome of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The versions agree.
    Passed,
    /// They do not.
    Failed,
    /// Some rows kept changing, or a version did not move: nothing is proven.
    Unsettled,
}

/// A version became current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The version before; `None` for the first.
    pub from: Option<u32>,
    /// The version since.
    pub to: u32,
    /// When.
    pub at: Timestamp,
    /// The rule that was broken on purpose, in words.
    pub forced: Option<String>,
    /// Whether it was the way back.
    #[serde(default)]
    pub back: bool,
}

impl Versions {
    /// How many switches are remembered.
    pub const MOST_SWITCHES: usize = 50;

    /// Seconds that cursors of a version are good for after it was last current.
    pub const CURSORS_S: u64 = 600;

    /// The version with this number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Version> {
        self.versions.iter().find(|each| each.number == number)
    }

    /// The version of a point in time that is called `name`, once it is built.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|each| {
            let until = each.build.as_ref().and_then(|build| build.until.as_ref());
            each.state == State::Frozen && until.is_some_and(|until| until.name == name)
        })
    }

    /// Whether reads may be answered from this version: one that is live, or of a point in time.
    #[must_use]
    pub fn is_readable(&self, number: u32) -> bool {
        self.get(number)
            .is_some_and(|each| matches!(each.state, State::Live | State::Frozen))
    }

    /// The version that was current before the one that is.
    #[must_use]
    pub fn previous(&self) -> Option<u32> {
        let mut switches = self.switches.iter().rev();
        let last = switches.find(|each| each.to == self.current)?;
        last.from
    }

    /// The version from which the current one was gone back to, when that was the last switch.
    #[must_use]
    pub fn gone_back_from(&self) -> Option<u32> {
        let last = self.switches.last().filter(|last| last.back)?;
        last.from
    }

    /// The versions that are live and newer than the current one.
    #[must_use]
    pub fn newer(&self) -> Vec<u32> {
        let live = self
            .versions
            .iter()
            .filter(|each| each.state == State::Live);
        let numbers = live.map(|each| each.number);
        numbers.filter(|number| *number > self.current).collect()
    }

    /// When `number` was last switched away from; `None` when it never was current.
    #[must_use]
    pub fn left_at(&self, number: u32) -> Option<Timestamp> {
        let mut switches = self.switches.iter().rev();
        let left = switches.find(|each| each.from == Some(number));
        left.map(|each| each.at)
    }
}

impl Version {
    /// The name of the point in time that it shows.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let until = self.build.as_ref()?.until.as_ref()?;
        Some(&until.name)
    }

    /// Whether it holds less than the whole log on purpose.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        let build = self.build.as_ref();
        build.is_some_and(|build| build.until.is_some() || !build.only_keys.is_empty())
    }
}

impl State {
    /// The state's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            State::Building => "building",
            State::Live => "live",
            State::Frozen => "frozen",
            State::Retiring => "retiring",
            State::Retired => "retired",
        }
    }
}
