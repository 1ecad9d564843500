//! The read side over HTTP: views by key from Cassandra; lists, search, timelines and sales reports
//! from PostgreSQL.
//!
//! Reads are eventually consistent, and every answer says how fresh it is (`Cartwright-As-Of`,
//! `Cartwright-Projection`). A caller that has written something gives the position token of its
//! command (`Cartwright-Position`), and the read waits, bounded, until the views behind the answer
//! hold it; [`freshness`] is where that happens.
//!
//! Each read is answered from one version of each of its views, which [`pointers`] chooses.
//!
//! Nothing here writes (but which version it reads), and nothing here knows the log: what is read is what the projector made,
//! through the queries of `cartwright-read-model`.
//!
//! * [`routes`]: one file per kind of thing that is read.
//! * [`answers`]: what they answer, as JSON.
//! * [`stores`]: the two stores with their limits.
//! * [`errors`]: where errors become HTTP.

pub mod answers;
pub mod app;
pub mod ask;
pub mod config;
pub mod cursor;
pub mod errors;
pub mod freshness;
pub mod metric_names;
pub mod openapi;
pub mod params;
pub mod pointers;
mod reply;
pub mod routes;
pub mod stores;

pub use app::App;
pub use config::Config;
