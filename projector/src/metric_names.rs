//! The names of the projector's metrics. All but [`VERSIONS_KNOWN`] have the labels `projection`
//! and `version`.
//!
//! Gauges of a partition are told by the process that has it, and by one that had it until another
//! says in the store that it feeds it: a projection that has stopped does not look like one that has
//! nothing to do. What is not known has no series.

/// Counter: records applied, whatever became of them.
pub const RECORDS: &str = "cartwright_projector_records_total";

/// Counter: records that the projection has no use for; a part of [`RECORDS`].
pub const DROPPED: &str = "cartwright_projector_records_dropped_total";

/// Counter: records put aside; a part of [`RECORDS`].
pub const PARKED: &str = "cartwright_projector_records_parked_total";

/// Counter: row operations applied.
pub const ROWS: &str = "cartwright_projector_rows_total";

/// Histogram: seconds that the store took over the batches of a step.
pub const APPLY_SECONDS: &str = "cartwright_projector_apply_seconds";

/// Gauge: keys that are parked, by `topic` and `partition`.
pub const PARKED_KEYS: &str = "cartwright_projector_parked_keys";

/// Gauge: offsets not yet read, control records included, by `topic` and `partition`. Only of what
/// this process has.
pub const LAG_RECORDS: &str = "cartwright_projector_lag_records";

/// Gauge: records that are parked, those behind others included, by `topic` and `partition`.
pub const PARKED_RECORDS: &str = "cartwright_projector_parked_records";

/// Counter: records that were parked and have been applied or given up.
pub const UNPARKED: &str = "cartwright_projector_records_unparked_total";

/// Gauge: 1 while the position has not moved for long although the log has, or while nobody has fed
/// the partition for as long, by `topic` and `partition`.
pub const STUCK: &str = "cartwright_projector_stuck";

/// Gauge: age in seconds of the oldest record that is not applied, at most; 0 when there is none,
/// by `topic` and `partition`. While a store does not answer or nobody feeds the partition it goes on
/// growing; a position that the store has not told since the process has the partition is counted
/// from then.
pub const LAG_SECONDS: &str = "cartwright_projector_lag_seconds";

/// Gauge: 1 while the projection follows the log, 0 while it waits or has stopped.
pub const UP: &str = "cartwright_projector_up";

/// Gauge: 1 while it is known which versions are to be fed, 0 while the store that holds them does not
/// answer or has lost them, by `store`. At the start of a process nothing else is told of the
/// projections in that store before it answers.
pub const VERSIONS_KNOWN: &str = "cartwright_projector_versions_known";
