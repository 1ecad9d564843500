//! The replay tool: versions of projections, and everything an operator does with them.
//!
//! A command is a module of [`commands`]. Each gets a [`Context`] (settings, stores, log, codec) and
//! an [`Output`](output::Output), and answers with an [`Exit`] that scripts can rely on. The
//! pipeline that builds a version is the live one, [`cartwright_projector::Worker`], with another
//! start and other tables.
//!
//! Commands are synchronous: sinks and the log block. What is asynchronous (the stores' drivers)
//! goes through [`Context::wait`].

pub mod audit;
pub mod build;
pub mod cli;
pub mod commands;
pub mod context;
pub mod dry_run;
pub mod emptied;
pub mod estimate;
pub mod exit;
pub mod explain;
pub mod given_up;
pub mod output;
pub mod parking;
mod part;
pub mod reached;
pub mod reading;
pub mod registry;
pub mod verify;

pub use cli::{Arguments, run};
pub use context::Context;
pub use exit::Exit;
