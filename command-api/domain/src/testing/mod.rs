//! Given, when, then: scenes in which commands, messages and time meet one shard.

mod build;
mod prices;
mod scene;
mod shop;

pub(crate) use build::*;
pub(crate) use prices::TestPrices;
pub(crate) use scene::type_names;
pub(crate) use scene::{Outcome, Scene};
pub(crate) use shop::{Shop, answer, several_partitions};
