//! The smallest bounded context that can show what a shard promises: a counter per SKU, and a
//! message that holds units and is answered.

use std::collections::BTreeMap;
use std::ops::Bound;

use cartwright_domain::{
    Accepted, BoundedContext, Decision, EvolveError, Outgoing, Rejection, RejectionKind,
};
use cartwright_events::inventory::{StockEvent, StockReceived, StockReserved};
use cartwright_events::messages::ReservationAnswer;
use cartwright_events::{Context, Event, EventBody, Message, OrderId, Stream, Timestamp};
use serde::{Deserialize, Serialize};

/// An order id whose reservation panics.
pub(crate) const POISON: &str = "poison";

/// A SKU whose timer panics.
pub(crate) const BOMB: &str = "bomb";

/// A SKU whose events panic when they are applied.
pub(crate) const TORN: &str = "torn";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Adds one.
    Add { sku: String },
    /// Is refused.
    Refuse { sku: String },
    /// Is refused with a long list.
    RefuseAtLength { sku: String },
    /// Adds one, and answers with a long list.
    AddAtLength { sku: String },
    /// Says more than a record of the log takes.
    Flood { sku: String },
    /// Panics.
    Break { sku: String },
    /// Adds one that does not fit the state.
    Misfit { sku: String },
}

pub(crate) fn add(sku: &str) -> Command {
    Command::Add {
        sku: sku.to_owned(),
    }
}

fn long_list() -> Vec<&'static str> {
    vec!["line"; 100_000]
}

fn refusal(sku: &str) -> Rejection {
    Rejection {
        reason: "refused".to_owned(),
        kind: RejectionKind::Conflict,
        detail: format!("{sku} refuses"),
        field: None,
        data: serde_json::Map::new(),
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counter {
    pub(crate) version: u64,
    pub(crate) on_hand: i64,
    pub(crate) reserved: i64,
    pub(crate) first_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) counters: BTreeMap<String, Counter>,
}

pub(crate) struct Toy;

impl Toy {
    fn event(sku: &str, version: u64, now: Timestamp, event: StockEvent) -> Event {
        Event {
            aggregate_id: sku.to_owned(),
            version,
            occurred_at: now,
            body: event.into(),
        }
    }
}

impl BoundedContext for Toy {
    const CONTEXT: Context = Context::Inventory;
    type State = State;
    type Snapshot = Counter;
    type Command = Command;

    fn key(command: &Command) -> &str {
        match command {
            Command::Add { sku }
            | Command::Refuse { sku }
            | Command::RefuseAtLength { sku }
            | Command::AddAtLength { sku }
            | Command::Flood { sku }
            | Command::Break { sku }
            | Command::Misfit { sku } => sku,
        }
    }

    fn decide(
        &self,
        state: &State,
        command: &Command,
        now: Timestamp,
    ) -> Result<(Decision, Accepted), Rejection> {
        let sku = Self::key(command);
        let counter = state.counters.get(sku).cloned().unwrap_or_default();
        let version = match command {
            Command::Add { .. } | Command::AddAtLength { .. } | Command::Flood { .. } => {
                counter.version + 1
            }
            Command::Misfit { .. } => counter.version + 7,
            Command::Break { .. } => panic!("a broken rule"),
            Command::Refuse { .. } => return Err(refusal(sku)),
            Command::RefuseAtLength { .. } => {
                return Err(refusal(sku).with("total", 7).with("lines", long_list()));
            }
        };
        let received = StockReceived {
            quantity: 1,
            reference: None,
            on_hand: counter.on_hand + 1,
            reserved: counter.reserved,
        };
        let id = match command {
            Command::Flood { .. } => sku.repeat(1_000_000),
            _ => sku.to_owned(),
        };
        let events = vec![Self::event(&id, version, now, received.into())];
        let mut data =
            serde_json::Map::from_iter([("on_hand".to_owned(), (counter.on_hand + 1).into())]);
        if let Command::AddAtLength { .. } = command {
            data.insert("lines".to_owned(), long_list().into());
        }
        let accepted = Accepted {
            aggregate_id: sku.to_owned(),
            version,
            data,
            earlier: Vec::new(),
        };
        Ok((
            Decision {
                events,
                messages: Vec::new(),
            },
            accepted,
        ))
    }

    fn version(&self, state: &State, command: &Command) -> u64 {
        let counter = state.counters.get(Self::key(command));
        counter.map_or(0, |counter| counter.version)
    }

    /// A reservation holds units and is answered; an answer adds one to a counter of the order's name.
    fn receive(&self, state: &State, message: &Message, now: Timestamp) -> Decision {
        let reserve = match message {
            Message::ReserveStock(reserve) => reserve,
            Message::ReservationAnswer(answer) => {
                let decided = self.decide(state, &add(answer.order_id.as_str()), now);
                return decided.map_or_else(|_| nothing(), |(decision, _)| decision);
            }
            _ => return nothing(),
        };
        assert_ne!(reserve.order_id.as_str(), POISON, "a poisoned message");
        let mut events = Vec::new();
        for item in &reserve.items {
            let counter = state
                .counters
                .get(item.sku.as_str())
                .cloned()
                .unwrap_or_default();
            let reserved = StockReserved {
                order_id: reserve.order_id.clone(),
                quantity: item.quantity,
                on_hand: counter.on_hand,
                reserved: counter.reserved + item.quantity,
            };
            events.push(Self::event(
                item.sku.as_str(),
                counter.version + 1,
                now,
                reserved.into(),
            ));
        }
        Decision {
            events,
            messages: vec![answer(&reserve.order_id, None)],
        }
    }

    fn give_up(&self, message: &Message, reason: &str) -> Vec<Outgoing> {
        OrderId::new(message.key())
            .map(|order| vec![answer(&order, Some(reason.to_owned()))])
            .unwrap_or_default()
    }

    fn evolve(&self, state: &mut State, event: &Event, _seq: u64) -> Result<(), EvolveError> {
        assert_ne!(event.aggregate_id, TORN, "a torn state");
        let counter = state
            .counters
            .entry(event.aggregate_id.clone())
            .or_default();
        if event.version != counter.version + 1 {
            return Err(EvolveError {
                event_type: event.body.type_name(),
                aggregate_id: event.aggregate_id.clone(),
                problem: format!("version {} after {}", event.version, counter.version),
            });
        }
        counter.version = event.version;
        counter.first_at.get_or_insert(event.occurred_at);
        match &event.body {
            EventBody::Stock(StockEvent::Received(body)) => counter.on_hand = body.on_hand,
            EventBody::Stock(StockEvent::Reserved(body)) => counter.reserved = body.reserved,
            _ => {}
        }
        Ok(())
    }

    /// The counter of the SKU `egg` is due ten seconds after its first event, once; so is that of
    /// [`BOMB`].
    fn next_due(&self, state: &State) -> Option<Timestamp> {
        let timed = ["egg", BOMB].into_iter();
        let timed = timed.filter_map(|sku| state.counters.get(sku));
        let first = timed.filter(|one| one.version == 1);
        first
            .filter_map(|one| Some(one.first_at?.plus_millis(10_000)))
            .min()
    }

    fn on_time(&self, state: &State, now: Timestamp, _most: usize) -> Vec<Decision> {
        let due = self.next_due(state).is_some_and(|due| due <= now);
        let bomb = state.counters.get(BOMB);
        assert!(bomb.is_none_or(|bomb| bomb.version > 1), "it goes off");
        let add = Command::Add {
            sku: "egg".to_owned(),
        };
        due.then(|| self.decide(state, &add, now).ok())
            .flatten()
            .map(|(decision, _)| decision)
            .into_iter()
            .collect()
    }

    fn ids_after<'a>(
        &self,
        state: &'a State,
        after: Option<&str>,
    ) -> Box<dyn DoubleEndedIterator<Item = &'a str> + 'a> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = state.counters.range::<str, _>((from, Bound::Unbounded));
        Box::new(range.map(|(sku, _)| sku.as_str()))
    }

    fn count(&self, state: &State) -> usize {
        state.counters.len()
    }

    fn holds(&self, state: &State, sku: &str) -> bool {
        state.counters.contains_key(sku)
    }

    fn snapshot(&self, state: &State, sku: &str) -> Option<Counter> {
        state.counters.get(sku).cloned()
    }

    fn restore(&self, state: &mut State, sku: &str, counter: Counter) {
        state.counters.insert(sku.to_owned(), counter);
    }

    fn forget(&self, state: &mut State, sku: &str) {
        state.counters.remove(sku);
    }

    /// A counter is done at three, and may leave.
    fn is_finished(&self, state: &State, sku: &str) -> bool {
        let counter = state.counters.get(sku);
        counter.is_some_and(|counter| counter.on_hand >= 3)
    }

    /// A counter is done at three.
    fn outcome(&self, state: &State, aggregate_id: &str) -> Option<Accepted> {
        let counter = state
            .counters
            .get(aggregate_id)
            .filter(|counter| counter.on_hand >= 3)?;
        Some(Accepted {
            aggregate_id: aggregate_id.to_owned(),
            version: counter.version,
            data: serde_json::Map::new(),
            earlier: vec![(Stream::Stock, counter.version)],
        })
    }
}

fn nothing() -> Decision {
    Decision {
        events: Vec::new(),
        messages: Vec::new(),
    }
}

pub(crate) fn answer(order_id: &OrderId, failure: Option<String>) -> Outgoing {
    Outgoing {
        partition: 0,
        message: Message::ReservationAnswer(ReservationAnswer {
            order_id: order_id.clone(),
            inventory_partition: 0,
            held: failure.is_none(),
            shortages: Vec::new(),
            failure,
        }),
    }
}
