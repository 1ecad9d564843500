//! `demo`: a busy minute in a small shop, and the proof that nothing went wrong in it.
//!
//! Shoppers and managers speak HTTP. Afterwards the whole log is read as any consumer would read it,
//! folded anew by code that shares nothing with the services, and held against what they said.

pub mod catalog;
pub mod checks;
pub mod floor;
pub mod log;
pub mod reads;
pub mod run;
pub mod screen;
pub mod shopper;
pub mod stats;
pub mod stories;
pub mod summary;
