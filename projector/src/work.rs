//! Taking records in and applying what they ask for.

use std::time::Instant;

use cartwright_event_log::LogError;
use cartwright_events::codec::Codec;
use cartwright_read_model::ParkedRow;
use cartwright_sinks::{SeqOp, Sink, SinkError, Unparked};

use crate::partition::{Cut, Halt, Partition};
use crate::plan::{Limits, Plan};
use crate::progress::Applied;

/// What a partition's records are taken in and applied with.
pub(crate) struct Work<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) limits: &'a Limits,
    pub(crate) codec: &'a Codec,
    pub(crate) sink: &'a mut dyn Sink,
    pub(crate) totals: &'a mut Applied,
}

impl Work<'_> {
    /// Takes in and applies everything that was read of a partition.
    pub(crate) fn drain(mut self, partition: &mut Partition) -> Result<(), Halt> {
        if let Some(cut) = partition.in_doubt.take() {
            self.apply(partition, cut)?;
        }
        while partition.started {
            let taken = partition.take_in(self.plan, self.codec, self.limits);
            if let Some(cut) = partition.cut() {
                self.apply(partition, cut)?;
            }
            if taken? {
                break;
            }
        }
        Ok(())
    }

    /// Applies a batch about what was parked before.
    pub(crate) fn unpark(
        &mut self,
        partition: &mut Partition,
        settling: (Vec<SeqOp>, Vec<ParkedRow>, Unparked),
    ) -> Result<(), Halt> {
        let cut = partition.cut_unparked(settling);
        self.apply(partition, cut)
    }

    fn apply(&mut self, partition: &mut Partition, cut: Cut) -> Result<(), Halt> {
        let begin = Instant::now();
        let result = self.sink.apply(&cut.batch);
        self.totals.took += begin.elapsed();
        match result {
            Ok(()) => {
                partition.applied(&cut);
                self.totals.count(&cut);
                Ok(())
            }
            Err(SinkError::PositionMoved) => {
                tracing::info!(partition = %partition.at, "the position has moved: loading it again");
                partition.reset();
                Ok(())
            }
            Err(error @ SinkError::Retry { .. }) => {
                partition.in_doubt = Some(cut);
                Err(halt_of(error))
            }
            Err(error @ SinkError::Fatal { .. }) => Err(halt_of(error)),
        }
    }
}

pub(crate) fn halt_of(error: SinkError) -> Halt {
    match error {
        SinkError::Retry { reason } => Halt::Wait(reason),
        SinkError::PositionMoved => Halt::Wait(error.to_string()),
        SinkError::Fatal { reason } => Halt::Stop(reason),
    }
}

pub(crate) fn halt_of_log(error: LogError) -> Halt {
    match error {
        LogError::Unavailable { .. }
        | LogError::UnknownTopic { .. }
        | LogError::UnknownPartition(_)
        | LogError::NotAssigned(_)
        | LogError::Stalled { .. } => Halt::Wait(error.to_string()),
        // Deleted, or another log than the position is from: needs somebody who knows which.
        LogError::OutOfRange { .. } => Halt::Stop(error.to_string()),
        LogError::Fenced { .. } | LogError::Configuration { .. } | LogError::Fatal { .. } => {
            Halt::Fail(error.to_string())
        }
    }
}
