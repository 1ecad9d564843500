//! Rules that every declared topic and schema keeps, whatever there is in a cluster.

use apache_avro::Schema;
use apache_avro::schema::RecordSchema;
use cartwright_events::{Context, NODES_TOPIC, OWNERS_TOPIC, SchemaTopic};

use crate::topology::{Kind, Topic, Topology};

/// The least retention of inboxes and journals: no outage that a shard must survive, and no
/// debate about what happened, takes longer.
const LEAST_INTERNAL_RETENTION_DAYS: i64 = 14;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What breaks a rule in the declaration of topics.
#[must_use]
pub fn topic_problems(topology: &Topology) -> Vec<String> {
    let mut found: Vec<String> = topology.topics.iter().flat_map(rules_of).collect();
    found.extend(known_topics().into_iter().filter_map(|known| {
        let declared = topology.topics.iter().find(|t| t.name == known.name);
        match declared {
            None => Some(format!("topic {}: is not declared", known.name)),
            Some(topic)
                if (topic.kind, topic.context) != (known.kind, known.context)
                    || topic.schema.as_ref().map(|s| s.name.as_str()) != known.schema =>
            {
                Some(format!(
                    "topic {}: kind, context or schema is not what the programs use",
                    known.name
                ))
            }
            Some(_) => None,
        }
    }));
    found
}

/// A topic that the programs use.
struct Known {
    name: &'static str,
    kind: Kind,
    context: Option<Context>,
    schema: Option<&'static str>,
}

fn known_topics() -> Vec<Known> {
    let with_schemas = SchemaTopic::ALL.into_iter().map(|topic| {
        let (kind, context) = match topic {
            SchemaTopic::Events(stream) => (Kind::Events, stream.context()),
            SchemaTopic::Inbox(context) => (Kind::Inbox, context),
            SchemaTopic::Journal(context) => (Kind::Journal, context),
        };
        Known {
            name: topic.topic(),
            kind,
            context: Some(context),
            schema: Some(topic.schema_name()),
        }
    });
    let snapshots = Context::ALL.into_iter().map(|context| Known {
        name: context.snapshots_topic(),
        kind: Kind::Snapshots,
        context: Some(context),
        schema: None,
    });
    let of_nodes = [(NODES_TOPIC, Kind::Nodes), (OWNERS_TOPIC, Kind::Owners)];
    let of_nodes = of_nodes.map(|(name, kind)| Known {
        name,
        kind,
        context: None,
        schema: None,
    });
    with_schemas.chain(snapshots).chain(of_nodes).collect()
}

fn rules_of(topic: &Topic) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |is_kept: bool, rule: String| {
        if !is_kept {
            found.push(format!("topic {}: {rule}", topic.name));
        }
    };
    let set = |key: &str| topic.config.get(key).map(String::as_str);
    let number = |key: &str| set(key).and_then(|value| value.parse::<i64>().ok());
    let is_unlimited = |key: &str| number(key) == Some(-1);
    match topic.kind {
        Kind::Events => {
            must(
                set("cleanup.policy") == Some("delete"),
                "events are never compacted: cleanup.policy must be delete".into(),
            );
            must(
                is_unlimited("retention.ms") && is_unlimited("retention.bytes"),
                "events are kept for ever: retention.ms and retention.bytes must be -1".into(),
            );
        }
        Kind::Inbox | Kind::Journal => {
            must(
                set("cleanup.policy") == Some("delete"),
                "must not be compacted: cleanup.policy must be delete".into(),
            );
            let is_long = is_unlimited("retention.ms")
                || number("retention.ms")
                    .is_some_and(|ms| ms >= LEAST_INTERNAL_RETENTION_DAYS * DAY_MS);
            must(
                is_long && is_unlimited("retention.bytes"),
                format!(
                    "is kept longer than any outage: retention.ms must be {LEAST_INTERNAL_RETENTION_DAYS} \
                     days or more, retention.bytes -1"
                ),
            );
        }
        Kind::Snapshots => must(
            set("cleanup.policy") == Some("compact"),
            "the latest snapshot stays: cleanup.policy must be compact".into(),
        ),
        Kind::Owners => must(
            set("cleanup.policy") == Some("compact"),
            "the latest assignment stays: cleanup.policy must be compact".into(),
        ),
        Kind::Nodes => must(
            set("cleanup.policy") == Some("delete") && !is_unlimited("retention.ms"),
            "signs of life are of no use later: cleanup.policy must be delete, retention.ms limited"
                .into(),
        ),
    }
    must(
        set("message.timestamp.type") == Some("LogAppendTime"),
        "record time is the broker's: message.timestamp.type must be LogAppendTime".into(),
    );
    must(
        set("unclean.leader.election.enable") == Some("false"),
        "nothing acknowledged is lost: unclean.leader.election.enable must be false".into(),
    );
    let copies = i64::from(topic.replication_factor);
    let in_sync = number("min.insync.replicas").unwrap_or(0);
    must(
        (1..=copies).contains(&in_sync) && (copies < 3 || (in_sync >= 2 && in_sync < copies)),
        format!("min.insync.replicas {in_sync} does not go with {copies} copies"),
    );
    found
}

/// What breaks a rule in a schema, by itself.
#[must_use]
pub fn schema_problems(text: &str) -> Vec<String> {
    match Schema::parse_str(text) {
        Err(error) => vec![format!("is no Avro schema: {error}")],
        Ok(Schema::Record(record)) => {
            let mut found = Vec::new();
            record_problems(&record.name.name, &record, &mut found);
            found
        }
        Ok(_) => vec!["must be a record".to_owned()],
    }
}

fn record_problems(path: &str, record: &RecordSchema, found: &mut Vec<String>) {
    if record.doc.as_deref().unwrap_or_default().is_empty() {
        found.push(format!("{path} has no doc"));
    }
    for field in &record.fields {
        let path = format!("{path}.{}", field.name);
        if field.doc.as_deref().unwrap_or_default().is_empty() {
            found.push(format!("{path} has no doc"));
        }
        if field.aliases.as_ref().is_some_and(|all| !all.is_empty()) {
            found.push(format!(
                "{path} has aliases, which not every reader follows"
            ));
        }
        if let Schema::Union(union) = &field.schema {
            let is_optional = union.variants().len() == 2 && union.variants()[0] == Schema::Null;
            if !is_optional || field.default != Some(serde_json::Value::Null) {
                found.push(format!("{path} must be [\"null\", type] with default null"));
            }
        }
        type_problems(&path, &field.schema, found);
    }
}

fn type_problems(path: &str, schema: &Schema, found: &mut Vec<String>) {
    match schema {
        Schema::Union(union) => {
            for variant in union.variants() {
                type_problems(path, variant, found);
            }
        }
        Schema::Array(array) => type_problems(path, &array.items, found),
        Schema::Record(record) => record_problems(path, record, found),
        Schema::Null
        | Schema::String
        | Schema::Long
        | Schema::Boolean
        | Schema::TimestampMicros
        | Schema::Ref { .. } => {}
        Schema::Enum(_) => found.push(format!(
            "{path} is an enum, which no older reader reads once it grows: use a string"
        )),
        _ => found.push(format!(
            "{path} must be a string, long, boolean, timestamp-micros, array or record"
        )),
    }
}
