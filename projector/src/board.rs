//! How every projection stands, for `GET /v1/projections`: those of this process by its own account,
//! and all of them by what the stores say.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
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
    /// Age in seconds of the oldest record that is not applied, at most.
    pub lag_seconds: Option<f64>,
    /// Keys that are parked.
    pub parked_keys: usize,
    /// Records that are parked.
    pub parked_records: usize,
    /// Why the position has not moved for long although the log has.
    pub stuck: Option<String>,
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
    /// Every projection that this process has to do with, whoever feeds it.
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
        }));
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

    /// Takes in what the stores say of a projection.
    pub(crate) fn learn(&self, overview: Overview) {
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
