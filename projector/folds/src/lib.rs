//! Folds: what an event does to the read model.
//!
//! A fold is a plain function that sees one event and its envelope and answers with row operations.
//! It has no state, asks nobody and knows no clock, so the same log always gives the same rows.
//! [`FOLDS`] lists them, one per projection.

mod carts;
mod catalog;
mod causal;
mod json;
mod orders;
mod outcome;
mod products;
mod sales;
mod stock;
mod timeline;

pub use outcome::Outcome;

use cartwright_events::{Envelope, Event};
use cartwright_read_model::Projection;

/// What an event does to one projection.
pub type Fold = fn(&Envelope, &Event) -> Outcome;

/// The fold of each version of each projection, by name and version. An older version's fold stays
/// here until the version is retired everywhere.
pub static FOLDS: [(&str, u32, Fold); 10] = [
    ("products", 1, products::fold),
    ("stock", 1, stock::fold),
    ("carts", 1, carts::fold),
    ("orders", 2, orders::fold),
    ("orders", 1, orders::fold_1),
    ("catalog", 1, catalog::fold),
    ("sales", 2, sales::fold),
    ("sales", 1, sales::fold_1),
    ("timeline", 1, timeline::fold),
    ("causal", 1, causal::fold),
];

/// The fold of `projection`, in its version; `None` for one that is not of [`FOLDS`].
#[must_use]
pub fn fold_of(projection: &Projection) -> Option<Fold> {
    FOLDS
        .iter()
        .find(|(name, version, _)| (*name, *version) == (projection.name, projection.version))
        .map(|(_, _, fold)| *fold)
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::PROJECTIONS;
    use cartwright_read_model::tables::OLDER;

    use super::*;

    #[test]
    fn every_declared_version_has_a_fold_and_every_fold_is_of_a_declared_version() {
        let declared = || PROJECTIONS.into_iter().chain(OLDER);
        assert!(declared().all(|each| fold_of(each).is_some()));
        assert_eq!(declared().count(), FOLDS.len());
    }
}
