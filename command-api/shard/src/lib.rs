//! The single writer: one shard is one partition of one bounded context, and the only writer of
//! that partition of the context's topics.
//!
//! A shard takes what waits in its bounded mailbox, decides it in memory, commits all of it in one
//! Kafka transaction with a journal record, and only then replies. After any doubt it forgets its
//! state and reads it back from its own log: there is one recovery path, and a crash uses it too.
//!
//! ```text
//! mailbox ─┐                         ┌─► events        (public topics)
//! inbox   ─┼─► decide ─► group ─► commit ─► messages   (other shards' inboxes)
//! timers  ─┘      ▲                  ├─► journal       (seqs, results, inbox position, epoch)
//!                 │                  └─► snapshots     (what a take-over need not read again)
//!                 └──── recovery ◄─── read back
//! ```

mod archive;
mod clock;
mod commit;
mod decide;
mod group;
mod inbox;
mod inbox_writer;
mod jump_check;
mod mailbox;
pub mod nodes;
mod options;
mod outcome;
mod ownership;
mod pace;
mod receive;
mod recovery;
mod results;
mod runner;
mod shard;
mod snapshots;
mod standstill;
mod state;
mod take_over;
mod thread;
mod waiters;

pub use archive::{ArchiveAnswer, ArchiveAsk};
pub use clock::{Clock, ManualClock, SystemClock};
pub use inbox_writer::{InboxWriter, QueuedCommand};
pub use jump_check::{ClockJumped, JumpCheck};
pub use mailbox::{Found, Lookup, Mailbox, MailboxFull, Reply, Submission};
pub use options::ShardOptions;
pub use outcome::{Answer, Outcome};
pub use ownership::Ownership;
pub use pace::Pace;
pub use results::IdempotencyKey;
pub use shard::{Inputs, Shard, Step};
pub use standstill::{Look, Standstill};
pub use thread::{Begin, ShardThread, spawn};
