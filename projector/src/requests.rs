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
        // One wish has a row in each partition that it concerns; all of them have to be past, and what
        // was found may end in the middle of the last one's.
        let next = found.get(past).or(found.last());
        let next = next.map(|(request, _)| &request.id);
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

#[cfg(test)]
mod tests {
    use cartwright_events::Stream;
    use cartwright_read_model::ParkAction;

    use super::*;

    /// A row of a wish, which was asked for long ago.
    fn row(id: &str, partition: u32, state: RequestState) -> (ParkRequest, RequestOutcome) {
        let request = ParkRequest {
            id: id.to_owned(),
            stream: Stream::Product,
            partition,
            action: ParkAction::Retry,
            key: None,
            offset: None,
            reason_part: None,
            note: None,
            asked_by: "somebody".to_owned(),
            asked_at: Timestamp::from_micros(1),
        };
        let outcome = RequestOutcome {
            state,
            retried: 0,
            skipped: 0,
            still_parked: 0,
            detail: None,
            done_at: None,
        };
        (request, outcome)
    }

    fn after(requests: &Requests) -> &str {
        requests.due(Duration::ZERO).expect("it is time")
    }

    #[test]
    fn a_wish_of_which_not_all_was_found_is_looked_at_again() {
        let mut requests = Requests::default();
        let done = RequestState::Done;
        requests.found(vec![row("a", 0, done), row("b", 0, done)]);
        assert_eq!(after(&requests), "a", "there may be more of the other one");
        requests.found(vec![row("b", 0, done), row("b", 1, RequestState::Asked)]);
        assert_eq!(after(&requests), "a");
        assert_eq!(requests.open.len(), 1);
        requests.found(vec![row("b", 0, done), row("b", 1, done)]);
        assert_eq!(after(&requests), "a", "nothing has come after it");
        requests.found(vec![row("b", 0, done), row("c", 0, RequestState::Asked)]);
        assert_eq!(after(&requests), "b");
    }
}
