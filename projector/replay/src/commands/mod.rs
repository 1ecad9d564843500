//! One module per command: its arguments and what it does.

pub mod audit;
mod builder;
mod damage;
mod drive;
pub mod dry_run;
pub mod explain;
pub mod flip;
pub mod hold;
pub mod list;
pub mod parked;
pub mod plan;
pub mod restore;
pub mod start;
pub mod status;
pub mod verify;
