//! A rule, how often it was looked at, and what broke it.

use std::fmt;

/// Most examples that are kept.
const MAX_EXAMPLES: usize = 5;

/// The state of one rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// How often it was looked at.
    pub checked: u64,
    /// How often it was broken.
    pub broken: u64,
    /// The first few breaches.
    pub examples: Vec<Example>,
    /// Examples whose place in the log has been added.
    placed: usize,
}

/// What broke a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// In words.
    pub detail: String,
    /// The record that shows it, where one does.
    pub at: Option<Place>,
}

/// A record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its topic.
    pub topic: &'static str,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
}

impl Audit {
    /// Looks once.
    pub fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.broken += 1;
            if self.examples.len() < MAX_EXAMPLES {
                self.examples.push(otherwise().into());
            }
        }
    }

    /// Adds to new examples where in the log they are from.
    pub(crate) fn place(&mut self, at: Place) {
        for example in &mut self.examples[self.placed..] {
            example.at = Some(at);
        }
        self.placed = self.examples.len();
    }

    /// Whether it was looked at and never broken.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.checked > 0 && self.broken == 0
    }
}

/// One that no single record shows.
impl From<String> for Example {
    fn from(detail: String) -> Self {
        Self { detail, at: None }
    }
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some(at) => write!(f, "{} ({at})", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            topic,
            partition,
            offset,
        } = self;
        write!(f, "{topic}[{partition}] offset {offset}")
    }
}
