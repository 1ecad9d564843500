//! Waiting for the delivery reports of one transaction.
//!
//! The client's polling thread counts them down, the shard's thread waits on a
//! condition: no polling interval adds to the latency.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::failure::Failure;

/// Which record of which transaction a report is about. Packed into the
/// pointer-sized value that librdkafka carries along.
const INDEX_BITS: u32 = 32;
const _: () = assert!(usize::BITS == 64, "tags need 64 bits");

#[derive(Debug, Default)]
pub(super) struct Deliveries {
    batch: Mutex<Batch>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct Batch {
    generation: u32,
    remaining: usize,
    offsets: Vec<u64>,
    failure: Option<Failure>,
}

/// How the deliveries of a transaction ended.
pub(super) enum Outcome {
    /// All arrived, at these offsets.
    Delivered(Vec<u64>),
    /// All reports came; this was the first failure.
    Failed(Failure),
    /// Some reports did not come in time: requests may be in flight still.
    InFlight,
}

impl Deliveries {
    /// Expects `count` reports; late ones of earlier transactions are ignored.
    pub(super) fn expect(&self, count: usize) -> u32 {
        let mut batch = self.lock();
        batch.generation = batch.generation.wrapping_add(1);
        batch.remaining = count;
        batch.offsets.clear();
        batch.offsets.resize(count, 0);
        batch.failure = None;
        batch.generation
    }

    /// The last `count` of the expected records were never sent, because of
    /// `failure`.
    pub(super) fn not_sent(&self, count: usize, failure: Failure) {
        let mut batch = self.lock();
        batch.remaining = batch.remaining.saturating_sub(count);
        batch.failure.get_or_insert(failure);
        self.done.notify_all();
    }

    /// One report.
    pub(super) fn report(&self, tag: usize, result: Result<u64, Failure>) {
        let mut batch = self.lock();
        if (tag >> INDEX_BITS) as u32 != batch.generation {
            return;
        }
        batch.remaining = batch.remaining.saturating_sub(1);
        match result {
            Ok(offset) => {
                if let Some(slot) = batch.offsets.get_mut(tag & (u32::MAX as usize)) {
                    *slot = offset;
                }
            }
            Err(failure) => {
                batch.failure.get_or_insert(failure);
            }
        }
        if batch.remaining == 0 {
            self.done.notify_all();
        }
    }

    /// Waits for every report, at most for `timeout`.
    pub(super) fn wait(&self, timeout: Duration) -> Outcome {
        let deadline = Instant::now() + timeout;
        let mut batch = self.lock();
        while batch.remaining > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Outcome::InFlight;
            }
            batch = self
                .done
                .wait_timeout(batch, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        match batch.failure.take() {
            Some(failure) => Outcome::Failed(failure),
            None => Outcome::Delivered(std::mem::take(&mut batch.offsets)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tag of record `index` of transaction `generation`.
pub(super) fn tag(generation: u32, index: usize) -> usize {
    ((generation as usize) << INDEX_BITS) | (index & (u32::MAX as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::error::RDKafkaErrorCode;

    fn failure(text: &str) -> Failure {
        Failure {
            code: RDKafkaErrorCode::MessageTimedOut,
            fatal: false,
            text: text.to_owned(),
        }
    }

    #[test]
    fn offsets_are_in_the_order_of_the_records() {
        let deliveries = Deliveries::default();
        let generation = deliveries.expect(2);
        deliveries.report(tag(generation, 1), Ok(8));
        deliveries.report(tag(generation, 0), Ok(7));
        let outcome = deliveries.wait(Duration::ZERO);
        assert!(matches!(outcome, Outcome::Delivered(offsets) if offsets == [7, 8]));
    }

    #[test]
    fn a_late_report_of_an_earlier_transaction_is_ignored() {
        let deliveries = Deliveries::default();
        let earlier = deliveries.expect(1);
        let current = deliveries.expect(1);
        deliveries.report(tag(earlier, 0), Ok(1));
        assert!(matches!(deliveries.wait(Duration::ZERO), Outcome::InFlight));
        deliveries.report(tag(current, 0), Ok(2));
        let outcome = deliveries.wait(Duration::ZERO);
        assert!(matches!(outcome, Outcome::Delivered(offsets) if offsets == [2]));
    }

    #[test]
    fn the_first_failure_is_told_only_when_nothing_is_in_flight() {
        let deliveries = Deliveries::default();
        let generation = deliveries.expect(3);
        deliveries.report(tag(generation, 0), Err(failure("first")));
        deliveries.not_sent(1, failure("second"));
        assert!(matches!(deliveries.wait(Duration::ZERO), Outcome::InFlight));
        deliveries.report(tag(generation, 1), Ok(3));
        let outcome = deliveries.wait(Duration::ZERO);
        assert!(matches!(outcome, Outcome::Failed(failure) if failure.text == "first"));
    }
}
