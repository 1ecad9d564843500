//! Which version of each projection reads are answered from.
//!
//! The versions are read from the stores all the time, and every read chooses one version of each of
//! its views once, before anything else. A service that has not seen them for longer than a bound
//! stops answering, since a version that it still takes for current may be about to go; who
//! retires a version waits that long for a reader that says nothing.

mod follow;

pub use follow::{follow, leave};

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use cartwright_events::Timestamp;
use cartwright_read_model::versions::Versions;
use cartwright_read_model::{Projection, declaration};

use crate::errors::Error;

/// One version of a projection, chosen for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// As its version is declared.
    pub projection: &'static Projection,
    /// The version's number.
    pub version: u32,
}

/// What is known of every projection's versions.
#[derive(Debug)]
pub struct Pointers {
    known: RwLock<HashMap<String, Known>>,
    max_age: Duration,
}

#[derive(Debug, Clone)]
struct Known {
    versions: Versions,
    seen: Instant,
}

/// Which version a read asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The current one.
    Current,
    /// The one that a cursor was given by.
    Number(u32),
    /// A point in time.
    Named(&'a str),
}

impl Pointers {
    /// Knows nothing yet; what it will know is good for `max_age`.
    #[must_use]
    pub fn new(max_age: Duration) -> Self {
        Self {
            known: RwLock::default(),
            max_age,
        }
    }

    /// The version of `projection` that a read is to be answered from.
    ///
    /// # Errors
    /// [`Error::VersionsUnknown`] when the versions were not seen for too long, the
    /// current one is being built after its store was lost, or this code does not know it; [`Error::CursorOutdated`] and [`Error::AsOfUnknown`] when what is asked
    /// for is not to be had.
    pub fn view(&self, projection: &'static Projection, wanted: Wanted<'_>) -> Result<View, Error> {
        let unknown = || Error::VersionsUnknown(projection.store);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(projection.name);
        let known = known.filter(|known| known.seen.elapsed() <= self.max_age);
        let versions = &known.ok_or_else(unknown)?.versions;
        let number = match wanted {
            Wanted::Current if versions.is_readable(versions.current) => versions.current,
            // Its store was lost, and it is being built again.
            Wanted::Current => return Err(unknown()),
            Wanted::Number(number) if versions.goes_on(number, Timestamp::now()) => number,
            Wanted::Number(_) => return Err(Error::CursorOutdated),
            Wanted::Named(name) => match versions.named(name) {
                Some(version) => version.number,
                None => return Err(Error::AsOfUnknown(projection.name)),
            },
        };
        let version = versions.get(number).ok_or_else(unknown)?;
        // Declared by newer code than this: its tables may be others.
        let declared = declaration(projection.name, version.declared).ok_or_else(unknown)?;
        Ok(View {
            projection: declared,
            version: number,
        })
    }

    /// Takes in what a store said at `seen`. Answers whether it was news: another revision.
    pub fn learn(&self, projection: &str, versions: Versions, seen: Instant) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.get(projection);
        let news = before.is_none_or(|before| before.versions.revision != versions.revision);
        known.insert(projection.to_owned(), Known { versions, seen });
        news
    }

    /// What is known of a projection, however old.
    #[must_use]
    pub fn known(&self, projection: &str) -> Option<Versions> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(projection).map(|known| known.versions.clone())
    }
}

impl View {
    /// `name@version`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}@{}", self.projection.name, self.version)
    }
}

/// The version that has the declaration's own number.
impl From<&'static Projection> for View {
    fn from(projection: &'static Projection) -> Self {
        Self {
            projection,
            version: projection.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::tables::projections::CATALOG;
    use cartwright_read_model::versions::{Build, FlipCheck, Until};

    use super::*;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn two() -> Versions {
        let one = Versions::begin(&CATALOG, 1, NOW);
        let two = one.add(&CATALOG, 2, Build::default(), NOW).unwrap();
        two.built(2).unwrap()
    }

    fn flipped() -> Versions {
        flipped_at(NOW)
    }

    fn flipped_at(now: Timestamp) -> Versions {
        let check = FlipCheck {
            current: &[],
            next: &[],
            verified: false,
            max_age: Duration::ZERO,
            now,
        };
        two().flip(2, &check, false).unwrap()
    }

    fn knowing(versions: Versions, max_age: Duration) -> Pointers {
        let pointers = Pointers::new(max_age);
        assert!(pointers.learn("catalog", versions.clone(), Instant::now()));
        assert!(!pointers.learn("catalog", versions, Instant::now()));
        pointers
    }

    fn number(pointers: &Pointers, wanted: Wanted<'_>) -> u32 {
        pointers.view(&CATALOG, wanted).unwrap().version
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_read_is_answered_from_the_version_that_is_current_when_it_begins() {
        let pointers = knowing(two(), LONG);
        assert_eq!(number(&pointers, Wanted::Current), 1);
        assert!(pointers.learn("catalog", flipped(), Instant::now()));
        assert_eq!(number(&pointers, Wanted::Current), 2);
    }

    #[test]
    fn a_cursor_goes_on_in_its_version_until_that_has_not_been_current_for_long_or_is_retired() {
        let since = |seconds: i64| Timestamp::now().plus_millis(-1_000 * seconds);
        let good_s = i64::try_from(Versions::CURSORS_S).unwrap();
        let pointers = knowing(two(), LONG);
        assert_eq!(number(&pointers, Wanted::Number(1)), 1);
        let outdated = |number| {
            let view = pointers.view(&CATALOG, Wanted::Number(number));
            matches!(view, Err(Error::CursorOutdated))
        };
        assert!(outdated(2), "it was never current");
        assert!(outdated(9), "it never was");
        let recent = flipped_at(since(good_s - 60));
        pointers.learn("catalog", recent.clone(), Instant::now());
        assert_eq!(number(&pointers, Wanted::Number(1)), 1);
        assert_eq!(number(&pointers, Wanted::Number(2)), 2);
        pointers.learn("catalog", flipped_at(since(good_s)), Instant::now());
        assert!(outdated(1), "another is current for too long");
        let grace = Duration::ZERO;
        let retiring = recent.retire(1, grace, Timestamp::now()).unwrap();
        pointers.learn("catalog", retiring, Instant::now());
        assert!(outdated(1), "it is retired");
    }

    #[test]
    fn versions_that_were_not_seen_for_too_long_are_not_answered_from() {
        let unknown = |pointers: &Pointers| {
            let view = pointers.view(&CATALOG, Wanted::Current);
            matches!(view, Err(Error::VersionsUnknown(_)))
        };
        assert!(unknown(&Pointers::new(LONG)), "never seen");
        let pointers = Pointers::new(Duration::from_secs(5));
        let old = Instant::now().checked_sub(Duration::from_secs(6)).unwrap();
        pointers.learn("catalog", two(), old);
        assert!(unknown(&pointers), "seen too long ago");
        pointers.learn("catalog", two(), Instant::now());
        assert!(!unknown(&pointers));
    }

    #[test]
    fn a_view_that_is_being_restored_is_not_answered_from_until_all_of_it_is_there() {
        let anew = Versions::begin_anew(&CATALOG, 3, NOW);
        let pointers = knowing(anew.clone(), LONG);
        let early = pointers.view(&CATALOG, Wanted::Current);
        assert!(matches!(early, Err(Error::VersionsUnknown(_))));
        pointers.learn("catalog", anew.built(3).unwrap(), Instant::now());
        assert_eq!(number(&pointers, Wanted::Current), 3);
    }

    #[test]
    fn a_point_in_time_is_found_by_its_name() {
        let until = Until {
            name: "year-end".to_owned(),
            time: None,
            ends: [].into(),
        };
        let build = Build {
            until: Some(until),
            ..Build::default()
        };
        let named = two()
            .add(&CATALOG, 3, build, NOW)
            .unwrap()
            .built(3)
            .unwrap();
        let pointers = knowing(named, LONG);
        assert_eq!(number(&pointers, Wanted::Named("year-end")), 3);
        assert_eq!(number(&pointers, Wanted::Number(3)), 3, "by a cursor");
        let unknown = pointers.view(&CATALOG, Wanted::Named("easter"));
        assert!(matches!(unknown, Err(Error::AsOfUnknown("catalog"))));
    }
}
