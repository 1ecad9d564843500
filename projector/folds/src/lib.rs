//! Folds: what an event does to the read model.
//!
//! A fold is a plain function that sees one event and its envelope and answers with row operations.
//! It has no state, asks nobody and knows no clock, so the same log always gives the same rows.
//! [`FOLDS`] lists them, one per projection.

mod carts;
mod catalog;
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

/// The fold of each projection, by its name.
pub static FOLDS: [(&str, Fold); 7] = [
    ("products", products::fold),
    ("stock", stock::fold),
    ("carts", carts::fold),
    ("orders", orders::fold),
    ("catalog", catalog::fold),
    ("sales", sales::fold),
    ("timeline", timeline::fold),
];

/// The fold of `projection`; `None` for a projection that is not of [`FOLDS`].
#[must_use]
pub fn fold_of(projection: &Projection) -> Option<Fold> {
    FOLDS
        .iter()
        .find(|(name, _)| *name == projection.name)
        .map(|(_, fold)| *fold)
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::PROJECTIONS;

    use super::*;

    #[test]
    fn every_projection_has_a_fold_and_every_fold_a_projection() {
        let folds: Vec<_> = FOLDS.iter().map(|(name, _)| *name).collect();
        let projections = PROJECTIONS.map(|each| each.name);
        assert_eq!(folds, projections);
        assert!(PROJECTIONS.iter().all(|each| fold_of(each).is_some()));
    }
}
