//! How every projection stands, for `GET /v1/projections`: those of this process by its own account,
//! and all of them by what the stores say.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cartwright_event_log::TopicPartition;
use cartwright_events::Timestamp;
use cartwright_read_model::Position;
use cartwright_service::problem::Problem;
use serde::Serialize;

use crate::overview::Overview;
use crate::plan::Plan;

/// What a projection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Joins its group, or makes its tables.
    Starting,
    /// Follows the log.
    Following,
    /// Waits for a store, the registry or the log.
    Waiting,
    /// Has too much parked, and takes no more.
    Held,
    /// Has met a defect of this program; it is begun anew.
    Failed,
    /// Has stopped until somebody acts.
    Stopped,
}

/// A projection, as this process builds it.
#[derive(Debug, Clone, Serialize)]
pub struct ProjectionState {
    /// Its name.
    pub projection: &'static str,
    /// The version.
    pub version: u32,
    /// The store.
    pub store: &'static str,
    /// The consumer group that shares its partitions out.
    pub group: String,
    /// What it is doing.
    pub phase: Phase,
    /// Why it is not following.
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// The last thing that kept it from following, whether it has passed or not.
    pub last_error: Option<String>,
    /// Records applied since the process started.
    pub records: u64,
    /// The partitions that are this process's.
    pub partitions: Vec<PartitionState>,
    /// Partitions that were this process's, until another says that it feeds them: nobody else may
    /// know that they fall behind.
    pub let_go: Vec<LetGo>,
}

/// A partition that is this process's no longer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LetGo {
    /// Since when it is not.
    pub let_go_at: Timestamp,
    /// How it stood then; the lag grows on.
    #[serde(flatten)]
    pub last: PartitionState,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartitionState {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// What has been applied; `None` before the first batch.
    pub position: Option<Position>,
    /// Offsets not yet read, control records included; `None` when the log could not be asked.
    pub behind: Option<u64>,
    /// Age in seconds of the oldest record that is not applied, at most; of a partition whose position
    /// its store has not told yet, for how long it has not.
    pub lag_seconds: f64,
    /// Keys that are parked.
    pub parked_keys: usize,
    /// Records that are parked.
    pub parked_records: usize,
    /// Why the position has not moved for long although the log has.
    pub stuck: Option<String>,
    /// The moment that the lag is counted from.
    #[serde(skip)]
    pub(crate) unapplied_since: Timestamp,
}

/// The states; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    states: RwLock<BTreeMap<(&'static str, u32), ProjectionState>>,
    overviews: RwLock<BTreeMap<&'static str, Overview>>,
}

#[derive(Debug, Serialize)]
struct Listed {
    /// What this process feeds.
    projections: Vec<ProjectionState>,
    /// Every projection of the stores that this process feeds, whoever feeds it.
    overviews: Vec<Overview>,
}

impl Board {
    /// Changes the state of the projection that `plan` builds; makes it first where there is none.
    pub(crate) fn change(&self, plan: &Plan, change: impl FnOnce(&mut ProjectionState)) {
        let mut states = self
            .0
            .states
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (plan.projection.name, plan.version);
        change(states.entry(key).or_insert_with(|| ProjectionState {
            projection: plan.projection.name,
            version: plan.version,
            store: plan.projection.store.name(),
            group: plan.group(),
            phase: Phase::Starting,
            reason: None,
            since: Timestamp::now(),
            last_error: None,
            records: 0,
            partitions: Vec::new(),
            let_go: Vec::new(),
        }));
    }

    /// How this process last saw a partition that is or was its own.
    pub(crate) fn last(&self, plan: &Plan, at: &TopicPartition) -> Option<PartitionState> {
        let states = self.0.states.read().unwrap_or_else(PoisonError::into_inner);
        let state = states.get(&(plan.projection.name, plan.version))?;
        let mut all = state.all_partitions();
        all.find(|each| each.is(&at.topic, at.partition)).cloned()
    }

    /// Forgets a projection that this process builds no longer.
    pub fn forget(&self, projection: &'static str, version: u32) {
        let mut states = self
            .0
            .states
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        states.remove(&(projection, version));
    }

    /// Every projection, by name and version.
    #[must_use]
    pub fn states(&self) -> Vec<ProjectionState> {
        let states = self.0.states.read().unwrap_or_else(PoisonError::into_inner);
        states.values().cloned().collect()
    }

    /// Takes in what the stores say of a projection; `instance` is how this process is called there.
    pub(crate) fn learn(&self, overview: Overview, instance: &str) {
        let mut states = self
            .0
            .states
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for version in &overview.versions {
            if let Some(state) = states.get_mut(&(overview.projection, version.version)) {
                let others = version.partitions.iter().filter_map(|each| {
                    let owner = each.owner.as_ref()?;
                    (owner.instance != instance).then_some((each, owner.seen_at))
                });
                for (partition, said_at) in others {
                    state.is_fed_by_another(&partition.topic, partition.partition, said_at);
                }
            }
        }
        drop(states);
        let overviews = self.0.overviews.write();
        let mut overviews = overviews.unwrap_or_else(PoisonError::into_inner);
        overviews.insert(overview.projection, overview);
    }

    /// What the stores said of every projection, by name.
    #[must_use]
    pub fn overviews(&self) -> Vec<Overview> {
        let overviews = self.0.overviews.read();
        let overviews = overviews.unwrap_or_else(PoisonError::into_inner);
        overviews.values().cloned().collect()
    }

    /// `GET /v1/projections` and `GET /v1/projections/{name}`.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/v1/projections", get(list))
            .route("/v1/projections/{name}", get(one))
            .with_state(self.clone())
    }
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Following => "following",
            Phase::Waiting => "waiting",
            Phase::Held => "held",
            Phase::Failed => "failed",
            Phase::Stopped => "stopped",
        }
    }
}

impl ProjectionState {
    /// Says what it is doing now.
    pub(crate) fn enter(&mut self, phase: Phase, reason: Option<String>) {
        if self.phase != phase {
            self.since = Timestamp::now();
        }
        self.phase = phase;
        if reason.is_some() {
            self.last_error.clone_from(&reason);
        }
        self.reason = reason;
    }

    /// Takes in how the partitions stand at `now` that are this process's, all of them. Others that
    /// were are kept as let go, and are stuck when that lasts for `stuck_after`.
    pub(crate) fn tell(&mut self, own: Vec<PartitionState>, now: Timestamp, stuck_after: Duration) {
        let before = std::mem::replace(&mut self.partitions, own);
        let gone = before.into_iter().map(|last| LetGo {
            let_go_at: now,
            last,
        });
        self.let_go.extend(gone);
        let own = &self.partitions;
        let is_own = |of: &PartitionState| own.iter().any(|each| each.is(&of.topic, of.partition));
        self.let_go.retain(|each| !is_own(&each.last));
        let reason = self
            .reason
            .as_deref()
            .unwrap_or("no process says that it does");
        for each in &mut self.let_go {
            each.look(now, stuck_after, reason);
        }
    }

    /// Another process has said, at `said_at`, that it feeds a partition.
    fn is_fed_by_another(&mut self, topic: &str, partition: u32, said_at: Timestamp) {
        self.let_go
            .retain(|each| !each.last.is(topic, partition) || each.let_go_at >= said_at);
    }

    /// Those that are this process's, and those that it has let go.
    pub(crate) fn all_partitions(&self) -> impl Iterator<Item = &PartitionState> {
        let let_go = self.let_go.iter().map(|each| &each.last);
        self.partitions.iter().chain(let_go)
    }
}

impl LetGo {
    fn look(&mut self, now: Timestamp, stuck_after: Duration, reason: &str) {
        let last = &mut self.last;
        // Only who reads it knows.
        last.behind = None;
        last.lag_seconds = seconds_since(last.unapplied_since, now);
        let seconds = seconds_since(self.let_go_at, now);
        let (topic, partition) = (&last.topic, last.partition);
        last.stuck = (seconds >= stuck_after.as_secs_f64())
            .then(|| format!("{topic}[{partition}] has not been fed for {seconds:.0} s: {reason}"));
    }
}

impl PartitionState {
    fn is(&self, topic: &str, partition: u32) -> bool {
        (self.topic.as_str(), self.partition) == (topic, partition)
    }
}

/// How a process's partitions stand, in a line.
pub(crate) fn summary(partitions: &[PartitionState]) -> String {
    if partitions.is_empty() {
        return "no partition is assigned to this process".to_owned();
    }
    let behind: u64 = partitions.iter().filter_map(|each| each.behind).sum();
    let lags = partitions.iter().map(|each| each.lag_seconds);
    let lag = lags.fold(0.0, f64::max);
    let keys: usize = partitions.iter().map(|each| each.parked_keys).sum();
    let records: usize = partitions.iter().map(|each| each.parked_records).sum();
    let count = partitions.len();
    format!(
        "{count} partitions, {behind} offsets and {lag:.1} s behind, \
         {keys} keys with {records} records parked"
    )
}

/// Seconds from `since` to `now`; 0 where clocks differ so that it would be less.
pub(crate) fn seconds_since(since: Timestamp, now: Timestamp) -> f64 {
    (now.as_micros() - since.as_micros()).max(0) as f64 / 1e6
}

async fn list(State(board): State<Board>) -> Json<Listed> {
    Json(Listed {
        projections: board.states(),
        overviews: board.overviews(),
    })
}

async fn one(State(board): State<Board>, Path(name): Path<String>) -> Response {
    let mut overviews = board.overviews().into_iter();
    match overviews.find(|each| each.projection == name) {
        Some(overview) => Json(overview).into_response(),
        None => Problem::not_found(
            "projection_not_found",
            format!("This process knows of no projection {name:?}"),
        )
        .into_response(),
    }
}
