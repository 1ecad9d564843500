//! The transactional writer of the model.

use std::time::Duration;

use super::MemoryLog;
use super::fault::{Fault, Strikes};
use super::state::{StaleEpoch, State};
use crate::limits::Limits;
use crate::{CommitError, LogError, LogWriter, NewRecord, Receipt, TopicPartition};

/// See [`LogWriter`].
#[derive(Debug)]
pub struct MemoryWriter {
    pub(super) log: MemoryLog,
    pub(super) transactional_id: String,
    /// Epoch held, 0 before the first take-over.
    pub(super) epoch: u32,
    pub(super) ready: bool,
}

impl LogWriter for MemoryWriter {
    fn take_over(&mut self) -> Result<(), LogError> {
        let mut state = self.log.lock();
        self.ready = false;
        if state
            .script
            .take(Strikes::TakeOver, Some(&self.transactional_id))
            .is_some()
        {
            return Err(LogError::Unavailable {
                reason: "scripted take-over error".to_owned(),
            });
        }
        self.epoch = state.take_over(&self.transactional_id);
        self.ready = true;
        drop(state);
        self.log.wake();
        Ok(())
    }

    fn needs_take_over(&self) -> bool {
        !self.ready
    }

    fn commit(&mut self, records: Vec<NewRecord>) -> Result<Receipt, CommitError> {
        Limits::default().check(&records)?;
        let mut state = self.log.lock();
        if !self.ready && (state.guard || self.epoch == 0) {
            return Err(CommitError::TakeOverFirst);
        }
        let fault = state
            .script
            .take(Strikes::Commit, Some(&self.transactional_id));
        let result = Transaction {
            state: &mut state,
            id: &self.transactional_id,
            epoch: self.epoch,
        }
        .run(&records, fault);
        drop(state);
        self.ready = matches!(
            &result,
            Ok(Receipt {
                doubtful: false,
                ..
            })
        );
        self.log.wake();
        result
    }
}

impl From<StaleEpoch> for CommitError {
    fn from(_: StaleEpoch) -> Self {
        CommitError::Fenced
    }
}

struct Transaction<'a> {
    state: &'a mut State,
    id: &'a str,
    epoch: u32,
}

impl Transaction<'_> {
    fn run(&mut self, records: &[NewRecord], fault: Option<Fault>) -> Result<Receipt, CommitError> {
        // A writer that lost its epoch learns it from the first produce.
        if self.state.epoch(self.id) != self.epoch {
            return Err(CommitError::Fenced);
        }
        for record in records {
            let at = TopicPartition::new(record.topic.clone(), record.partition);
            if let Err(error) = self.state.partition(&at) {
                return Err(not_committed(&error.to_string()));
            }
        }
        let (first, second) = records.split_at(records.len().div_ceil(2));
        let mut offsets = self.produce(first)?;

        // The middle: what was under way from earlier arrives here.
        self.state.deliver_delayed(self.id);
        if !self.state.is_open(self.id) {
            return self.after_foreign_commit(second, offsets);
        }
        match fault {
            Some(Fault::FenceNext) => {
                self.state.take_over(self.id);
                return Err(CommitError::Fenced);
            }
            Some(Fault::DeliveryFailure) => {
                self.end(false)?;
                return Err(not_committed("scripted delivery failure"));
            }
            Some(Fault::LateProduce) => {
                self.state
                    .delay_produce(self.id, self.epoch, second.to_vec());
                self.end(false)?;
                return Err(not_committed("scripted late produce"));
            }
            _ => {}
        }
        offsets.extend(self.produce(second)?);

        match fault {
            Some(Fault::FailNextCommit) => {
                self.end(false)?;
                Err(not_committed("scripted abort"))
            }
            Some(Fault::UnknownCommit { committed }) => {
                if committed {
                    self.end(true)?;
                }
                Err(unknown("scripted loss of the answer"))
            }
            Some(Fault::StaleEndTxn { noticed }) => {
                self.end(true)?;
                self.state.delay_end_txn(self.id, self.epoch);
                Ok(receipt(offsets, Duration::ZERO, noticed))
            }
            Some(Fault::SlowCommit) => {
                self.end(true)?;
                Ok(receipt(offsets, Duration::from_millis(600), true))
            }
            _ => {
                self.end(true)?;
                Ok(receipt(offsets, Duration::ZERO, false))
            }
        }
    }

    /// A stale EndTxn has just committed the first half. A broker refuses more
    /// of this transaction, and the coordinator has nothing left to abort; only
    /// if there was no second half is a commit answered with success.
    fn after_foreign_commit(
        &mut self,
        second: &[NewRecord],
        offsets: Vec<u64>,
    ) -> Result<Receipt, CommitError> {
        if second.is_empty() {
            return Ok(receipt(offsets, Duration::ZERO, false));
        }
        Err(unknown("the transaction is in an invalid state"))
    }

    fn produce(&mut self, records: &[NewRecord]) -> Result<Vec<u64>, CommitError> {
        Ok(self.state.produce(self.id, self.epoch, records)?)
    }

    fn end(&mut self, commit: bool) -> Result<bool, CommitError> {
        Ok(self.state.end_transaction(self.id, self.epoch, commit)?)
    }
}

fn receipt(offsets: Vec<u64>, duration: Duration, doubtful: bool) -> Receipt {
    Receipt {
        offsets,
        duration,
        doubtful,
    }
}

fn not_committed(reason: &str) -> CommitError {
    CommitError::NotCommitted {
        reason: reason.to_owned(),
    }
}

fn unknown(reason: &str) -> CommitError {
    CommitError::Unknown {
        reason: reason.to_owned(),
    }
}
