//! Where the aggregates are that left memory before the round that a take-over stands on.

use std::time::Duration;

use cartwright_domain::BoundedContext;
use cartwright_event_log::{EventLog, LogReader, ReaderPurpose};

use super::{Ground, TakeOverError};
use crate::archive::{Earlier, Index, Scan};

/// How far that is read.
pub(super) enum Before<R> {
    /// Not at all; they are to be looked for before this offset.
    Unread { to: u64 },
    /// So far.
    Reading(Scan<R>),
    /// All of it.
    Known(Index),
}

impl<R: LogReader> Before<R> {
    /// Reads some more, unless all is read. An error of the log leaves what was read.
    pub(super) fn read_on<B: BoundedContext, L: EventLog<Reader = R>>(
        &mut self,
        ground: &Ground<'_, B, L>,
        stall: Duration,
    ) -> Result<(), TakeOverError> {
        if let Before::Unread { to } = *self {
            let reader = ground.log.reader(ReaderPurpose::Recovery)?;
            let snapshots = ground.at(B::CONTEXT.snapshots_topic());
            *self = Before::Reading(Scan::begin(reader, snapshots, to)?);
        }
        if let Before::Reading(scan) = self
            && let Some(index) = scan.read_on(stall)?
        {
            *self = Before::Known(index);
        }
        Ok(())
    }

    /// What a shard knows that takes over now: a part of it is of no use.
    pub(super) fn into_earlier(self) -> Earlier {
        match self {
            Before::Unread { to } => Earlier::Unread { to },
            Before::Reading(scan) => Earlier::Unread { to: scan.to() },
            Before::Known(index) => Earlier::Known(index),
        }
    }
}
