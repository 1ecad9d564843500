//! The projector: follows the log and keeps the read model.
//!
//! Each projection has a [`Worker`]: it takes part in a consumer group of its own, decodes records,
//! folds them, and gives the rows to a sink in batches, together with the position that they stand
//! for. Everything that a worker touches is a parameter (the log, the codec, the sink), so the same
//! pipeline runs live, in tests and simulations over memory, and when a projection is rebuilt.
//!
//! * [`Worker`]: the pipeline, one step at a time, without a thread or a clock of its own.
//! * [`Runner`]: a thread that steps a worker, starts it again when it fails, and reports.
//! * [`FixedPartitions`]: a worker's source when no group shares the partitions out.
//! * [`connect`]: the log and the stores, from the settings.
//! * [`service`]: the program's parts.
//!
//! How a record ends is one of four outcomes: its rows are emitted; it is dropped, because its
//! projection has no use for it; it is rejected, and then parked with what follows for its key; or
//! the step fails, and is tried again or stops the projection.

pub mod board;
pub mod connect;
mod fixed;
mod folding;
mod gauges;
mod halt;
pub mod metric_names;
mod motion;
pub mod overview;
mod panics;
mod parked;
mod partition;
mod plan;
mod progress;
mod requests;
mod runner;
mod scan;
pub mod service;
pub mod settings;
mod supervisor;
mod telling;
mod unpark;
mod watchdog;
mod work;
mod worker;

pub use fixed::FixedPartitions;
pub use folding::{decode, envelope, fold};
pub use gauges::gauges;
pub use panics::caught;
pub use plan::{Limits, Plan, UnknownProjection};
pub use progress::{Applied, PartitionReport, Step};
pub use runner::Runner;
pub use worker::Worker;
