//! What a store holds about the projections themselves.

use crate::schema::{Column, Order, Table};

/// The version of the control tables' own layout.
pub const CONTROL_VERSION: u32 = 1;

/// The partition key of what is told of a version of a projection.
pub(super) const OF_A_VERSION: [Column; 2] = [
    Column::text("projection"),
    Column::int("projection_version"),
];

/// How far each projection is, in each partition.
pub static POSITIONS: Table = Table {
    name: "positions",
    partition: &OF_A_VERSION,
    clustering: &[
        (Column::text("topic"), Order::Ascending),
        (Column::int("log_partition"), Order::Ascending),
    ],
    cells: &[
        Column::int("generation"),
        Column::int("next_offset"),
        Column::int("seq"),
        Column::time("recorded_at"),
        Column::time("updated_at"),
    ],
    indexes: &[],
};

/// Pointers to records that were put aside and wait.
pub static PARKED: Table = Table {
    name: "parked_records",
    partition: &OF_A_VERSION,
    clustering: &[
        (Column::text("topic"), Order::Ascending),
        (Column::int("log_partition"), Order::Ascending),
        (Column::text("record_key"), Order::Ascending),
        (Column::int("record_offset"), Order::Ascending),
    ],
    cells: &[
        Column::int("generation"),
        Column::int("seq"),
        Column::text("reason"),
        Column::text("tried_by"),
        Column::time("parked_at"),
    ],
    indexes: &[],
};

/// Records that were given up, and why: kept for the record.
pub static SKIPPED: Table = Table {
    name: "skipped_records",
    partition: &OF_A_VERSION,
    clustering: &[
        (Column::text("topic"), Order::Ascending),
        (Column::int("log_partition"), Order::Ascending),
        (Column::text("record_key"), Order::Ascending),
        (Column::int("record_offset"), Order::Ascending),
    ],
    cells: &[
        Column::int("generation"),
        Column::int("seq"),
        Column::text("reason"),
        Column::text("note"),
        Column::text("request_id"),
        Column::text("skipped_by"),
        Column::time("skipped_at"),
    ],
    indexes: &[],
};

/// What operators asked to be done about parked records, and what came of it. Ids sort by time.
pub static PARK_REQUESTS: Table = Table {
    name: "park_requests",
    partition: &OF_A_VERSION,
    clustering: &[
        (Column::text("request_id"), Order::Ascending),
        (Column::text("topic"), Order::Ascending),
        (Column::int("log_partition"), Order::Ascending),
    ],
    cells: &[
        Column::text("action"),
        Column::text("record_key"),
        Column::int("record_offset"),
        Column::text("reason_part"),
        Column::text("note"),
        Column::text("asked_by"),
        Column::time("asked_at"),
        Column::text("state"),
        Column::int("retried"),
        Column::int("skipped"),
        Column::int("still_parked"),
        Column::text("detail"),
        Column::time("done_at"),
    ],
    indexes: &[],
};

/// The versions of each projection and which of them is current: one document a projection, see
/// [`Versions`](crate::versions::Versions).
pub static VERSIONS: Table = Table {
    name: "versions",
    partition: &[Column::text("projection")],
    clustering: &[],
    cells: &[Column::json("document")],
    indexes: &[],
};

/// Which version each running reader answers from, see [`Reader`](crate::control::Reader).
pub static READERS: Table = Table {
    name: "readers",
    partition: &[Column::text("projection")],
    clustering: &[(Column::text("instance"), Order::Ascending)],
    cells: &[
        Column::int("revision"),
        Column::int("serves"),
        Column::int("pointer_max_age_ms"),
        Column::time("seen_at"),
    ],
    indexes: &[],
};

/// What the process that builds a version says of itself and of each partition.
pub static BUILDS: Table = Table {
    name: "builds",
    partition: &OF_A_VERSION,
    clustering: &[
        (Column::text("topic"), Order::Ascending),
        (Column::int("log_partition"), Order::Ascending),
    ],
    cells: &[Column::json("progress"), Column::time("seen_at")],
    indexes: &[],
};

/// What each projector says of the partitions of a version that it feeds, see
/// [`Feeder`](crate::feeders::Feeder).
pub static WORKERS: Table = Table {
    name: "workers",
    partition: &OF_A_VERSION,
    clustering: &[(Column::text("instance"), Order::Ascending)],
    cells: &[
        Column::text("address"),
        Column::json("feeds"),
        Column::time("seen_at"),
    ],
    indexes: &[],
};

/// How long, in seconds, Cassandra remembers that a row of one of [`SHORT_LIVED`] was removed.
///
/// Their rows come and go in one partition, and a select that meets more than 100,000 removed ones
/// (`tombstone_failure_threshold`) is refused, by default for ten days. Those that were removed longer ago
/// than this are not counted. It is a little more than the three hours for which writes are kept for a node
/// that is away (`max_hint_window`): kept writes older than this are dropped.
///
/// What it costs: a node that was away for longer, until it is repaired, or a projector that was frozen for
/// longer may bring a removed row back. A pointer to a parked record then keeps its key parked until
/// somebody asks to retry it, which changes nothing else; what a process said of itself goes by its age.
pub(crate) const SHORT_GC_GRACE_S: i32 = 4 * 3_600;

/// Control tables whose rows come and go.
pub(crate) static SHORT_LIVED: [&Table; 3] = [&PARKED, &READERS, &WORKERS];
