//! How every projection of this process stands, for `GET /v1/projections`.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use cartwright_events::Timestamp;
use cartwright_read_model::Position;
use serde::Serialize;

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
pub struct Board(Arc<RwLock<BTreeMap<(&'static str, u32), ProjectionState>>>);

#[derive(Debug, Serialize)]
struct Listed {
    projections: Vec<ProjectionState>,
}

impl Board {
    /// Changes the state of the projection that `plan` builds; makes it first where there is none.
    pub(crate) fn change(&self, plan: &Plan, change: impl FnOnce(&mut ProjectionState)) {
        let mut states = self.0.write().unwrap_or_else(PoisonError::into_inner);
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
        let mut states = self.0.write().unwrap_or_else(PoisonError::into_inner);
        states.remove(&(projection, version));
    }

    /// Every projection, by name and version.
    #[must_use]
    pub fn states(&self) -> Vec<ProjectionState> {
        let states = self.0.read().unwrap_or_else(PoisonError::into_inner);
        states.values().cloned().collect()
    }

    /// `GET /v1/projections`.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/v1/projections", get(list))
            .with_state(self.clone())
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
    })
}
