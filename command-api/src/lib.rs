//! The command side over HTTP: commands come in, shards decide them, answers say what was decided
//! and where it stands in the log.
//!
//! A request's way: [`routes`] reads it into a command; `dispatch` has it decided by the shard of its
//! key and waits for the reply; [`answers`] and [`errors`] make a response of that. [`app`] holds
//! what they stand on. Nothing is decided here: that is the domain's, and a shard's.

mod alone;
pub mod answers;
pub mod app;
pub mod call;
pub mod config;
mod dispatch;
pub mod errors;
mod forward;
mod host;
pub mod metric_names;
pub mod nodes;
pub mod openapi;
pub mod prices;
pub mod queue;
mod respond_async;
pub mod routes;
pub mod shards;
pub mod status_id;
mod writers;
