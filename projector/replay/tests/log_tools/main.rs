//! The tools that read the log, over the log in memory.

mod audit;
mod away;
mod books;
mod dry_run;
mod explain;
mod log;
mod owed;
mod shop;
mod unread;
