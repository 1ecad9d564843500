//! `/livez`, `/readyz` and `/metrics`.
//!
//! * `/livez` is 200 as long as the process answers.
//! * `/readyz` is 200 when every check is ok and the service is not draining, 503 otherwise; with
//!   `?verbose` the answer is a [`Report`] as JSON that says which check is not, why, and for how
//!   long.
//! * `/metrics` is the Prometheus text format.
//!
//! None of them counts towards the limit on requests in flight: an overloaded service is still
//! alive and still observed.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::extract::Json;
use crate::metrics::Metrics;

/// Whether the service should get requests: named checks, which its parts keep up to date, and
/// whether it is draining. A cheap handle; clones share the state. With no check registered it is
/// ready.
#[derive(Clone, Default)]
pub struct Readiness(Arc<RwLock<Checks>>);

#[derive(Default)]
struct Checks {
    by_name: BTreeMap<String, CheckState>,
    draining: bool,
}

struct CheckState {
    ok: bool,
    detail: String,
    since: Instant,
}

impl Readiness {
    /// No checks, not draining.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a check, not ok with the detail `starting` until its owner says otherwise. A
    /// name that is registered already gives another handle to the same check.
    #[must_use]
    pub fn check(&self, name: impl Into<String>) -> Check {
        let name = name.into();
        self.write(|checks| {
            let state = checks.by_name.entry(name.clone());
            state.or_insert_with(|| CheckState {
                ok: false,
                detail: "starting".to_owned(),
                since: Instant::now(),
            });
        });
        Check {
            readiness: self.clone(),
            name,
        }
    }

    /// Withdraws readiness for good: the service is stopping.
    pub fn drain(&self) {
        self.write(|checks| checks.draining = true);
    }

    /// Whether every check is ok and the service is not draining.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.report().ready
    }

    /// The state of every check, by name.
    #[must_use]
    pub fn report(&self) -> Report {
        let checks = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Report {
            ready: !checks.draining && checks.by_name.values().all(|state| state.ok),
            draining: checks.draining,
            checks: checks
                .by_name
                .iter()
                .map(|(name, state)| CheckReport {
                    name: name.clone(),
                    ok: state.ok,
                    detail: state.detail.clone(),
                    for_s: state.since.elapsed().as_secs(),
                })
                .collect(),
        }
    }

    fn write<R>(&self, change: impl FnOnce(&mut Checks) -> R) -> R {
        // Every change is one assignment, so a panic elsewhere cannot have left it half done.
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A handle to one named check. Dropping it leaves the check as it was.
#[derive(Clone)]
pub struct Check {
    readiness: Readiness,
    name: String,
}

impl Check {
    /// Sets the state, with a detail for people, such as `connected` or `partition 3: recovering`.
    /// A change of state is logged.
    pub fn set(&self, ok: bool, detail: impl Into<String>) {
        let detail = detail.into();
        let changed = self.readiness.write(|checks| {
            let state = checks.by_name.get_mut(&self.name)?;
            let changed = state.ok != ok;
            if changed {
                state.since = Instant::now();
            }
            state.ok = ok;
            state.detail.clone_from(&detail);
            Some(changed)
        });
        match (changed, ok) {
            (Some(true), true) => tracing::info!(check = self.name, detail, "ready"),
            (Some(true), false) => tracing::warn!(check = self.name, detail, "not ready"),
            _ => {}
        }
    }

    /// Takes the check away: what it was about is no longer a part of the service.
    pub fn remove(&self) {
        self.readiness.write(|checks| {
            checks.by_name.remove(&self.name);
        });
    }

    /// [`Check::set`] to ok.
    pub fn ok(&self, detail: impl Into<String>) {
        self.set(true, detail);
    }

    /// [`Check::set`] to not ok.
    pub fn not_ok(&self, detail: impl Into<String>) {
        self.set(false, detail);
    }
}

/// What `/readyz?verbose` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether the service should get requests.
    pub ready: bool,
    /// Whether it is stopping.
    pub draining: bool,
    /// Every check, by name.
    pub checks: Vec<CheckReport>,
}

/// One check in a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The check's name, such as `kafka`.
    pub name: String,
    /// Whether what it stands for works.
    pub ok: bool,
    /// What its owner last said.
    pub detail: String,
    /// For how long it has been ok, or not ok, in seconds.
    pub for_s: u64,
}

#[derive(Clone)]
struct Sources {
    readiness: Readiness,
    metrics: Metrics,
}

/// The three routes.
pub fn routes(readiness: &Readiness, metrics: &Metrics) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render_metrics))
        .with_state(Sources {
            readiness: readiness.clone(),
            metrics: metrics.clone(),
        })
}

async fn readyz(State(sources): State<Sources>, RawQuery(query): RawQuery) -> Response {
    let report = sources.readiness.report();
    let status = match report.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let query = query.unwrap_or_default();
    let verbose = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "verbose");
    if verbose {
        return (status, Json(report)).into_response();
    }
    (status, summary(&report)).into_response()
}

/// One line: `ok`, or what stands in the way.
fn summary(report: &Report) -> String {
    let failing = report.checks.iter().filter(|check| !check.ok);
    let mut reasons: Vec<&str> = failing.map(|check| check.name.as_str()).collect();
    if report.draining {
        reasons.insert(0, "draining");
    }
    match reasons.is_empty() {
        true => "ok\n".to_owned(),
        false => format!("not ready: {}\n", reasons.join(", ")),
    }
}

async fn render_metrics(State(sources): State<Sources>) -> Response {
    let content_type = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, sources.metrics.render()).into_response()
}
