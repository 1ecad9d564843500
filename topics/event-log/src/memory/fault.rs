//! Scripted faults: what goes wrong next, and how often it did.

use std::collections::{HashMap, VecDeque};

/// Something that goes wrong once.
///
/// The faults of a commit strike the next commit, in the order they were
/// injected; those of a take-over or a reader strike the next one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// Everything is produced, then the transaction is aborted: `NotCommitted`,
    /// and aborted records take offsets.
    FailNextCommit,
    /// The writer doesn't learn the outcome: `Unknown`. Not committed means that
    /// the transaction stays open, until a take-over or its timeout aborts it.
    UnknownCommit {
        /// What the log knows.
        committed: bool,
    },
    /// Somebody else takes the transactional id over in the middle of the
    /// transaction: `Fenced`.
    FenceNext,
    /// The commit succeeds, but a second copy of its EndTxn request is on the
    /// way and arrives in the middle of the id's next transaction: of the same
    /// epoch, it commits the first half of it; after a take-over it is refused.
    StaleEndTxn {
        /// Whether the writer saw the connection break, so that the receipt is
        /// doubtful.
        noticed: bool,
    },
    /// One record can't be delivered, the transaction is aborted: `NotCommitted`.
    DeliveryFailure,
    /// The second half of the records is produced too late: the writer gives up
    /// and aborts (`NotCommitted`), and the request arrives in the middle of the
    /// id's next transaction: of the same epoch, it becomes part of that one;
    /// after a take-over it is refused.
    LateProduce,
    /// Committed, but slowly: the receipt is doubtful.
    SlowCommit,
    /// The next take-over fails with `Unavailable` and fences nobody.
    TakeOverError,
    /// The next poll of a reader or group reader fails with `Unavailable`.
    ReaderError,
}

/// The call that a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strikes {
    Commit,
    TakeOver,
    Poll,
}

impl Fault {
    fn strikes(self) -> Strikes {
        match self {
            Fault::FailNextCommit
            | Fault::UnknownCommit { .. }
            | Fault::FenceNext
            | Fault::StaleEndTxn { .. }
            | Fault::DeliveryFailure
            | Fault::LateProduce
            | Fault::SlowCommit => Strikes::Commit,
            Fault::TakeOverError => Strikes::TakeOver,
            Fault::ReaderError => Strikes::Poll,
        }
    }
}

/// What is still to happen and what did.
#[derive(Debug, Default)]
pub(super) struct Script {
    pending: VecDeque<(Option<String>, Fault)>,
    fired: HashMap<Fault, u64>,
}

impl Script {
    pub(super) fn push(&mut self, transactional_id: Option<&str>, fault: Fault) {
        self.pending
            .push_back((transactional_id.map(str::to_owned), fault));
    }

    /// Before all that are pending.
    pub(super) fn push_first(&mut self, transactional_id: &str, fault: Fault) {
        self.pending
            .push_front((Some(transactional_id.to_owned()), fault));
    }

    /// The next fault for this kind of call by this writer, counted as fired.
    pub(super) fn take(&mut self, call: Strikes, transactional_id: Option<&str>) -> Option<Fault> {
        let index = self.pending.iter().position(|(id, fault)| {
            fault.strikes() == call && (id.is_none() || id.as_deref() == transactional_id)
        })?;
        let (_, fault) = self.pending.remove(index)?;
        *self.fired.entry(fault).or_default() += 1;
        Some(fault)
    }

    pub(super) fn fired(&self, fault: &Fault) -> u64 {
        self.fired.get(fault).copied().unwrap_or(0)
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }
}
