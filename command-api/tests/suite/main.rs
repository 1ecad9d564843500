//! The service as its clients see it: the real router over real shards, on the log in memory.

mod carts;
mod catalog;
mod checkout;
mod config;
mod failures;
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
