//! `import retail`: a real shop's orders through the same HTTP API as everyone else's.
//!
//! The file is read once into a [`book`], the [`plan`] is decided from the book alone, and
//! the rest sends it.

pub mod book;
pub mod import;
pub mod naming;
pub mod plan;
pub mod price;
pub mod read;
pub mod rejects;
pub mod rule;
pub mod schedule;
pub mod session;
pub mod steps;
pub mod summary;
pub mod text;
