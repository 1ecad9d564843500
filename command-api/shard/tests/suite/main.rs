//! The shard on the in-memory log: what it promises under every fault that the log can show.

mod archive;
mod bent;
mod clocks;
mod cluster;
mod compaction;
mod failing;
mod faults;
mod fenced;
mod handover;
mod held;
mod idempotency;
mod large;
mod map_reader;
mod memory;
mod nodes;
mod pages;
mod pauses;
mod recovery;
mod registry;
mod rig;
mod snapshots;
mod submitted;
mod thread;
mod toy;
