//! Everything that must hold before a declaration may be applied.

use std::collections::BTreeSet;

use apache_avro::Schema;
use cartwright_events::{Event, SchemaTopic};

use crate::topology::Topology;
use crate::versions::{self, VersionError};
use crate::{compatibility, rules};

/// What is wrong with the declaration, without a cluster or a registry; empty when nothing is.
///
/// # Errors
/// [`VersionError`] when kept versions or examples cannot be read.
pub fn offline(topology: &Topology) -> Result<Vec<String>, VersionError> {
    let mut found = rules::topic_problems(topology);
    for (name, schema) in topology.schemas_by_name() {
        let schema_problem = |problem| format!("schema {name}: {problem}");
        found.extend(
            rules::schema_problems(&schema.text)
                .into_iter()
                .map(schema_problem),
        );
        found.extend(
            version_problems(topology, name, &schema.text)?
                .into_iter()
                .map(schema_problem),
        );
    }
    found.extend(example_problems(topology)?);
    Ok(found)
}

fn version_problems(
    topology: &Topology,
    name: &str,
    text: &str,
) -> Result<Vec<String>, VersionError> {
    let mut found = Vec::new();
    let built_in = SchemaTopic::ALL
        .into_iter()
        .find(|topic| topic.schema_name() == name);
    if built_in.is_some_and(|topic| topic.schema() != text) {
        found.push("is not the one that the programs are built with; build them again".to_owned());
    }
    let kept = versions::kept(&topology.schemas, name)?;
    if kept.last().is_none_or(|version| version.text != text) {
        found.push("is not kept as a version: run `cartwright-topics keep`".to_owned());
    }
    for version in &kept {
        found.extend(
            compatibility::problems(&version.text, text)
                .into_iter()
                .map(|problem| format!("incompatible with version {}: {problem}", version.number)),
        );
    }
    Ok(found)
}

/// Every event type has an example, and every example is a record of its topic's schema.
fn example_problems(topology: &Topology) -> Result<Vec<String>, VersionError> {
    let examples = versions::examples(&topology.schemas)?;
    let mut found = Vec::new();
    for (name, event) in &examples {
        if event.body.type_name() != name {
            found.push(format!(
                "example {name}: is an event of type {}",
                event.body.type_name()
            ));
        }
        if let Some(problem) = encoding_problem(topology, event) {
            found.push(format!("example {name}: {problem}"));
        }
    }
    let named: BTreeSet<_> = examples.iter().map(|(name, _)| name.as_str()).collect();
    for (name, schema) in topology.schemas_by_name() {
        if !is_public(name) {
            continue;
        }
        for event_type in branch_types(&schema.text) {
            if !named.contains(event_type.as_str()) {
                found.push(format!("schema {name}: {event_type} has no example"));
            }
        }
    }
    Ok(found)
}

fn is_public(schema_name: &str) -> bool {
    cartwright_events::Stream::of_topic(schema_name).is_some()
}

fn encoding_problem(topology: &Topology, event: &Event) -> Option<String> {
    let topic = event.body.stream().topic();
    let schemas = topology.schemas_by_name();
    let Some(schema) = schemas.get(topic) else {
        return Some(format!("topic {topic} has no schema"));
    };
    let Ok(schema) = Schema::parse_str(&schema.text) else {
        return None; // said already, once
    };
    let body = event.encode();
    let mut rest = body.as_slice();
    match apache_avro::from_avro_datum(&schema, &mut rest, None) {
        Err(error) => Some(format!("is no record of the schema: {error}")),
        Ok(value) => {
            let again = apache_avro::to_avro_datum(&schema, value);
            (!rest.is_empty() || again.ok().as_ref() != Some(&body))
                .then(|| "is encoded otherwise than by the schema".to_owned())
        }
    }
}

/// The names of the records in the nullable branches of a flat record.
fn branch_types(text: &str) -> Vec<String> {
    let Ok(Schema::Record(record)) = Schema::parse_str(text) else {
        return Vec::new();
    };
    record
        .fields
        .iter()
        .filter_map(|field| match &field.schema {
            Schema::Union(union) => match union.variants().get(1) {
                Some(Schema::Record(branch)) => Some(branch.name.name.clone()),
                _ => None,
            },
            _ => None,
        })
        .collect()
}
