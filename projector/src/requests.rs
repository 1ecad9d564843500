//! The requests about parked records that wait.

use std::time::{Duration, Instant};

use cartwright_events::Timestamp;
use cartwright_read_model::{ParkRequest, RequestOutcome, RequestState};

use crate::partition::Partition;

/// The requests of a projection that wait.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Everything up to this one is carried out.
    passed: String,
    open: Vec<ParkRequest>,
    looked: Option<Instant>,
}

/// A request is passed only when nobody who writes one now can get an earlier name.
const PASS_AFTER_US: i64 = 60_000_000;

impl Requests {
    /// Where to look from, if it is time to look.
    pub(crate) fn due(&self, every: Duration) -> Option<&str> {
        let due = self.looked.is_none_or(|looked| looked.elapsed() >= every);
        due.then_some(self.passed.as_str())
    }

    /// Takes over what was found.
    pub(crate) fn found(&mut self, found: Vec<(ParkRequest, RequestOutcome)>) {
        self.looked = Some(Instant::now());
        let before = Timestamp::now().as_micros() - PASS_AFTER_US;
        let is_past = |(request, outcome): &&(ParkRequest, RequestOutcome)| {
            outcome.state != RequestState::Asked && request.asked_at.as_micros() < before
        };
        let past = found.iter().take_while(is_past).count();
        // One wish has a row in each partition that it concerns; all of them have to be past.
        let next = found.get(past).map(|(request, _)| &request.id);
        let last = found[..past].iter().rev().map(|(request, _)| &request.id);
        if let Some(last) = last.into_iter().find(|id| Some(*id) != next) {
            self.passed.clone_from(last);
        }
        self.open = found
            .into_iter()
            .filter(|(_, outcome)| outcome.state == RequestState::Asked)
            .map(|(request, _)| request)
            .collect();
    }

    /// It has been carried out, whatever was found in between.
    pub(crate) fn forget(&mut self, done: &ParkRequest) {
        self.open.retain(|request| request != done);
    }

    /// It was not carried out after all.
    pub(crate) fn put_back(&mut self, request: ParkRequest) {
        self.open.insert(0, request);
    }

    /// Whether one is about a partition.
    pub(crate) fn concern(&self, partition: &Partition) -> bool {
        let mut open = self.open.iter();
        open.any(|request| request.concerns(partition.key()))
    }

    /// The first one about a partition; it counts as taken.
    pub(crate) fn take_for(&mut self, partition: &Partition) -> Option<ParkRequest> {
        let index = self
            .open
            .iter()
            .position(|request| request.concerns(partition.key()))?;
        Some(self.open.remove(index))
    }
}
