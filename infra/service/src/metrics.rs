//! Metrics in the Prometheus text format.
//!
//! A service's parts record with the `metrics` crate's macros. A histogram whose name ends in
//! `_seconds` gets buckets for latencies (0.5 ms to 30 s), any other gets buckets for counts
//! (1 to 10,000).
//!
//! What is recorded so keeps its series for ever. [`Gauge`]s whose series come and go, such as those
//! of partitions, are asked for instead: see [`Metrics::with_gauges`].

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ::metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::metric_names as names;

const LATENCY_BUCKETS_S: [f64; 15] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
];
const COUNT_BUCKETS: [f64; 13] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0,
];

/// How often recorded samples are moved from their buffers into the histograms, which bounds the
/// buffers when nobody scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The process's metrics.
#[derive(Clone)]
pub struct Metrics {
    recorded: PrometheusHandle,
    gauges: Vec<Gauges>,
}

type Gauges = Arc<dyn Fn() -> Vec<Gauge> + Send + Sync>;

/// A gauge as it stands when it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauge {
    /// Its name; nothing is recorded under it.
    pub name: &'static str,
    /// Its series: the labels, and the value.
    pub series: Vec<(Vec<(&'static str, String)>, f64)>,
}

/// Why metrics could not be set up: another recorder, or no thread for the upkeep.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("metrics cannot be recorded: another recorder is in place or no thread can be started")]
pub struct MetricsError;

impl Metrics {
    /// Adds gauges, which are asked for whenever the metrics are.
    #[must_use]
    pub fn with_gauges(mut self, gauges: impl Fn() -> Vec<Gauge> + Send + Sync + 'static) -> Self {
        self.gauges.push(Arc::new(gauges));
        self
    }

    /// Everything recorded so far and every gauge as it stands, in the text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.recorded.render();
        for gauge in self.gauges.iter().flat_map(|gauges| gauges()) {
            gauge.render(&mut text);
        }
        text
    }
}

impl Gauge {
    fn render(&self, text: &mut String) {
        if self.series.is_empty() {
            return;
        }
        let Self { name, series } = self;
        text.push_str(&format!("# TYPE {name} gauge\n"));
        for (labels, value) in series {
            let labels = labels.iter().map(|(label, value)| {
                let value = value.replace('\\', r"\\").replace('"', "\\\"");
                let value = value.replace('\n', r"\n");
                format!("{label}=\"{value}\"")
            });
            let labels = labels.collect::<Vec<_>>().join(",");
            text.push_str(&format!("{name}{{{labels}}} {value}\n"));
        }
    }
}

/// Installs the recorder for the whole process. Calling it again gives the same metrics.
///
/// # Errors
///
/// When another recorder is in place.
pub fn install() -> Result<Metrics, MetricsError> {
    static INSTALLED: OnceLock<Option<Metrics>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        install_recorder().map(|recorded| Metrics {
            recorded,
            gauges: Vec::new(),
        })
    });
    installed.clone().ok_or(MetricsError)
}

fn install_recorder() -> Option<PrometheusHandle> {
    let latencies = Matcher::Suffix("_seconds".to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets(&COUNT_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(latencies, &LATENCY_BUCKETS_S))
        .and_then(PrometheusBuilder::install_recorder)
        .ok()?;
    describe();
    let upkeep = handle.clone();
    std::thread::Builder::new()
        .name("metrics-upkeep".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(UPKEEP_INTERVAL);
                upkeep.run_upkeep();
            }
        })
        .ok()?;
    Some(handle)
}

fn describe() {
    describe_counter!(names::HTTP_REQUESTS, "Requests answered");
    describe_histogram!(
        names::HTTP_REQUEST_SECONDS,
        "Time from a request's head to its response's head"
    );
    describe_gauge!(names::HTTP_IN_FLIGHT, "Requests being answered");
    describe_counter!(
        names::HTTP_OVERLOADED,
        "Requests refused at the limit on requests in flight"
    );
    describe_gauge!(names::HTTP_CONNECTIONS, "Open connections");
}

/// Counts a gauge up until it is dropped.
pub(crate) struct Counted(&'static str);

impl Counted {
    pub(crate) fn new(name: &'static str) -> Self {
        gauge!(name).increment(1.0);
        Self(name)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        gauge!(self.0).decrement(1.0);
    }
}

/// The middleware: counts and times every request by route, method and status. The labels come
/// from bounded sets: the route is the pattern, not the path.
pub async fn middleware(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let in_flight = Counted::new(names::HTTP_IN_FLIGHT);
    let response = next.run(request).await;
    drop(in_flight);
    let labels = [
        (
            "route",
            route.map_or_else(|| "unmatched".to_owned(), |route| route.as_str().to_owned()),
        ),
        ("method", method.to_owned()),
        ("status", response.status().as_str().to_owned()),
    ];
    counter!(names::HTTP_REQUESTS, &labels).increment(1);
    histogram!(names::HTTP_REQUEST_SECONDS, &labels).record(started.elapsed());
    response
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_a_gauge_are_those_that_there_are_and_an_empty_one_is_not_told() {
        let render = |gauge: Gauge| {
            let mut text = String::new();
            gauge.render(&mut text);
            text
        };
        let series = vec![
            (vec![("topic", "t".to_owned())], 1.5),
            (vec![("topic", "a\"b\\c\nd".to_owned())], 0.0),
        ];
        let name = "lag";
        assert_eq!(
            render(Gauge { name, series }),
            "# TYPE lag gauge\nlag{topic=\"t\"} 1.5\nlag{topic=\"a\\\"b\\\\c\\nd\"} 0\n"
        );
        let series = Vec::new();
        assert_eq!(render(Gauge { name, series }), "");
    }
}
