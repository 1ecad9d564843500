//! What the board shows, as gauges.

use cartwright_service::metrics::Gauge;

use crate::board::{PartitionState, Phase, ProjectionState};
use crate::metric_names as names;

type Labels = Vec<(&'static str, String)>;

/// What a gauge shows of a partition; `None`: it is not known.
type Shown = fn(&PartitionState) -> Option<f64>;

/// The gauges of every projection and partition that `states` tell of.
#[must_use]
pub fn gauges(states: &[ProjectionState]) -> Vec<Gauge> {
    let of_partitions: [(_, Shown); 5] = [
        (names::PARKED_KEYS, |each| Some(each.parked_keys as f64)),
        (names::PARKED_RECORDS, |each| {
            Some(each.parked_records as f64)
        }),
        (names::LAG_RECORDS, |each| {
            each.behind.map(|behind| behind as f64)
        }),
        (names::LAG_SECONDS, |each| Some(each.lag_seconds)),
        (names::STUCK, |each| Some(flag(each.stuck.is_some()))),
    ];
    let up = states
        .iter()
        .map(|state| (labels(state), flag(state.phase == Phase::Following)));
    let mut gauges = vec![Gauge {
        name: names::UP,
        series: up.collect(),
    }];
    gauges.extend(of_partitions.map(|(name, shown)| Gauge {
        name,
        series: series(states, shown),
    }));
    gauges
}

fn series(states: &[ProjectionState], shown: Shown) -> Vec<(Labels, f64)> {
    let all = states
        .iter()
        .flat_map(|state| state.all_partitions().map(move |each| (state, each)));
    all.filter_map(|(state, each)| {
        let mut labels = labels(state);
        labels.push(("topic", each.topic.clone()));
        labels.push(("partition", each.partition.to_string()));
        Some((labels, shown(each)?))
    })
    .collect()
}

fn labels(state: &ProjectionState) -> Labels {
    vec![
        ("projection", state.projection.to_owned()),
        ("version", state.version.to_string()),
    ]
}

const fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}
