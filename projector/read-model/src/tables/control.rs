//! What a store holds about the projections themselves.

use crate::schema::{Column, Order, Table};

/// The version of the control tables' own layout.
pub const CONTROL_VERSION: u32 = 1;

/// States of a parked record. In Cassandra the larger word wins at equal times, so a parked record
/// that was retried or skipped stays so when an old worker parks it again.
pub mod parked_state {
    /// Waits for somebody.
    pub const PARKED: &str = "parked";
    /// Was applied after all.
    pub const RETRIED: &str = "retried";
    /// Was given up.
    pub const SKIPPED: &str = "skipped";
}

/// How far each projection is, in each partition.
pub static POSITIONS: Table = Table {
    name: "positions",
    partition: &[
        Column::text("projection"),
        Column::int("projection_version"),
    ],
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

/// Pointers to records that were put aside.
pub static PARKED: Table = Table {
    name: "parked",
    partition: &[
        Column::text("projection"),
        Column::int("projection_version"),
    ],
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
        Column::text("state"),
        Column::time("parked_at"),
    ],
    indexes: &[],
};
