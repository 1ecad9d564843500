//! Finding the latest complete round of snapshots: the last record of the journal names it.

use std::time::Duration;

use cartwright_domain::BoundedContext;
use cartwright_event_log::{EventLog, LogError, LogReader, ReaderPurpose, Record, Start, read_to};
use cartwright_events::envelope::header::WRITER_EPOCH;

use super::{Ground, TakeOverError};
use crate::snapshots::format::{Assembler, Kind, Unreadable};
use crate::snapshots::{Begin, Complete, named_by};

/// How far before the journal's end its last record is looked for at first. Behind it there can be
/// its control record, and those of transactions that were aborted.
const NEAR_END: u64 = 32;

/// How long a reader stands still before what does not come is taken for hidden.
const HIDDEN_STALL: Duration = Duration::from_secs(2);

/// A complete round.
pub(super) struct Checkpoint {
    /// Offset of its beginning in the snapshots topic.
    pub(super) offset: u64,
    pub(super) begin: Begin,
}

impl Checkpoint {
    pub(super) fn find<B: BoundedContext, L: EventLog>(
        ground: &Ground<'_, B, L>,
        reader: &mut L::Reader,
        last: &Record,
        stall: Duration,
    ) -> Result<Option<Self>, TakeOverError> {
        let Some(offset) = named_by(last)? else {
            return Ok(None);
        };
        let begin = begin_at(ground, reader, offset, stall)?;
        Ok(Some(Self { offset, begin }))
    }

    /// The round is of use only with the whole journal since it began, of which retention has left
    /// what is at `kept` and behind it.
    pub(super) fn check_tail(&self, kept: u64) -> Result<(), Unreadable> {
        if kept <= self.begin.journal_offset {
            return Ok(());
        }
        Err(Unreadable {
            offset: self.offset,
            problem: format!(
                "its round began at offset {} of the journal, which begins at {kept} by now",
                self.begin.journal_offset
            ),
        })
    }

    pub(super) fn complete(&self) -> Complete {
        self.begin.complete(self.offset)
    }
}

/// What becomes of records that an open transaction hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hidden {
    /// They are waited for; where they do not come, that is an error.
    Awaited,
    /// The last one before them is good enough.
    PassedOver,
}

impl<B: BoundedContext, L: EventLog> Ground<'_, B, L> {
    /// The epoch of the journal's last record that can be read; 0 when there is none. Whoever takes over
    /// ends what hides others first.
    pub(crate) fn last_epoch(&self) -> Result<u64, TakeOverError> {
        let mut reader = self.log.reader(ReaderPurpose::Recovery)?;
        let stall = self.options.recovery_stall().min(HIDDEN_STALL);
        let last = last_journal_record(self, &mut reader, stall, Hidden::PassedOver)?;
        Ok(epoch_of(last.as_ref()))
    }
}

/// The epoch in which a record of the journal was written; 0 where there is none.
pub(super) fn epoch_of(record: Option<&Record>) -> u64 {
    let epoch = record.and_then(|record| record.header(WRITER_EPOCH));
    let epoch = epoch.and_then(|epoch| std::str::from_utf8(epoch).ok()?.parse().ok());
    epoch.unwrap_or_default()
}

pub(super) fn last_journal_record<B: BoundedContext, L: EventLog>(
    ground: &Ground<'_, B, L>,
    reader: &mut L::Reader,
    stall: Duration,
    hidden: Hidden,
) -> Result<Option<Record>, TakeOverError> {
    let at = ground.at(B::CONTEXT.journal_topic());
    let (low, high) = reader.watermarks(&at)?;
    let mut back = NEAR_END;
    loop {
        let from = high.saturating_sub(back).max(low);
        reader.assign(&[(at.clone(), Start::Offset(from))])?;
        let mut last = None;
        let read = read_to(reader, &[(at.clone(), high)], stall, |record| {
            last = Some(record);
            Ok::<(), TakeOverError>(())
        });
        match read {
            Err(TakeOverError::Log(LogError::Stalled { .. })) if hidden == Hidden::PassedOver => {}
            read => read?,
        }
        if last.is_some() || from == low {
            return Ok(last);
        }
        back = back.saturating_mul(8);
    }
}

fn begin_at<B: BoundedContext, L: EventLog>(
    ground: &Ground<'_, B, L>,
    reader: &mut L::Reader,
    offset: u64,
    stall: Duration,
) -> Result<Begin, TakeOverError> {
    let at = ground.at(B::CONTEXT.snapshots_topic());
    let unreadable = |problem: &str| Unreadable {
        offset,
        problem: problem.to_owned(),
    };
    let (low, high) = reader.watermarks(&at)?;
    if !(low..high).contains(&offset) {
        return Err(unreadable("the journal names it, but it is not there").into());
    }
    reader.assign(&[(at.clone(), Start::Offset(offset))])?;
    let mut assembler = Assembler::default();
    let mut begin = None;
    read_to(reader, &[(at, offset + 1)], stall, |record| {
        if begin.is_none()
            && record.offset == offset
            && let Some(whole) = assembler.take(&record)?
            && whole.kind == Kind::Begin
        {
            begin = Some(whole.read::<Begin>()?);
        }
        Ok::<(), TakeOverError>(())
    })?;
    Ok(begin.ok_or_else(|| unreadable("the journal names it, but it is no round's beginning"))?)
}
