//! Given, when, then: scenes in which commands, messages and time meet one shard, and a whole shop
//! of shards with the messages between them.

mod build;
mod generated;
mod golden;
mod ledger;
mod prices;
mod reasons;
mod scene;
mod shop;
mod whole_shop;

pub(crate) use build::*;
pub(crate) use scene::{Scene, type_names};
pub(crate) use shop::{Shop, answer, several_partitions};
