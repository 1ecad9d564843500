//! One shard on a stage. Whatever a scene goes through, its events have dense versions, survive
//! their wire form, and folded again give the same state.

use std::collections::HashMap;
use std::fmt::Debug;

use cartwright_events::{Event, EventBody, Message, Stream, Timestamp};

use crate::context::{Accepted, BoundedContext, Decision, Outgoing};
use crate::reason::Reason;
use crate::rejection::Rejection;

pub(crate) struct Scene<C>
where
    C: BoundedContext,
    C::State: PartialEq + Debug,
{
    pub(crate) context: C,
    pub(crate) state: C::State,
    pub(crate) now: Timestamp,
    /// Every event so far with its seq.
    pub(crate) log: Vec<(Event, u64)>,
    seqs: HashMap<Stream, u64>,
    versions: HashMap<(Stream, String), u64>,
}

impl<C> Scene<C>
where
    C: BoundedContext,
    C::State: PartialEq + Debug,
{
    pub(crate) fn new(context: C, now: Timestamp) -> Self {
        Self {
            context,
            state: C::State::default(),
            now,
            log: Vec::new(),
            seqs: HashMap::new(),
            versions: HashMap::new(),
        }
    }

    /// Facts that happened before, each at the scene's time.
    pub(crate) fn given(
        &mut self,
        id: &str,
        bodies: impl IntoIterator<Item = EventBody>,
    ) -> &mut Self {
        for body in bodies {
            let key = (body.stream(), id.to_owned());
            let version = self.versions.get(&key).copied().unwrap_or(0) + 1;
            let event = Event {
                aggregate_id: id.to_owned(),
                version,
                occurred_at: self.now,
                body,
            };
            self.apply(&event);
        }
        self
    }

    /// A command arrives; what it decides happens.
    pub(crate) fn when(&mut self, command: impl Into<C::Command>) -> Outcome {
        let command = command.into();
        let json = serde_json::to_string(&command).unwrap();
        let command: C::Command =
            serde_json::from_str(&json).expect("a command survives its JSON form");
        match self.context.decide(&self.state, &command, self.now) {
            Ok((decision, accepted)) => {
                self.happen(&decision);
                Outcome {
                    decision,
                    answer: Ok(accepted),
                }
            }
            Err(rejection) => Outcome {
                decision: crate::facts::nothing(),
                answer: Err(rejection),
            },
        }
    }

    /// A message arrives; what it decides happens.
    pub(crate) fn receive(&mut self, message: impl Into<Message>) -> Decision {
        let decision = self.context.receive(&self.state, &message.into(), self.now);
        self.happen(&decision);
        decision
    }

    /// Time passes until `now`; timers go off until none is due.
    pub(crate) fn at(&mut self, now: Timestamp) -> Vec<Decision> {
        self.now = self.now.max(now);
        let mut all = Vec::new();
        while self
            .context
            .next_due(&self.state)
            .is_some_and(|due| due <= self.now)
        {
            let decisions = self.context.on_time(&self.state, self.now, 2);
            assert!(!decisions.is_empty(), "a timer that is due decides nothing");
            for decision in decisions {
                self.happen(&decision);
                all.push(decision);
            }
        }
        all
    }

    /// Applies a decision's events.
    pub(crate) fn happen(&mut self, decision: &Decision) {
        for event in &decision.events {
            self.apply(event);
        }
    }

    /// The state that the log alone gives.
    pub(crate) fn refolded(&self) -> C::State {
        let mut state = C::State::default();
        for (event, seq) in &self.log {
            self.context
                .evolve(&mut state, event, *seq)
                .expect("what was folded folds again");
        }
        state
    }

    fn apply(&mut self, event: &Event) {
        let stream = event.body.stream();
        let decoded =
            Event::decode(stream, &event.encode()).expect("an event survives its wire form");
        assert_eq!(&decoded, event);
        let key = (stream, event.aggregate_id.clone());
        let version = self.versions.entry(key).or_default();
        *version += 1;
        assert_eq!(event.version, *version, "versions are dense: {event:?}");
        let seq = self.seqs.entry(stream).or_default();
        *seq += 1;
        if let Err(error) = self.context.evolve(&mut self.state, event, *seq) {
            panic!("{error}: {event:?}");
        }
        self.log.push((event.clone(), *seq));
    }
}

impl<C> Drop for Scene<C>
where
    C: BoundedContext,
    C::State: PartialEq + Debug,
{
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(
                self.refolded(),
                self.state,
                "folded again, the log gives the same state"
            );
        }
    }
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) decision: Decision,
    pub(crate) answer: Result<Accepted, Rejection>,
}

impl Outcome {
    /// It was accepted with just these events.
    #[track_caller]
    pub(crate) fn then(self, bodies: impl IntoIterator<Item = EventBody>) -> Accepted {
        let expected: Vec<EventBody> = bodies.into_iter().collect();
        let events: Vec<EventBody> = self
            .decision
            .events
            .iter()
            .map(|event| event.body.clone())
            .collect();
        assert_eq!(events, expected, "{:?}", self.answer);
        self.accepted()
    }

    /// It was accepted with events of just these types.
    #[track_caller]
    pub(crate) fn then_types(self, types: &[&str]) -> Accepted {
        assert_eq!(type_names(&self.decision), types, "{:?}", self.answer);
        self.accepted()
    }

    /// It was accepted.
    #[track_caller]
    pub(crate) fn accepted(self) -> Accepted {
        self.answer.expect("accepted")
    }

    /// It was a repeat of what was written with `seqs` and led to `version`.
    #[track_caller]
    pub(crate) fn repeats(self, version: u64, seqs: &[u64]) -> Accepted {
        assert_eq!(self.decision, crate::facts::nothing());
        let accepted = self.accepted();
        let earlier: Vec<u64> = accepted.earlier.iter().map(|(_, seq)| *seq).collect();
        assert_eq!((accepted.version, earlier.as_slice()), (version, seqs));
        accepted
    }

    /// It was refused.
    #[track_caller]
    pub(crate) fn rejected(self, reason: Reason) -> Rejection {
        let rejection = self.answer.expect_err("a rejection");
        assert_eq!(
            (rejection.reason.as_str(), rejection.kind),
            (reason.code(), reason.kind())
        );
        rejection
    }

    /// The messages that it sent.
    pub(crate) fn messages(&self) -> &[Outgoing] {
        &self.decision.messages
    }
}

/// The types of a decision's events.
pub(crate) fn type_names(decision: &Decision) -> Vec<&'static str> {
    decision
        .events
        .iter()
        .map(|event| event.body.type_name())
        .collect()
}
