//! Requests on their way: lost, late, in any order.

use crate::shopper::Asked;
use crate::sim::Sim;

pub(crate) struct Request {
    /// The shopper's number.
    pub(crate) who: usize,
    pub(crate) asked: Asked,
    /// Whether the key belongs to another request.
    pub(crate) misused: bool,
    /// Whether its caller does not wait for the decision.
    pub(crate) queued: bool,
}

#[derive(Default)]
pub(crate) struct Network(Vec<Request>);

impl Network {
    pub(crate) fn send(&mut self, request: Request) {
        self.0.push(request);
    }

    /// One of the requests, not always the oldest.
    pub(crate) fn take(&mut self, sim: &Sim) -> Option<Request> {
        if self.0.is_empty() {
            return None;
        }
        let index = match self.0.len() > 1 && sim.fault("request overtaken by another", 300) {
            true => sim.below(self.0.len()),
            false => 0,
        };
        let request = self.0.remove(index);
        if sim.fault("request lost on its way", 40) {
            return None;
        }
        Some(request)
    }
}
