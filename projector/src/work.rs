//! Taking records in and applying what they ask for.

use std::time::Instant;

use cartwright_events::codec::Codec;
use cartwright_read_model::ParkedRow;
use cartwright_sinks::{Begun, SeqOp, Sink, SinkError, Unparked};

use crate::halt::{Halt, halt_of};
use crate::partition::{Cut, Partition};
use crate::plan::{Limits, Plan};
use crate::progress::Applied;

/// What a partition's records are taken in and applied with.
pub(crate) struct Work {
    pub(crate) plan: Plan,
    pub(crate) limits: Limits,
    pub(crate) codec: Codec,
    pub(crate) sink: Box<dyn Sink>,
    /// Everything applied so far.
    pub(crate) totals: Applied,
}

impl Work {
    /// Takes in everything that was read of a partition, and begins to apply it: while a batch is
    /// under way, the next one is made.
    pub(crate) fn drain(&mut self, partition: &mut Partition) -> Result<(), Halt> {
        if let Some(cut) = partition.in_doubt.take() {
            self.begin(partition, cut)?;
            self.finish(partition)?;
        }
        while partition.started {
            let taken = partition.take_in(&self.plan, &self.codec, &self.limits);
            if partition.has_more() {
                self.finish(partition)?;
                if let Some(cut) = partition.cut() {
                    self.begin(partition, cut)?;
                }
            }
            match taken {
                Ok(false) => {}
                Ok(true) => break,
                // What came before is applied, whatever stops the partition.
                Err(halt) => return self.finish(partition).and(Err(halt)),
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
        self.begin(partition, cut)?;
        self.finish(partition)
    }

    fn begin(&mut self, partition: &mut Partition, cut: Cut) -> Result<(), Halt> {
        let begin = Instant::now();
        let begun = self.sink.begin(&cut.batch);
        match begun {
            Begun::Ended(result) => self.ended(partition, cut, begin, result),
            Begun::UnderWay => {
                partition.under_way = Some((cut, begin));
                Ok(())
            }
        }
    }

    /// Waits for the batch that is under way, if there is one.
    pub(crate) fn finish(&mut self, partition: &mut Partition) -> Result<(), Halt> {
        let Some((cut, begin)) = partition.under_way.take() else {
            return Ok(());
        };
        let result = self.sink.finish(partition.key());
        self.ended(partition, cut, begin, result)
    }

    fn ended(
        &mut self,
        partition: &mut Partition,
        cut: Cut,
        begin: Instant,
        result: Result<(), SinkError>,
    ) -> Result<(), Halt> {
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
            // Also where it is refused for good: nothing may be applied past it.
            Err(error @ (SinkError::Retry { .. } | SinkError::Fatal { .. })) => {
                partition.in_doubt = Some(cut);
                Err(halt_of(error))
            }
        }
    }
}
