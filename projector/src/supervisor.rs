//! Which versions this process feeds: follows what the stores say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cartwright_events::Timestamp;
use cartwright_read_model::control::Control;
use cartwright_read_model::tables::{OLDER, PROJECTIONS};
use cartwright_read_model::versions::{Run, Versions};
use cartwright_read_model::{Projection, ReadModelError, Store};
use cartwright_service::health::{Check, Readiness};
use cartwright_service::shutdown::Shutdown;
use metrics::gauge;

use crate::connect::Stores;
use crate::metric_names as names;
use crate::panics::caught;
use crate::plan::{Plan, UnknownProjection};
use crate::runner::Runner;
use crate::service::Refusal;
use crate::settings::Projector;
use crate::telling::Telling;

/// How long a store may take to say which versions there are.
const LOOK_LIMIT: Duration = Duration::from_secs(30);
/// How often it is seen whether to stop.
const STOP_EVERY: Duration = Duration::from_millis(20);

/// A thread that starts a [`Runner`] for every version that is live in one store, and stops those of
/// versions that no longer are.
pub(crate) struct Supervisor<S> {
    stores: Stores,
    home: Home,
    generation: u32,
    every: Duration,
    start: S,
    running: BTreeMap<(&'static str, u32), Runner>,
    /// Told to stop, not done yet.
    leaving: Vec<Runner>,
    refusal: Refusal,
    shutdown: Shutdown,
    telling: Telling,
}

/// One store, and the projections of this process that live in it.
struct Home {
    store: Store,
    projections: Vec<&'static str>,
    control: Option<Control>,
    check: Check,
    /// Projections whose versions this process has seen.
    seen: BTreeSet<&'static str>,
}

/// What one look at a projection's versions leads to.
enum Look {
    /// These are to be fed.
    Feed(Vec<(u32, &'static Projection)>),
    /// Somebody else has just written them; look again.
    Again,
    /// This code must not run.
    Refused(String),
    /// They were there before: the store was lost. What runs must not write into what comes in its
    /// place, since it knows positions that are no longer true.
    Lost,
}

/// Every declaration of a projection that this code has.
pub(crate) fn declarations(name: &str) -> Vec<&'static Projection> {
    let declared = PROJECTIONS.into_iter().chain(OLDER);
    declared.filter(|each| each.name == name).collect()
}

impl<S> Supervisor<S>
where
    S: Fn(Plan) -> std::io::Result<Runner> + Clone,
{
    /// One for each store that a projection of the settings lives in: what lives in one of them must not
    /// wait for the other.
    pub(crate) fn for_each_store(
        stores: &Stores,
        readiness: &Readiness,
        settings: &Projector,
        start: S,
        refusal: &Refusal,
        shutdown: &Shutdown,
        telling: &Telling,
    ) -> Result<Vec<Self>, UnknownProjection> {
        let generation = settings.log_generation;
        let mut projections: BTreeMap<Store, Vec<&'static str>> = BTreeMap::new();
        for name in &settings.projections {
            let projection = Plan::named(name, generation)?.projection;
            let of_store = projections.entry(projection.store).or_default();
            of_store.push(projection.name);
        }
        let supervisors = projections.into_iter().map(|(store, projections)| Self {
            stores: stores.clone(),
            home: Home {
                store,
                projections,
                control: None,
                check: readiness.check(format!("versions in {}", store.name())),
                seen: BTreeSet::new(),
            },
            generation,
            every: Duration::from_millis(settings.versions_poll_ms),
            start: start.clone(),
            running: BTreeMap::new(),
            leaving: Vec::new(),
            refusal: refusal.clone(),
            shutdown: shutdown.clone(),
            telling: telling.clone(),
        });
        Ok(supervisors.collect())
    }

    /// The store that it looks into.
    pub(crate) const fn store(&self) -> Store {
        self.home.store
    }

    /// Runs until `stop`; answers who had not stopped then.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> Vec<String> {
        while !stop.load(Ordering::Acquire) {
            if let Err(reason) = self.round(stop) {
                self.refusal.set(reason);
                self.shutdown.trigger();
                break;
            }
            let end = Instant::now() + self.every;
            while Instant::now() < end && !stop.load(Ordering::Acquire) {
                std::thread::sleep(STOP_EVERY);
            }
        }
        let running = std::mem::take(&mut self.running);
        self.leaving.extend(running.into_values());
        self.leaving.iter().for_each(Runner::stop);
        // The caller has a limit on how long it waits for this.
        let late = self.leaving.into_iter().filter_map(|runner| {
            let label = runner.label().to_owned();
            (!runner.join()).then_some(label)
        });
        let late = late.collect();
        if let Some(control) = &self.home.control {
            let leave = self.telling.leave(self.home.store, control);
            self.stores.runtime.block_on(leave);
        }
        late
    }

    /// Looks at every projection's versions once.
    fn round(&mut self, stop: &AtomicBool) -> Result<(), String> {
        let outcome = caught(|| self.look(stop)).unwrap_or_else(|panic| {
            self.home.tell(Some(format!(
                "looking at the versions has panicked: {panic}"
            )));
            Ok(())
        });
        self.part_with_the_ended();
        outcome
    }

    /// What was told of a version that runs again is its new runner's.
    fn part_with_the_ended(&mut self) {
        let ended = self.leaving.extract_if(.., |runner| runner.is_finished());
        for runner in ended {
            let mut running = self.running.values();
            if running.all(|again| again.label() != runner.label()) {
                // Again: it may have said something since.
                runner.withdraw();
            }
        }
    }

    /// A store that does not answer is waited for, until `stop`; what runs goes on meanwhile.
    fn look(&mut self, stop: &AtomicBool) -> Result<(), String> {
        let store = self.home.store;
        let looks = self.stores.runtime.block_on(async {
            let looks = looks(&self.stores, &mut self.home);
            tokio::select! {
                looks = tokio::time::timeout(LOOK_LIMIT, looks) => Some(looks),
                () = asked(stop) => None,
            }
        });
        let looks = match looks {
            None => return Ok(()),
            Some(Ok(Ok(looks))) => looks,
            Some(Ok(Err(error))) => {
                self.home.tell(Some(error.to_string()));
                return Ok(());
            }
            Some(Err(_)) => {
                self.stores.forget_connections(store);
                let (store, seconds) = (store.name(), LOOK_LIMIT.as_secs());
                let silent = format!("{store}: no answer in {seconds} s");
                self.home.tell(Some(silent));
                return Ok(());
            }
        };
        let mut lost = Vec::new();
        for (name, look) in looks {
            match look {
                Look::Refused(reason) => return Err(reason),
                Look::Again => {}
                Look::Feed(wanted) => {
                    self.home.seen.insert(name);
                    self.feed(name, &wanted)?;
                }
                Look::Lost => {
                    lost.push(name);
                    self.feed(name, &[])?;
                }
            }
        }
        if let Some(control) = &self.home.control {
            let round = self.telling.round(store, control);
            self.stores.runtime.block_on(round);
        }
        let lost = (!lost.is_empty()).then(|| lost.join(", "));
        self.home.tell(lost.map(|lost| {
            format!(
                "the versions of {lost} are gone: the store was lost, `replay restore` brings it back"
            )
        }));
        Ok(())
    }

    fn feed(
        &mut self,
        name: &'static str,
        wanted: &[(u32, &'static Projection)],
    ) -> Result<(), String> {
        let is_wanted = |number: u32| wanted.iter().any(|(each, _)| *each == number);
        let gone: Vec<(&str, u32)> = self
            .running
            .keys()
            .filter(|(of, number)| *of == name && !is_wanted(*number))
            .copied()
            .collect();
        for key in gone {
            if let Some(runner) = self.running.remove(&key) {
                tracing::info!(projection = runner.label(), "is no longer fed");
                runner.stop();
                runner.withdraw();
                self.leaving.push(runner);
            }
        }
        for (number, declared) in wanted {
            if self.running.contains_key(&(name, *number)) {
                continue;
            }
            let plan = Plan::of(declared, *number, self.generation);
            let plan = plan.map_err(|error| error.to_string())?;
            let runner = (self.start)(plan).map_err(|error| error.to_string())?;
            tracing::info!(projection = runner.label(), "is fed from now on");
            self.running.insert((name, *number), runner);
        }
        Ok(())
    }
}

impl Home {
    /// Tells whether it is known what is to be fed; `wrong`: why it is not.
    fn tell(&self, wrong: Option<String>) {
        let known = if wrong.is_none() { 1.0 } else { 0.0 };
        gauge!(names::VERSIONS_KNOWN, "store" => self.store.name()).set(known);
        match wrong {
            None => self.check.ok("known"),
            Some(wrong) => self.check.not_ok(wrong),
        }
    }
}

/// Ends when it is time to stop.
async fn asked(stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        tokio::time::sleep(STOP_EVERY).await;
    }
}

async fn looks(
    stores: &Stores,
    home: &mut Home,
) -> Result<Vec<(&'static str, Look)>, ReadModelError> {
    let control = match &home.control {
        Some(control) => control.clone(),
        None => {
            let control = stores.control(home.store).await?;
            home.control.insert(control).clone()
        }
    };
    let mut looks = Vec::with_capacity(home.projections.len());
    for name in &home.projections {
        let seen = home.seen.contains(name);
        looks.push((*name, look(&control, name, seen).await?));
    }
    Ok(looks)
}

async fn look(control: &Control, name: &'static str, seen: bool) -> Result<Look, ReadModelError> {
    let declared = declarations(name);
    let Some(versions) = control.versions(name).await? else {
        if seen {
            return Ok(Look::Lost);
        }
        let first = first(control, &declared).await?;
        return Ok(match first {
            Some(versions) if control.store_versions(name, &versions).await? => {
                look_from(&versions, name, &declared)
            }
            _ => Look::Again,
        });
    };
    Ok(look_from(&versions, name, &declared))
}

fn look_from(versions: &Versions, name: &str, declared: &[&'static Projection]) -> Look {
    let runs = match versions.runs(name, declared) {
        Ok(runs) => runs,
        Err(refused) => return Look::Refused(refused.to_string()),
    };
    let fed = runs.into_iter().filter_map(|(number, run)| match run {
        Run::Feed(declared) => Some((number, declared)),
        Run::Newer | Run::Rest => None,
    });
    Look::Feed(fed.collect())
}

/// The first revision of a projection's versions: the newest declaration, under a number that has no
/// position.
async fn first(
    control: &Control,
    declared: &[&'static Projection],
) -> Result<Option<Versions>, ReadModelError> {
    let Some(newest) = declared.iter().max_by_key(|each| each.version) else {
        return Ok(None);
    };
    let number = Versions::first_number(newest, control.positioned(newest).await?);
    Ok(Some(Versions::begin(newest, number, Timestamp::now())))
}

#[cfg(test)]
mod tests;
