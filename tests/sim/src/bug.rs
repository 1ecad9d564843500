//! Deliberate bugs: the simulation has to find each of them, or it shows nothing.
//!
//! Every one is planted at a seam, in a wrapper of this crate: an event log that lies, a sink that
//! lies, a context that decides wrongly, an edge that forgets. What runs in production has no switch
//! for any of them.

/// A deliberate bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A commit is answered before it is sent.
    ReplyBeforeCommit,
    /// Recovery reads up to the last stable offset, which can be behind what is committed.
    RecoverToLso,
    /// A commit that was answered after a disconnect is taken for the end of the matter.
    TrustOkAfterDisconnect,
    /// A take-over joins the epoch of the earlier owner instead of ending it.
    SkipTheFence,
    /// A commit whose answer was lost is taken for a success.
    UnknownIsSuccess,
    /// Journal records keep the inbox position of the transaction before.
    DropInboxPosition,
    /// Journal records do not say which messages have passed one that waits.
    ForgetWhatHasPassed,
    /// A transaction with nothing but its journal record is not sent.
    EmptyTransaction,
    /// The pages of the index of what has left memory list nobody.
    EmptyPages,
    /// A round of snapshots begins under the key of the one before it, which compaction takes then.
    RoundsShareAKey,
    /// Messages to other shards are sent in a transaction of their own, before the events.
    MessagesApart,
    /// The edge says that a command is in the inbox, which it is not.
    QueueWithoutTheLog,
    /// The edge drops the version that a cart has to have.
    ForgetIfMatch,
    /// An event gets the seq of the one before it.
    ReuseASeq,
    /// A seq is left out.
    SeqGap,
    /// Recovery does not read back what was decided under which idempotency key.
    ForgetResultsAtRecovery,
    /// A shard remembers one result less than it was told to.
    ForgetTooEarly,
    /// A key is remembered without the request that it came with.
    ResultOfAnotherPayload,
    /// The inbox hands a message over twice.
    ApplyAMessageTwice,
    /// The inbox reader skips a message.
    LoseAMessage,
    /// Inventory accepts a delivery and books nothing.
    AcceptWithoutEffect,
    /// The snapshot of a cart does not say which numbers of lines were used.
    SnapshotForgetsLines,
    /// Inventory lets go of what it holds by its own clock.
    ExpireAtInventory,
    /// Inventory books a release twice.
    ReleaseTwice,
    /// Inventory says yes to a reservation that it rejected.
    YesWithoutStock,
    /// Cells carry the projector's clock instead of the seq.
    TimestampFromTheClock,
    /// Neighbouring events share a cell time, so that the larger value wins, or a write over the
    /// delete that followed it.
    TiedTimestamps,
    /// The position is written before the rows that it stands for.
    PositionBeforeRows,
    /// A projector that lost its partition writes all the same.
    UnguardedPosition,
    /// A store's failure is taken for a success.
    SwallowStoreFailure,
    /// What was parked is applied in the reverse of its order when it is tried again.
    UnparkOutOfOrder,
    /// A projector reads what was aborted.
    ReadUncommitted,
    /// A build that goes on begins behind the record that comes next.
    ResumePastThePosition,
    /// Who feeds a version that was built begins where another version is.
    FeedFromAnotherPosition,
    /// The tables of a cancelled version are made again, so that a late write finds them.
    CancelledComesBack,
    /// A version is switched to without a look at how far the current one is.
    FlipWhileBehind,
}

/// What a bug is called, and how many seeds from 0 are enough to find it.
#[derive(Debug, Clone, Copy)]
pub struct Planted {
    /// The bug.
    pub bug: Bug,
    /// Its name on the command line.
    pub name: &'static str,
    /// Found within so many seeds.
    pub seeds: u64,
}

const fn planted(bug: Bug, name: &'static str, seeds: u64) -> Planted {
    Planted { bug, name, seeds }
}

/// Every bug.
pub const BUGS: [Planted; 36] = [
    planted(Bug::ReplyBeforeCommit, "reply-before-commit", 20),
    planted(Bug::RecoverToLso, "recover-to-lso", 20),
    planted(Bug::TrustOkAfterDisconnect, "trust-ok-after-disconnect", 20),
    planted(Bug::SkipTheFence, "skip-the-fence", 20),
    planted(Bug::UnknownIsSuccess, "unknown-is-success", 20),
    planted(Bug::DropInboxPosition, "drop-inbox-position", 20),
    planted(Bug::ForgetWhatHasPassed, "forget-what-has-passed", 200),
    planted(Bug::EmptyTransaction, "empty-transaction", 20),
    planted(Bug::EmptyPages, "empty-pages", 40),
    planted(Bug::RoundsShareAKey, "rounds-share-a-key", 40),
    planted(Bug::MessagesApart, "messages-apart", 20),
    planted(Bug::QueueWithoutTheLog, "queue-without-the-log", 20),
    planted(Bug::ForgetIfMatch, "forget-if-match", 20),
    planted(Bug::ReuseASeq, "reuse-a-seq", 20),
    planted(Bug::SeqGap, "seq-gap", 20),
    planted(
        Bug::ForgetResultsAtRecovery,
        "forget-results-at-recovery",
        10,
    ),
    planted(Bug::ForgetTooEarly, "forget-too-early", 40),
    planted(Bug::ResultOfAnotherPayload, "result-of-another-payload", 20),
    planted(Bug::ApplyAMessageTwice, "apply-a-message-twice", 20),
    planted(Bug::LoseAMessage, "lose-a-message", 60),
    planted(Bug::AcceptWithoutEffect, "accept-without-effect", 10),
    planted(Bug::SnapshotForgetsLines, "snapshot-forgets-lines", 20),
    planted(Bug::ExpireAtInventory, "expire-at-inventory", 40),
    planted(Bug::ReleaseTwice, "release-twice", 40),
    planted(Bug::YesWithoutStock, "yes-without-stock", 20),
    planted(Bug::TimestampFromTheClock, "timestamp-from-the-clock", 20),
    planted(Bug::TiedTimestamps, "tied-timestamps", 20),
    planted(Bug::PositionBeforeRows, "position-before-rows", 40),
    planted(Bug::UnguardedPosition, "unguarded-position", 40),
    planted(Bug::SwallowStoreFailure, "swallow-store-failure", 40),
    planted(Bug::UnparkOutOfOrder, "unpark-out-of-order", 40),
    planted(Bug::ReadUncommitted, "read-uncommitted", 40),
    planted(Bug::ResumePastThePosition, "resume-past-the-position", 40),
    planted(
        Bug::FeedFromAnotherPosition,
        "feed-from-another-position",
        60,
    ),
    planted(Bug::CancelledComesBack, "cancelled-comes-back", 2_000),
    planted(Bug::FlipWhileBehind, "flip-while-behind", 60),
];
