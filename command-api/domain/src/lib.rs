//! The shop's rules, pure: aggregates, what they decide and how they evolve.

pub mod context;
pub mod rejection;

pub use context::{
    Accepted, BoundedContext, Decision, EvolveError, Outgoing, PricedProduct, Prices,
};
pub use rejection::{Rejection, RejectionKind};
