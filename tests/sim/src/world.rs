//! The simulated world: one thread, one seed.

mod compaction;
mod queueing;
mod rest;
mod shopping;
mod weather;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cartwright_domain::{
    BoundedContext, Catalog, CatalogSettings, Checkout, CheckoutSettings, Inventory,
    InventorySettings,
};
use cartwright_event_log::memory::MemoryLog;
use cartwright_event_log::{Record, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_events::{Context, Event, Stream};
use cartwright_projector::Plan;
use cartwright_read_model::{PROJECTIONS, Store};
use cartwright_shard::ShardOptions;

use crate::Weather;
use crate::bug::Bug;
use crate::log::SimLog;
use crate::network::Network;
use crate::node::Node;
use crate::prices::PriceTable;
use crate::projector::Projector;
use crate::replay::Replay;
use crate::shopper::Shopper;
use crate::sim::Sim;
use crate::stock::SimInventory;
use crate::store::SimStore;
use queueing::Edge;
pub(crate) use queueing::Queued;
use weather::FAULTS;

/// Partitions of every context.
pub(crate) const PARTITIONS: u32 = 2;
/// Processes that share a projection's partitions.
const MEMBERS: usize = 2;
/// Steps after which a run that has not come to rest is stuck.
const MOST_STEPS: u64 = 30_000;
/// Results that a forgetful shard remembers, at most.
const FEW_RESULTS: usize = 20;

pub(crate) struct World {
    pub(crate) log: MemoryLog,
    pub(crate) codec: Codec,
    pub(crate) sim: Sim,
    pub(crate) shoppers: Vec<Shopper>,
    /// Which idempotency key every command id came with.
    pub(crate) keys: BTreeMap<String, String>,
    /// By command id, what the edge was asked to put into inboxes.
    pub(crate) queued: BTreeMap<String, Queued>,
    pub(crate) stores: BTreeMap<Store, SimStore>,
    pub(crate) replay: Replay,
    /// Results that a shard remembers.
    pub(crate) results_kept: usize,
    weather: Weather,
    prices: Arc<PriceTable>,
    network: Network,
    edge: Edge,
    catalog: Vec<Node<Catalog>>,
    inventory: Vec<Node<SimInventory>>,
    checkout: Vec<Node<Checkout>>,
    projectors: Vec<Projector>,
    /// The log as projectors and builders read it.
    following: SimLog,
    /// Requests of the operator so far.
    asked: u64,
    read: RefCell<Read>,
}

/// What the log holds when the run is over, read once for all that ask.
#[derive(Default)]
struct Read {
    records: BTreeMap<&'static str, Rc<Vec<Record>>>,
    events: BTreeMap<&'static str, Rc<Events>>,
}

/// Records of a stream, and what they say.
pub(crate) type Events = Vec<(Record, Event)>;

impl World {
    pub(crate) fn new(seed: u64, weather: Weather) -> Result<Self, String> {
        let log = MemoryLog::new();
        for context in Context::ALL {
            for topic in topics(context) {
                log.create_topic(topic, PARTITIONS);
            }
        }
        let sim = Sim::new(seed, weather, log.now_us());
        if weather.bug == Some(Bug::TrustOkAfterDisconnect)
            || weather.bug == Some(Bug::SkipTheFence)
        {
            log.insist_on_take_over(false);
        }
        let seen = SimLog {
            model: log.clone(),
            sim: sim.clone(),
            misreads: false,
            builds: false,
        };
        let prices = Arc::new(PriceTable::default());
        let stores: BTreeMap<Store, SimStore> = Store::ALL
            .into_iter()
            .map(|store| (store, SimStore::new(store)))
            .collect();
        let settings = CheckoutSettings {
            inventory_partitions: PARTITIONS,
            ..CheckoutSettings::default()
        };
        let results_kept = results_kept(&sim, &weather);
        let shoppers = std::iter::once(Shopper::owner())
            .chain((0..weather.shoppers).map(|number| Shopper::new(number, &mut sim.lock().rng)))
            .collect();
        let following = following(&seen, &weather);
        Ok(Self {
            replay: Replay::new(&following, &stores),
            catalog: nodes(
                &Catalog {
                    settings: CatalogSettings::default(),
                },
                &seen,
                results_kept,
            ),
            inventory: nodes(&inventory(weather.bug), &seen, results_kept),
            checkout: nodes(
                &Checkout::new(settings, Arc::clone(&prices) as _),
                &seen,
                results_kept,
            ),
            results_kept,
            projectors: projectors(&following, &stores)?,
            log,
            codec: Codec::fixed(),
            shoppers,
            keys: BTreeMap::new(),
            stores,
            weather,
            prices,
            network: Network::default(),
            edge: Edge::new(&seen),
            queued: BTreeMap::new(),
            asked: 0,
            read: RefCell::default(),
            following,
            sim,
        })
    }

    /// Runs until every shopper has gone home and every timer has fired.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for step in 0..MOST_STEPS {
            self.sim.at_step(step);
            if self.shoppers.iter().all(Shopper::is_done) {
                self.sim.trace("all shoppers are done");
                return self.come_to_rest();
            }
            self.step()?;
            self.sim.check()?;
            self.prices.follow(&self.log, &self.codec)?;
        }
        Err(format!("shoppers still wait after {MOST_STEPS} steps"))
    }

    fn step(&mut self) -> Result<(), String> {
        if self.sim.strikes(self.weather.faults_per_mille) {
            self.go_wrong();
            return Ok(());
        }
        match self.sim.below(100) {
            0..10 => {
                let millis = self.sim.between(0..2_000);
                self.pass(millis);
            }
            10..25 => self.shop()?,
            25..45 => self.deliver(),
            45..75 => drop(self.act()?),
            75..78 => self.act_late()?,
            78..80 => drop(self.land_a_late_write()),
            80 => self.operate(),
            81..84 => self.look_after_versions()?,
            _ => {
                let index = self.sim.below(self.projectors.len());
                self.projectors[index].act()?;
            }
        }
        Ok(())
    }

    /// An operator mends a projector that parks what it misreads, now and then, and asks for what it
    /// has parked, mended or not.
    fn operate(&mut self) {
        let index = self.sim.below(self.projectors.len());
        let projector = &mut self.projectors[index];
        if projector.misreads() && self.sim.below(4) == 0 {
            self.sim.count("projector mended that had parked records");
            projector.mend();
        }
        self.asked += 1;
        projector.ask_for_what_is_parked(self.asked);
    }

    /// Something is done about versions, and projectors look now and then which ones to feed.
    fn look_after_versions(&mut self) -> Result<(), String> {
        self.replay.act()?;
        if self.sim.below(3) == 0 {
            self.feed_versions()?;
        }
        Ok(())
    }

    /// Projectors begin to feed what is live, and leave what is not.
    fn feed_versions(&mut self) -> Result<(), String> {
        let fed = self.replay.plans_to_feed()?;
        let name = self.replay.projection.name;
        self.projectors.retain(|projector| {
            let version = projector.plan.version;
            projector.plan.projection.name != name || fed.iter().any(|plan| plan.version == version)
        });
        let runs = |plan: &Plan, projectors: &[Projector]| {
            let label = plan.label();
            projectors.iter().any(|each| each.plan.label() == label)
        };
        for plan in fed {
            if !runs(&plan, &self.projectors) {
                let store = &self.stores[&plan.projection.store];
                let member = || Projector::new(plan, &self.following, store);
                self.projectors.extend((0..MEMBERS).map(|_| member()));
            }
        }
        Ok(())
    }

    fn pass(&mut self, millis: i64) {
        self.sim.advance_millis(millis);
        let millis = u64::try_from(millis).unwrap_or_default();
        self.log.advance(Duration::from_millis(millis));
    }

    fn act(&mut self) -> Result<bool, String> {
        let partition = self.sim.below(PARTITIONS as usize);
        let most = 1 + self.sim.below(5);
        match self.sim.below(3) {
            0 => self.catalog[partition].act(most),
            1 => self.inventory[partition].act(most),
            _ => self.checkout[partition].act(most),
        }
    }

    fn act_late(&mut self) -> Result<(), String> {
        let partition = self.sim.below(PARTITIONS as usize);
        self.catalog[partition].act_late()?;
        self.inventory[partition].act_late()?;
        self.checkout[partition].act_late()
    }

    fn land_a_late_write(&mut self) -> bool {
        let Self { stores, sim, .. } = self;
        // Each store has its own.
        let landed: Vec<bool> = stores.values().map(|store| store.land(sim)).collect();
        landed.contains(&true)
    }

    /// Every committed event of a stream, partition by partition, when the run is over.
    pub(crate) fn events(&self, stream: Stream) -> Result<Rc<Events>, String> {
        if let Some(read) = self.read.borrow().events.get(stream.topic()) {
            return Ok(Rc::clone(read));
        }
        let mut events = Vec::new();
        for record in self.records(stream.topic())?.iter() {
            let value = record.value.as_deref().unwrap_or_default();
            let event = self.codec.decode_event(stream, value);
            events.push((record.clone(), event.map_err(|error| error.to_string())?));
        }
        let events = Rc::new(events);
        let mut read = self.read.borrow_mut();
        read.events.insert(stream.topic(), Rc::clone(&events));
        Ok(events)
    }

    /// Every committed record of a topic, partition by partition, when the run is over.
    pub(crate) fn records(&self, topic: &'static str) -> Result<Rc<Vec<Record>>, String> {
        if let Some(read) = self.read.borrow().records.get(topic) {
            return Ok(Rc::clone(read));
        }
        let mut records = Vec::new();
        for partition in 0..PARTITIONS {
            let at = TopicPartition::new(topic, partition);
            records.extend(self.log.committed(&at).map_err(|error| error.to_string())?);
        }
        let records = Rc::new(records);
        let mut read = self.read.borrow_mut();
        read.records.insert(topic, Rc::clone(&records));
        Ok(records)
    }

    /// Whether shards forget results in the course of the run.
    pub(crate) fn forgets(&self) -> bool {
        self.results_kept <= FEW_RESULTS
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.shoppers
            .iter()
            .map(|shopper| shopper.answered.len() as u64)
            .sum()
    }

    /// What went wrong, by kind.
    pub(crate) fn faults(&self) -> BTreeMap<&'static str, u64> {
        let mut faults = self.sim.faults();
        for (fault, name) in FAULTS {
            *faults.entry(name).or_default() += self.log.fired(&fault);
        }
        let refused = self.log.delayed_requests().refused;
        *faults.entry("delayed request refused").or_default() += refused;
        faults.retain(|_, count| *count > 0);
        faults
    }
}

/// Every topic of a context.
pub(crate) fn topics(context: Context) -> impl Iterator<Item = &'static str> {
    let streams = context.streams().iter().map(|stream| stream.topic());
    streams.chain([
        context.inbox_topic(),
        context.journal_topic(),
        context.snapshots_topic(),
    ])
}

fn inventory(bug: Option<Bug>) -> SimInventory {
    let settings = InventorySettings {
        inventory_partitions: PARTITIONS,
        checkout_partitions: PARTITIONS,
    };
    SimInventory {
        inner: Inventory { settings },
        bug,
    }
}

/// The log as projectors read it: in some runs wrongly, which is a fault of their code, and which a
/// run in fair weather does not have.
fn following(log: &SimLog, weather: &Weather) -> SimLog {
    SimLog {
        misreads: weather.faults_per_mille > 0 && log.sim.below(2) == 0,
        ..log.clone()
    }
}

fn projectors(log: &SimLog, stores: &BTreeMap<Store, SimStore>) -> Result<Vec<Projector>, String> {
    let mut projectors = Vec::new();
    for projection in PROJECTIONS {
        let plan = Plan::named(projection.name, 1).map_err(|error| error.to_string())?;
        let store = &stores[&projection.store];
        projectors.extend((0..MEMBERS).map(|_| Projector::new(plan, log, store)));
    }
    Ok(projectors)
}

/// In a third of the runs so few that keys are forgotten which come again, though never in fair weather.
fn results_kept(sim: &Sim, weather: &Weather) -> usize {
    match weather.faults_per_mille > 0 && sim.below(3) == 0 {
        true => 4 + sim.below(FEW_RESULTS - 3),
        false => ShardOptions::default().results_kept,
    }
}

fn nodes<B: BoundedContext + Clone>(
    context: &B,
    log: &SimLog,
    results_kept: usize,
) -> Vec<Node<B>> {
    (0..PARTITIONS)
        .map(|partition| Node::new(context.clone(), partition, log, results_kept))
        .collect()
}
