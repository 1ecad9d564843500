//! Building decisions: events with dense versions, and what a caller is answered.

use std::marker::PhantomData;

use cartwright_events::{Event, EventBody, Stream, Timestamp};
use serde_json::{Map, Value};

use crate::context::{Accepted, Decision, EvolveError, Outgoing};
use crate::rejection::Rejection;

/// What deciding a command comes to.
pub(crate) type Decided = Result<(Decision, Accepted), Rejection>;

/// The events of one aggregate in one decision, versions dense.
pub(crate) struct Facts<E> {
    aggregate_id: String,
    version: u64,
    occurred_at: Timestamp,
    events: Vec<Event>,
    kind: PhantomData<E>,
}

impl<E: Into<EventBody>> Facts<E> {
    /// For an aggregate that stands at `version` (0 when it does not exist yet).
    pub(crate) fn new(aggregate_id: &str, version: u64, occurred_at: Timestamp) -> Self {
        Self {
            aggregate_id: aggregate_id.to_owned(),
            version,
            occurred_at,
            events: Vec::new(),
            kind: PhantomData,
        }
    }

    /// Adds the next event.
    pub(crate) fn push(&mut self, body: impl Into<E>) {
        self.version += 1;
        self.events.push(Event {
            aggregate_id: self.aggregate_id.clone(),
            version: self.version,
            occurred_at: self.occurred_at,
            body: body.into().into(),
        });
    }

    /// The events.
    pub(crate) fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// Without an answer, for messages and timers.
    pub(crate) fn silent(self, messages: Vec<Outgoing>) -> Decision {
        Decision {
            events: self.events,
            messages,
        }
    }

    /// As the outcome of a command; `data` is a JSON object.
    pub(crate) fn answered(self, messages: Vec<Outgoing>, data: Value) -> (Decision, Accepted) {
        let accepted = Accepted {
            aggregate_id: self.aggregate_id,
            version: self.version,
            data: object(data),
            earlier: Vec::new(),
        };
        let decision = Decision {
            events: self.events,
            messages,
        };
        (decision, accepted)
    }
}

/// Decides nothing.
pub(crate) const fn nothing() -> Decision {
    Decision {
        events: Vec::new(),
        messages: Vec::new(),
    }
}

/// The answer to a repeat: nothing happens, and the caller hears what happened then.
pub(crate) fn repeat(
    aggregate_id: &str,
    version: u64,
    earlier: Vec<(Stream, u64)>,
    data: Value,
) -> (Decision, Accepted) {
    let accepted = Accepted {
        aggregate_id: aggregate_id.to_owned(),
        version,
        data: object(data),
        earlier,
    };
    (nothing(), accepted)
}

/// The fields of a JSON object.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// An event does not fit.
pub(crate) fn misfit(event: &Event, problem: impl Into<String>) -> EvolveError {
    EvolveError {
        event_type: event.body.type_name(),
        aggregate_id: event.aggregate_id.clone(),
        problem: problem.into(),
    }
}

/// Checks one value that an event carries against the one that its state gives.
pub(crate) fn must_be<T: PartialEq + std::fmt::Debug>(
    event: &Event,
    what: &str,
    carried: T,
    computed: T,
) -> Result<(), EvolveError> {
    if carried == computed {
        Ok(())
    } else {
        Err(misfit(
            event,
            format!("{what} is {carried:?}, the state gives {computed:?}"),
        ))
    }
}

/// Checks that an event is the next one of its aggregate, which stands at `version`.
pub(crate) fn must_follow(event: &Event, version: u64) -> Result<(), EvolveError> {
    must_be(
        event,
        "version",
        Some(event.version),
        version.checked_add(1),
    )
}
