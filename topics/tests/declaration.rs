//! The plan and the rules, over declarations that are changed on purpose.

use std::fs;
use std::path::{Path, PathBuf};

use cartwright_topics::plan::{COMPATIBILITY, Difference, State, SubjectState, TopicState};
use cartwright_topics::topology::{Topic, Topology, TopologyError};
use cartwright_topics::versions::VersionError;
use cartwright_topics::{plan, rules, versions};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn declared(profile: &str) -> Topology {
    let root = root();
    Topology::load(
        &root.join("topics/topics.yaml"),
        &root.join("schemas/avro"),
        profile,
    )
    .unwrap()
}

/// A cluster and a registry that are as declared.
fn as_declared(topology: &Topology) -> State {
    let mut state = State::default();
    for topic in &topology.topics {
        let is = TopicState {
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            config: topic.config.clone(),
            overrides: topic.config.clone(),
        };
        state.topics.insert(topic.name.clone(), is);
        if let Some(schema) = &topic.schema {
            let is = SubjectState {
                compatibility: Some(COMPATIBILITY.to_owned()),
                schema_id: Some(1),
            };
            state.subjects.insert(schema.subject.clone(), is);
        }
    }
    state
}

const ORDERS: &str = "checkout.order.events.v1";

fn change(topology: &mut Topology, name: &str, change: impl Fn(&mut Topic)) {
    let topic = topology.topics.iter_mut().find(|t| t.name == name).unwrap();
    change(topic);
}

#[test]
fn profiles_differ_in_partitions_and_copies() {
    let local = declared("local");
    let production = declared("production");
    let of_contexts = |topology: &Topology, partitions| {
        let mut topics = topology.topics.iter().filter(|t| t.context.is_some());
        topics.all(|t| t.partitions == partitions)
    };
    assert!(of_contexts(&local, 2));
    assert!(of_contexts(&production, 64));
    let of_nodes = production.topics.iter().filter(|t| t.context.is_none());
    assert!(of_nodes.clone().count() == 2 && of_nodes.clone().all(|t| t.partitions == 1));
    assert!(production.topics.iter().all(|t| t.replication_factor == 3));
}

#[test]
fn an_unknown_profile_is_named_with_those_there_are() {
    let root = root();
    let error = Topology::load(
        &root.join("topics/topics.yaml"),
        &root.join("schemas/avro"),
        "moon",
    )
    .unwrap_err();
    assert!(matches!(error, TopologyError::UnknownProfile { .. }));
    assert_eq!(
        error.to_string(),
        "profile moon is not declared; there are cluster, local, production"
    );
}

#[test]
fn nothing_differs_from_what_is_as_declared() {
    let topology = declared("local");
    assert_eq!(plan::differences(&topology, &as_declared(&topology)), []);
}

#[test]
fn an_empty_cluster_lacks_everything_and_nothing_is_refused() {
    let topology = declared("local");
    let found = plan::differences(&topology, &State::default());
    let missing = found
        .iter()
        .filter(|d| matches!(d, Difference::MissingTopic { .. }));
    assert_eq!(missing.count(), topology.topics.len());
    assert!(!found.iter().any(Difference::is_refused));
}

#[test]
fn more_and_fewer_partitions_are_refused_by_name() {
    let topology = declared("local");
    for partitions in [1, 3] {
        let mut state = as_declared(&topology);
        state.topics.get_mut(ORDERS).unwrap().partitions = partitions;
        let found = plan::differences(&topology, &state);
        assert_eq!(found.len(), 1);
        assert!(found[0].is_refused());
        assert!(found[0].to_string().contains(ORDERS), "{}", found[0]);
    }
}

#[test]
fn a_changed_setting_an_unset_rule_and_an_unknown_schema_are_found() {
    let topology = declared("local");
    let mut state = as_declared(&topology);
    let orders = state.topics.get_mut(ORDERS).unwrap();
    orders
        .config
        .insert("retention.ms".to_owned(), "604800000".to_owned());
    orders
        .config
        .insert("segment.bytes".to_owned(), "1".to_owned());
    let subject = format!("{ORDERS}-value");
    state
        .subjects
        .insert(subject.clone(), SubjectState::default());
    assert_eq!(
        plan::differences(&topology, &state),
        [
            Difference::Config {
                topic: ORDERS.to_owned(),
                key: "retention.ms".to_owned(),
                is: Some("604800000".to_owned()),
                declared: "-1".to_owned(),
            },
            Difference::Compatibility {
                subject: subject.clone(),
                is: None,
                declared: COMPATIBILITY.to_owned(),
            },
            Difference::UnregisteredSchema { subject },
        ]
    );
}

#[track_caller]
fn breaks(name: &str, key: &str, value: &str, words: &str) {
    let mut topology = declared("production");
    change(&mut topology, name, |topic| {
        topic.config.insert(key.to_owned(), value.to_owned());
    });
    let found = rules::topic_problems(&topology);
    assert!(
        found
            .iter()
            .any(|problem| problem.contains(name) && problem.contains(words)),
        "{found:?}"
    );
}

#[test]
fn events_that_would_be_deleted_or_compacted_break_a_rule() {
    breaks(ORDERS, "retention.ms", "604800000", "kept for ever");
    breaks(ORDERS, "retention.bytes", "1000000", "kept for ever");
    breaks(ORDERS, "cleanup.policy", "compact", "never compacted");
    breaks(
        ORDERS,
        "cleanup.policy",
        "compact,delete",
        "never compacted",
    );
    breaks(ORDERS, "message.timestamp.type", "CreateTime", "broker's");
}

#[test]
fn internal_topics_that_forget_too_early_break_a_rule() {
    breaks(
        "checkout.inbox.v1",
        "retention.ms",
        "86400000",
        "any outage",
    );
    breaks("checkout.journal.v1", "retention.bytes", "10", "any outage");
    breaks(
        "checkout.journal.v1",
        "cleanup.policy",
        "compact",
        "compacted",
    );
    breaks(
        "checkout.snapshots.v1",
        "cleanup.policy",
        "delete",
        "latest",
    );
}

#[test]
fn copies_that_lose_acknowledged_records_break_a_rule() {
    breaks(ORDERS, "min.insync.replicas", "1", "does not go with");
    breaks(ORDERS, "min.insync.replicas", "3", "does not go with");
    breaks(
        ORDERS,
        "unclean.leader.election.enable",
        "true",
        "acknowledged",
    );
}

#[test]
fn a_topic_that_the_programs_use_must_be_declared() {
    let mut topology = declared("local");
    topology.topics.retain(|topic| topic.name != ORDERS);
    assert_eq!(
        rules::topic_problems(&topology),
        [format!("topic {ORDERS}: is not declared")]
    );
}

#[test]
fn a_schema_that_cannot_grow_breaks_a_rule() {
    let schema = r#"{ "type": "record", "name": "T", "doc": "d", "fields": [
        { "name": "a", "type": { "type": "enum", "name": "E", "symbols": ["X"] }, "doc": "d" },
        { "name": "b", "type": ["null", "string"], "doc": "d" },
        { "name": "c", "type": "double", "doc": "d" },
        { "name": "d", "type": "string" }
    ] }"#;
    let found = rules::schema_problems(schema);
    for words in [
        "T.a is an enum",
        "T.b must be",
        "T.c must be",
        "T.d has no doc",
    ] {
        assert!(
            found.iter().any(|f| f.contains(words)),
            "{words}: {found:?}"
        );
    }
    assert_eq!(found.len(), 4);
}

/// A copy of the schemas that a test may change, removed at its end.
struct Copy(PathBuf);

impl Copy {
    fn make(name: &str) -> Self {
        let to = std::env::temp_dir().join(format!("cartwright-{name}-{}", std::process::id()));
        copy_folder(&root().join("schemas/avro"), &to);
        Self(to)
    }

    fn topology(&self) -> Topology {
        Topology::load(&root().join("topics/topics.yaml"), &self.0, "local").unwrap()
    }

    fn replace(&self, file: &str, from: &str, to: &str) {
        let path = self.0.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

const FIRST_FIELD: &str = r#"{"name": "aggregate_id", "#;

#[test]
fn a_changed_schema_is_kept_as_the_next_version_once() {
    let copy = Copy::make("keep");
    copy.replace(
        &format!("{ORDERS}.avsc"),
        FIRST_FIELD,
        r#"{"name": "note", "type": ["null", "string"], "default": null, "doc": "d"},
           {"name": "aggregate_id", "#,
    );
    let kept = versions::keep(&copy.topology()).unwrap();
    assert_eq!(kept, [(ORDERS.to_owned(), 2)]);
    let all = versions::kept(&copy.0, ORDERS).unwrap();
    assert_eq!(all.iter().map(|v| v.number).collect::<Vec<_>>(), [1, 2]);
    assert!(
        copy.0
            .join("golden")
            .join(ORDERS)
            .join("2/OrderPaid.hex")
            .exists()
    );
    assert_eq!(versions::keep(&copy.topology()).unwrap(), []);
}

#[test]
fn an_incompatible_schema_is_not_kept() {
    let copy = Copy::make("refuse");
    copy.replace(&format!("{ORDERS}.avsc"), "order_expired", "order_ran_out");
    let error = versions::keep(&copy.topology()).unwrap_err();
    assert!(
        matches!(error, VersionError::Incompatible { version: 1, .. }),
        "{error}"
    );
    assert_eq!(versions::kept(&copy.0, ORDERS).unwrap().len(), 1);
}
