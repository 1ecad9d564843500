//! One module per command: its arguments and what it does.

pub mod audit;
mod builder;
mod damage;
mod differences;
mod drive;
pub mod dry_run;
pub mod explain;
mod finish;
pub mod flip;
mod from_log;
pub mod hold;
pub mod list;
pub mod parked;
pub mod plan;
mod progress;
mod readers;
pub mod restore;
pub mod retire;
mod standing;
pub mod start;
pub mod status;
mod unknown;
mod until;
pub mod verify;
