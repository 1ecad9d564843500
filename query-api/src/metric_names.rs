//! The names of this service's own metrics.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Histogram: seconds that a read with a position waited for it, by `projection` and `outcome`
/// (`held`, `not_reached`, `parked`).
pub const POSITION_WAIT_SECONDS: &str = "cartwright_query_position_wait_seconds";

/// Gauge: reads that wait for a position.
pub const POSITION_WAITERS: &str = "cartwright_query_position_waiters";

/// Gauge: seconds by which a projection was behind the clock when it was last looked at, by
/// `projection`. Grows also while nothing happens.
pub const STALENESS_SECONDS: &str = "cartwright_query_staleness_seconds";

/// Histogram: seconds of one read at a store, its turn included, by `store`.
pub const STORE_SECONDS: &str = "cartwright_query_store_seconds";

/// Counter: reads that a store did not answer, by `store` and `kind` (`not_connected`, `busy`,
/// `timed_out`, `failed`, `broken`).
pub const STORE_FAILURES: &str = "cartwright_query_store_failures_total";

/// Says what they are, for `/metrics`.
pub fn describe() {
    describe_histogram!(
        POSITION_WAIT_SECONDS,
        "Time that a read waited for the position it gave"
    );
    describe_gauge!(POSITION_WAITERS, "Reads that wait for a position");
    describe_gauge!(
        STALENESS_SECONDS,
        "Seconds by which a projection was behind the clock when last looked at"
    );
    describe_histogram!(
        STORE_SECONDS,
        "Time of one read at a store, its turn included"
    );
    describe_counter!(STORE_FAILURES, "Reads that a store did not answer");
}
