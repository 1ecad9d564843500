//! Getting ready and taking over: from the log to a state that serves, or the reason why not.

use cartwright_domain::BoundedContext;
use cartwright_event_log::EventLog;

use crate::ownership::Ownership;
use crate::recovery::{Ground, TakeOverError};
use crate::shard::{Live, Shard, Step};

impl<B: BoundedContext, L: EventLog> Shard<B, L> {
    /// Gets ready to take over while another process still serves: connects the producer and reads
    /// the partition up to where it ends now. Again later, it reads on from there, and says that it
    /// stands by when it also knows where everything is that has left memory. Fences nobody.
    ///
    /// # Errors
    /// The reason, when it has to be tried again after a pause. [`Step::Ended`] when it must not.
    pub fn prepare(&mut self) -> Result<Step, String> {
        let standby = self.standby.take();
        let ground = self.ground(!self.distrusts_snapshots);
        let read = match standby {
            Some(standby) => ground.read_on(standby),
            None => ground.prepare(),
        };
        let read = match read {
            Err(TakeOverError::Unreadable(error)) => {
                tracing::warn!(%error, "getting ready from all events instead");
                self.distrusts_snapshots = true;
                self.ground(false).prepare()
            }
            read => read,
        };
        let ready = match read {
            Ok(standby) => self.standby.insert(standby).is_ready(),
            Err(error) => return self.not_taken_over(error),
        };
        let ownership = if ready {
            Ownership::Standby
        } else {
            let because = "reading where finished aggregates are".to_owned();
            Ownership::Recovering { because }
        };
        self.ownership.send_if_modified(|known| {
            let before = std::mem::replace(known, ownership.clone());
            before != ownership
        });
        Ok(Step::Idle)
    }

    fn ground(&self, snapshots: bool) -> Ground<'_, B, L> {
        Ground {
            context: &self.context,
            log: &self.log,
            place: &self.place,
            options: &self.options,
            clock: &self.log_clock,
            number: self.take_overs,
            snapshots,
        }
    }

    /// Fences whoever held the partition, reads it back and serves.
    ///
    /// Commands of a group whose outcome was in doubt are then settled: those in the journal are
    /// answered from it, the others are decided by the next step.
    ///
    /// # Errors
    /// The reason, when it has to be tried again after a pause. [`Step::Ended`] when it must not.
    pub fn take_over(&mut self) -> Result<Step, String> {
        if let Some(live) = self.live.take() {
            self.kept_archive = Some(live.state.archive);
        }
        // They are read again from the position that the log has.
        self.inbox_waits.clear();
        self.inbox_cut = false;
        self.take_overs += 1;
        let mut standby = self.standby.take();
        let mut kept = self.kept_archive.take();
        let mut last_epoch = self.last_epoch;
        let ground = self.ground(!self.distrusts_snapshots);
        let mut taken = ground.take_over(&mut standby, &mut kept, &mut last_epoch);
        if let Err(TakeOverError::Unreadable(error)) = &taken {
            tracing::warn!(%error, "making the state from all events instead");
            // All of it is in memory then.
            kept = None;
            let ground = self.ground(false);
            taken = ground.take_over(&mut None, &mut kept, &mut last_epoch);
        }
        self.standby = standby;
        self.last_epoch = last_epoch;
        self.kept_archive = kept.filter(|_| taken.is_err());
        match taken {
            Ok((writer, mut state)) => {
                tracing::info!(
                    context = B::CONTEXT.name(),
                    partition = self.place.partition,
                    epoch = state.epoch,
                    transaction = state.transaction,
                    "serving"
                );
                self.ownership
                    .send_replace(Ownership::Serving { epoch: state.epoch });
                self.look_for_outcomes(&mut state);
                self.live = Some(Live { writer, state });
                self.distrusts_snapshots = false;
                self.release_held();
                Ok(Step::Idle)
            }
            Err(error) => self.not_taken_over(error),
        }
    }

    /// Whether another process has served the partition since this one, or one before it, was fenced as
    /// [`Ownership::Fenced`] says with `epoch`. Fences nobody.
    ///
    /// # Errors
    /// The reason, when it has to be tried again after a pause.
    pub fn is_replaced(&mut self, epoch: u64) -> Result<bool, String> {
        self.last_epoch = self.last_epoch.max(epoch);
        let last = self.ground(false).last_epoch();
        let last = last.map_err(|error| error.to_string())?;
        if last < self.last_epoch {
            // There is its own, at least.
            return Err(format!("the journal shows no epoch after {last}"));
        }
        Ok(last > self.last_epoch)
    }

    /// What it is once Kafka takes nothing of it any more.
    pub(crate) const fn fenced(&self) -> Ownership {
        Ownership::Fenced {
            epoch: self.last_epoch,
        }
    }

    fn not_taken_over(&mut self, error: TakeOverError) -> Result<Step, String> {
        match error {
            TakeOverError::Retry(_) | TakeOverError::Log(_) | TakeOverError::Unreadable(_) => {
                let because = error.to_string();
                self.ownership.send_replace(Ownership::Recovering {
                    because: because.clone(),
                });
                Err(because)
            }
            TakeOverError::Fenced => Ok(self.end(self.fenced())),
            TakeOverError::Refused(reason) => Ok(self.end(Ownership::Refused { reason })),
            TakeOverError::Outdated(reason) => Ok(self.end(Ownership::Outdated { reason })),
        }
    }
}
