//! The tools that read the log, over the log in memory.

mod audit;
mod dry_run;
mod explain;
mod log;
