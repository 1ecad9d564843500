use cartwright_events::Stream;
use cartwright_read_model::feeders::Feeds;
use cartwright_read_model::tables::projections::CATALOG;
use serde_json::{Value as Json, json};

use super::*;

#[test]
fn a_partition_that_was_begun_is_told_of_even_when_nobody_feeds_it() {
    let now = Timestamp::from_micros(100_000_000);
    let position = |partition| {
        let key = PositionKey {
            projection: CATALOG.name,
            version: 1,
            stream: Stream::Product,
            partition,
        };
        let position = Position {
            generation: 1,
            next_offset: 5,
            seq: 3,
            recorded_at: now,
        };
        (key, position)
    };
    let topic = Stream::Product.topic();
    let own = |partition| FedPartition {
        topic: topic.to_owned(),
        partition,
        behind: Some(0),
        lag_seconds: Some(0.5),
        parked_keys: 0,
        parked_records: 0,
        stuck: None,
    };
    let feeder = Feeder {
        instance: "one".to_owned(),
        address: "there:1".to_owned(),
        seen_at: now,
        feeds: Feeds {
            phase: "following".to_owned(),
            reason: None,
            since: None,
            partitions: vec![own(1), own(2)],
        },
    };
    let fed = Fed {
        positions: vec![position(0), position(1)],
        feeders: vec![feeder],
        ..Fed::default()
    };
    let versions = Versions::begin(&CATALOG, 1, now);
    let overview = Overview::of(&CATALOG, &versions, &[(1, fed)].into(), now);
    let version = &overview.versions[0];
    assert!(version.current && version.state == "live");
    let told = version.partitions.iter().map(|each| {
        let owner = each.owner.as_ref().map(|owner| owner.instance.as_str());
        (each.partition, each.position.is_some(), owner)
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (0, true, None),
            (1, true, Some("one")),
            (2, false, Some("one"))
        ]
    );
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

#[test]
fn a_feeder_that_has_stopped_is_told_with_its_reason_though_no_partition_is_its_own() {
    let feeder = |instance: &str, seen_at: Timestamp| Feeder {
        instance: instance.to_owned(),
        address: "there:1".to_owned(),
        seen_at,
        feeds: Feeds {
            phase: "stopped".to_owned(),
            reason: Some("stopped: a gap".to_owned()),
            since: Some(at(90)),
            partitions: Vec::new(),
        },
    };
    let fed = Fed {
        feeders: vec![feeder("one", at(99)), feeder("dead", at(80))],
        ..Fed::default()
    };
    let versions = Versions::begin(&CATALOG, 1, at(1));
    let overview = Overview::of(&CATALOG, &versions, &[(1, fed)].into(), at(100));
    let json = serde_json::to_value(&overview).unwrap();
    let version = &json["versions"][0];
    assert_eq!(
        version["feeders"],
        json!([{
            "instance": "one", "address": "there:1", "seen_at": at(99), "phase": "stopped",
            "since": at(90), "reason": "stopped: a gap", "partitions": 0,
        }])
    );
    assert_eq!(version["building"], Json::Null);
}

#[test]
fn a_version_that_is_built_tells_by_whom_and_how_far_each_partition_is() {
    let partition = |partition, phase: &str, error: Json| {
        let progress = json!({"phase": phase, "behind": 7, "error": error});
        BuiltPartition {
            topic: "t".to_owned(),
            partition,
            seen_at: at(99),
            progress: progress.as_object().unwrap().clone(),
        }
    };
    let builder = Builder {
        pid: 4_711,
        began_at: at(50),
    };
    let building = Building {
        builder: Some((builder, at(99))),
        partitions: vec![
            partition(0, "reading", Json::Null),
            partition(1, "stopped", json!("refused")),
        ],
    };
    let fed = Fed {
        building,
        ..Fed::default()
    };
    let versions = Versions::begin(&CATALOG, 1, at(1));
    let versions = versions.add(&CATALOG, 2, Build::default(), at(50)).unwrap();
    let told = |now| {
        let fed = BTreeMap::from([(2, fed.clone())]);
        let overview = Overview::of(&CATALOG, &versions, &fed, now);
        serde_json::to_value(&overview.versions[1].building).unwrap()
    };
    let now = told(at(100));
    assert_eq!(now["builder"], json!({"pid": 4_711, "began_at": at(50)}));
    assert_eq!(now["phase"], "stopped", "the worst of them");
    assert_eq!(
        now["partitions"][1],
        json!({
            "topic": "t", "partition": 1, "seen_at": at(99), "phase": "stopped", "behind": 7,
            "error": "refused",
        })
    );
    let later = told(at(200));
    assert_eq!(later["builder"], Json::Null, "it has died");
    assert_eq!(later["partitions"], now["partitions"]);
}
