//! The versions of a projection, and the rules by which they come, become current and go.
//!
//! [`Versions`] is a document, one a projection, kept in the projection's own store
//! ([`control`](crate::control)). Every change makes the next revision of it; a change that is based
//! on an older revision than the stored one is not taken.
//!
//! A version is known by its *number*, which names its tables, positions and consumer group and is
//! never used twice. It is built as a *declaration* of the code says
//! ([`declaration`](crate::declaration)); mostly they have the same number, but a declaration can be
//! built again under another one.

mod document;
mod flip;
mod refused;
mod rules;

pub use document::{Build, Outcome, State, Switch, Took, Until, Verification, Version, Versions};
pub use flip::FlipCheck;
pub use refused::Refused;
pub use rules::Run;

#[cfg(test)]
mod tests;
