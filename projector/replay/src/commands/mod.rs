//! One module per command: its arguments and what it does.

pub mod audit;
pub mod dry_run;
pub mod explain;
pub mod list;
pub mod parked;
