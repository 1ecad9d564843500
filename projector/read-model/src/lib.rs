//! The read model: every table, row and query of the projections, in one place.
//!
//! The projector writes these tables and query-api reads them; neither knows a column that is not
//! declared here. A [`Projection`] names what it consumes and the [`Table`]s it fills; the DDL of
//! both stores, the writes of the sinks and the reads of query-api are made from that declaration.
//!
//! * [`tables`]: the declarations, one file per projection.
//! * [`rows`]: typed rows, read from any store through [`Row`].
//! * [`RowOp`]: what a fold asks a sink to do.
//! * [`cassandra`]: migration and reads by key.
//! * [`postgres`]: migration, search, lists, timelines and sales reports.
//! * [`Position`]: how far a projection is, stored beside its rows.
//! * [`versions`]: which versions of a projection there are, which one is current, and the rules
//!   by which that changes; [`control`] keeps it in the projection's own store.
//! * [`causal`]: cause before effect, where times do not tell.
//! * [`feeders`]: which process feeds which partition, for people to see; [`builds`]: which one builds
//!   a version.
//!
//! A projection's tables carry its version in their names (`orders_v1`), so that version n+1 can
//! be built beside n.

pub mod builds;
pub mod cassandra;
pub mod causal;
mod clock;
pub mod control;
mod ddl;
mod error;
pub mod feeders;
mod op;
mod parked;
mod parking;
mod position;
pub mod postgres;
mod row;
pub mod rows;
mod scan;
mod schema;
pub mod tables;
mod value;
pub mod versions;

pub use clock::{CellTime, ClockError};
pub use ddl::{create_table_cql, create_table_sql};
pub use error::ReadModelError;
pub use op::{InvalidOp, MAX_KEY_BYTES, MAX_TEXT_BYTES, RowOp};
pub use parked::{MOST_PARKED, ParkReason, ParkedLook, ParkedRecord, ParkedRow, ParkedSeq};
pub use parking::{
    MOST_REQUESTS, ParkAction, ParkRequest, RequestOutcome, RequestState, SkippedRow,
};
pub use position::{Position, PositionKey};
pub use row::{FromCell, Row, TypedRow};
pub use schema::{
    Column, ColumnType, Identity, Index, Order, Projection, ROW_SEQ, Store, Table, fnv64,
};
pub use tables::{PROJECTIONS, declaration, is_meant_to_differ, projection};
pub use value::Value;
