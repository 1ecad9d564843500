//! A rule, how often it was looked at, and what broke it.

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
    pub examples: Vec<String>,
    /// Examples whose place in the log has been added.
    placed: usize,
}

impl Audit {
    /// Looks once.
    pub fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.broken += 1;
            if self.examples.len() < MAX_EXAMPLES {
                self.examples.push(otherwise());
            }
        }
    }

    /// Adds to new examples where in the log they are from.
    pub(crate) fn place(&mut self, at: &str) {
        for example in &mut self.examples[self.placed..] {
            example.push_str(" (");
            example.push_str(at);
            example.push(')');
        }
        self.placed = self.examples.len();
    }

    /// Whether it was looked at and never broken.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.checked > 0 && self.broken == 0
    }
}
