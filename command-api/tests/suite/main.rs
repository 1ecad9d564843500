//! The service as its clients see it: the real router over real shards, on the log in memory.

#[path = "../../shard/tests/suite/bent.rs"]
mod bent;
mod carts;
mod catalog;
mod checkout;
mod cluster;
mod config;
mod ended;
mod failures;
mod forwarding;
mod harness;
mod idempotency;
mod nodes;
mod openapi;
mod orders;
mod prices;
mod queued;
mod stock;
mod stop;
mod versions;
