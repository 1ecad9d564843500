//! Where the aggregates are that left memory before the round that a take-over stands on.

use std::time::Duration;

use cartwright_domain::BoundedContext;
use cartwright_event_log::{EventLog, LogReader, ReaderPurpose};

use super::{Ground, TakeOverError};
use crate::archive::{Earlier, Paged, Scan, Scanned};

/// How far that is read.
pub(super) enum Before<R> {
    /// Not at all; they are to be looked for in these pages, and behind them before this offset.
    Unread { paged: Paged, to: u64 },
    /// So far.
    Reading(Scan<R>),
    /// All of it.
    Known(Scanned),
}

impl<R: LogReader> Before<R> {
    /// Reads some more, unless all is read. An error of the log leaves what was read.
    pub(super) fn read_on<B: BoundedContext, L: EventLog<Reader = R>>(
        &mut self,
        ground: &Ground<'_, B, L>,
        stall: Duration,
    ) -> Result<(), TakeOverError> {
        if let Before::Unread { paged, to } = self {
            let reader = ground.log.reader(ReaderPurpose::Recovery)?;
            let snapshots = ground.at(B::CONTEXT.snapshots_topic());
            *self = Before::Reading(Scan::new(reader, snapshots, std::mem::take(paged), *to));
        }
        if let Before::Reading(scan) = self
            && let Some(found) = scan.read_on(stall)?
        {
            *self = Before::Known(found);
        }
        Ok(())
    }

    /// What a shard knows that takes over now: a part of it is of no use.
    pub(super) fn into_earlier(self) -> Earlier {
        match self {
            Before::Unread { paged, to } => Earlier::Unread { paged, to },
            Before::Reading(scan) => {
                let (paged, to) = scan.goal();
                Earlier::Unread { paged, to }
            }
            Before::Known(found) => Earlier::Known(found),
        }
    }
}
