//! The simulated world: one thread, one seed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use cartwright_domain::{
    BoundedContext, Catalog, CatalogSettings, Checkout, CheckoutSettings, Inventory,
    InventorySettings, PricedProduct, Prices,
};
use cartwright_event_log::memory::{Fault, MemoryLog};
use cartwright_event_log::{Record, TopicPartition};
use cartwright_events::catalog::ProductEvent;
use cartwright_events::codec::Codec;
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, EventBody, Sku, Stream, Timestamp};
use cartwright_shard::{IdempotencyKey, ManualClock, Submission};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;

use crate::Weather;
use crate::node::Node;
use crate::shopper::{Command, Shopper, Wish};

/// Partitions of every context.
pub(crate) const PARTITIONS: u32 = 2;
/// Steps after which a run that has not come to rest is stuck.
const MOST_STEPS: u64 = 60_000;

/// Faults that a correct shard survives. (An unnoticed stale end of a transaction is not among
/// them: a shard can only find it and refuse, which its own tests show.)
const FAULTS: [Fault; 9] = [
    Fault::FailNextCommit,
    Fault::UnknownCommit { committed: true },
    Fault::UnknownCommit { committed: false },
    Fault::FenceNext,
    Fault::StaleEndTxn { noticed: true },
    Fault::DeliveryFailure,
    Fault::LateProduce,
    Fault::SlowCommit,
    Fault::TakeOverError,
];

/// The price table, folded from the catalog's events as the process does.
#[derive(Default)]
struct PriceTable(Mutex<HashMap<Sku, PricedProduct>>);

impl Prices for PriceTable {
    fn product(&self, sku: &Sku) -> Option<PricedProduct> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(sku)
            .cloned()
    }
}

pub(crate) struct World {
    pub(crate) log: MemoryLog,
    pub(crate) codec: Codec,
    pub(crate) shoppers: Vec<Shopper>,
    pub(crate) crashes: u64,
    rng: SmallRng,
    weather: Weather,
    clock: Arc<ManualClock>,
    prices: Arc<PriceTable>,
    catalog: Vec<Node<Catalog>>,
    inventory: Vec<Node<Inventory>>,
    checkout: Vec<Node<Checkout>>,
    commands: u64,
}

impl World {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let log = MemoryLog::new();
        for context in Context::ALL {
            let topics = context.streams().iter().map(|stream| stream.topic());
            for topic in topics.chain([
                context.inbox_topic(),
                context.journal_topic(),
                context.snapshots_topic(),
            ]) {
                log.create_topic(topic, PARTITIONS);
            }
        }
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(log.now_us())));
        let prices = Arc::new(PriceTable::default());
        let catalog = Catalog {
            settings: CatalogSettings::default(),
        };
        let settings = InventorySettings {
            inventory_partitions: PARTITIONS,
            checkout_partitions: PARTITIONS,
        };
        let inventory = Inventory { settings };
        let settings = CheckoutSettings {
            inventory_partitions: PARTITIONS,
            ..CheckoutSettings::default()
        };
        let checkout = Checkout::new(settings, Arc::clone(&prices) as _);
        let shoppers = std::iter::once(Shopper::owner())
            .chain((0..weather.shoppers).map(|number| Shopper::new(number, &mut rng)))
            .collect();
        Self {
            catalog: nodes(&catalog, &log, &clock),
            inventory: nodes(&inventory, &log, &clock),
            checkout: nodes(&checkout, &log, &clock),
            log,
            codec: Codec::fixed(),
            shoppers,
            crashes: 0,
            rng,
            weather,
            clock,
            prices,
            commands: 0,
        }
    }

    /// Runs until every shopper has gone home and every timer has fired.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for step in 0..MOST_STEPS {
            if self.shoppers.iter().all(Shopper::is_done) {
                self.trace(step, "all shoppers are done");
                return self.come_to_rest();
            }
            self.step(step)?;
        }
        Err(format!("shoppers still wait after {MOST_STEPS} steps"))
    }

    fn step(&mut self, step: u64) -> Result<(), String> {
        let dice = self.rng.random_range(0..1000);
        let (faults, crashes) = (
            self.weather.faults_per_mille,
            self.weather.crashes_per_mille,
        );
        if dice < faults {
            let fault = FAULTS[self.rng.random_range(0..FAULTS.len())];
            self.trace(step, &format!("inject {fault:?}"));
            self.log.inject(fault);
        } else if dice < faults + crashes {
            self.crash(step);
        } else if dice < 200 {
            let millis = self.rng.random_range(-200..2_000);
            self.clock.advance_millis(millis);
            self.log.advance(std::time::Duration::from_millis(
                u64::try_from(millis).unwrap_or(0),
            ));
        } else if dice < 500 {
            // The owner opens the shop before anybody comes.
            let who = if self.shoppers[0].is_done() {
                self.rng.random_range(0..self.shoppers.len())
            } else {
                0
            };
            self.shop(step, who)?;
        } else {
            self.act()?;
        }
        self.fold_prices()
    }

    fn act(&mut self) -> Result<bool, String> {
        let partition = self.rng.random_range(0..PARTITIONS as usize);
        let most = self.rng.random_range(1..6);
        match self.rng.random_range(0..3) {
            0 => self.catalog[partition].act(most),
            1 => self.inventory[partition].act(most),
            _ => self.checkout[partition].act(most),
        }
    }

    fn crash(&mut self, step: u64) {
        self.crashes += 1;
        let partition = self.rng.random_range(0..PARTITIONS as usize);
        let context = self.rng.random_range(0..3);
        self.trace(
            step,
            &format!("crash {}[{partition}]", Context::ALL[context].name()),
        );
        match context {
            0 => self.catalog[partition].crash(),
            1 => self.inventory[partition].crash(),
            _ => self.checkout[partition].crash(),
        }
    }

    fn shop(&mut self, step: u64, who: usize) -> Result<(), String> {
        let Wish::Send(key, command) = self.shoppers[who].next()? else {
            return Ok(());
        };
        self.trace(step, &format!("send {key}"));
        // Now and then a request arrives twice.
        let copies = if self.rng.random_bool(0.15) { 2 } else { 1 };
        for _ in 0..copies {
            let reply = self.submit(&key, &command);
            self.shoppers[who].expect(reply);
        }
        Ok(())
    }

    fn submit(
        &mut self,
        key: &str,
        command: &Command,
    ) -> oneshot::Receiver<cartwright_shard::Reply> {
        self.commands += 1;
        let (command_id, now) = (
            format!("command-{}", self.commands),
            Timestamp::from_micros(self.log.now_us()),
        );
        match command {
            Command::Catalog(command) => post(&mut self.catalog, command, key, command_id, now),
            Command::Inventory(command) => post(&mut self.inventory, command, key, command_id, now),
            Command::Checkout(command) => post(&mut self.checkout, command, key, command_id, now),
        }
    }

    /// No more faults: everything that is under way ends, and every deadline passes.
    fn come_to_rest(&mut self) -> Result<(), String> {
        self.log.clear_faults();
        for _ in 0..MOST_STEPS {
            let mut busy = false;
            for partition in 0..PARTITIONS as usize {
                busy |= self.catalog[partition].act(usize::MAX)?;
                busy |= self.inventory[partition].act(usize::MAX)?;
                busy |= self.checkout[partition].act(usize::MAX)?;
            }
            if busy {
                continue;
            }
            let due = self.checkout.iter().filter_map(Node::next_due).min();
            let now = cartwright_shard::Clock::now(self.clock.as_ref());
            match due {
                // A keep-alive is due a day after the last transaction: nothing else is left.
                Some(due) if due.as_micros() - now.as_micros() < 23 * 3_600_000_000 => {
                    let millis = (due.as_micros() - now.as_micros()) / 1000 + 1;
                    self.clock.advance_millis(millis);
                }
                _ => return Ok(()),
            }
        }
        Err("the shards do not come to rest".to_owned())
    }

    fn fold_prices(&self) -> Result<(), String> {
        for (record, event) in self.events(Stream::Product)? {
            let sku = Sku::new(event.aggregate_id).map_err(|error| error.to_string())?;
            let mut table = self.prices.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let EventBody::Product(ProductEvent::Created(created)) = event.body {
                table.entry(sku).or_insert(PricedProduct {
                    name: created.name,
                    price_minor: created.price_minor,
                    currency: created.currency,
                    catalog_seq: record.offset,
                    retired: false,
                });
            }
        }
        Ok(())
    }

    /// Every committed event of a stream, partition by partition.
    pub(crate) fn events(
        &self,
        stream: Stream,
    ) -> Result<Vec<(Record, cartwright_events::Event)>, String> {
        let mut events = Vec::new();
        for record in self.records(stream.topic())? {
            let value = record.value.as_deref().unwrap_or_default();
            let event = self
                .codec
                .decode_event(stream, value)
                .map_err(|error| error.to_string())?;
            events.push((record, event));
        }
        Ok(events)
    }

    /// Every committed record of a topic, partition by partition.
    pub(crate) fn records(&self, topic: &str) -> Result<Vec<Record>, String> {
        let mut records = Vec::new();
        for partition in 0..PARTITIONS {
            let at = TopicPartition::new(topic, partition);
            records.extend(self.log.committed(&at).map_err(|error| error.to_string())?);
        }
        Ok(records)
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.shoppers
            .iter()
            .map(|shopper| shopper.answered.len() as u64)
            .sum()
    }

    pub(crate) fn faults(&self) -> u64 {
        FAULTS.iter().map(|fault| self.log.fired(fault)).sum()
    }

    /// Digest of the whole log.
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for context in Context::ALL {
            let topics = context.streams().iter().map(|stream| stream.topic());
            for topic in topics.chain([context.inbox_topic(), context.journal_topic()]) {
                for record in self.records(topic).unwrap_or_default() {
                    (
                        topic,
                        record.partition,
                        record.offset,
                        record.key,
                        record.value,
                    )
                        .hash(&mut hasher);
                }
            }
        }
        hasher.finish()
    }

    fn trace(&self, step: u64, what: &str) {
        if self.weather.trace {
            println!("{step:>6}  {what}");
        }
    }
}

fn nodes<B: BoundedContext + Clone>(
    context: &B,
    log: &MemoryLog,
    clock: &Arc<ManualClock>,
) -> Vec<Node<B>> {
    (0..PARTITIONS)
        .map(|partition| Node::new(context.clone(), partition, log, clock))
        .collect()
}

fn post<B: BoundedContext + Clone>(
    nodes: &mut [Node<B>],
    command: &B::Command,
    key: &str,
    command_id: String,
    now: Timestamp,
) -> oneshot::Receiver<cartwright_shard::Reply>
where
    B::Command: Clone,
{
    let (reply, receiver) = oneshot::channel();
    let partition = partition_of(B::key(command), PARTITIONS) as usize;
    nodes[partition].submit(Submission {
        command: command.clone(),
        correlation_id: command_id.clone(),
        command_id,
        traceparent: None,
        idempotency: Some(IdempotencyKey {
            key: key.to_owned(),
            fingerprint: key.to_owned(),
        }),
        expected_version: None,
        deadline: now.plus_millis(60_000),
        reply,
    });
    receiver
}
