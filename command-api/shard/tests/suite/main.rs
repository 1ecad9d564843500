//! The shard on the in-memory log: what it promises under every fault that the log can show.

mod archive;
mod bent;
mod cluster;
mod faults;
mod idempotency;
mod memory;
mod nodes;
mod recovery;
mod rig;
mod snapshots;
mod submitted;
mod thread;
mod toy;
