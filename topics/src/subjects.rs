//! The schema registry: what subjects there are, and registering schemas.

use std::collections::BTreeMap;
use std::thread;

use cartwright_events::registry::{RegistryClient, RegistryError};

use crate::plan::{COMPATIBILITY, SubjectState};
use crate::topology::{TopicSchema, Topology};

/// What there is of the declared subjects.
///
/// # Errors
/// The first [`RegistryError`].
pub fn subjects(
    registry: &RegistryClient,
    topology: &Topology,
) -> Result<BTreeMap<String, SubjectState>, RegistryError> {
    let schemas: Vec<_> = schemas(topology).collect();
    in_parallel(&schemas, |schema| {
        let state = SubjectState {
            compatibility: registry.compatibility(&schema.subject)?,
            schema_id: registry.lookup(&schema.subject, &schema.text)?,
        };
        Ok((schema.subject.clone(), state))
    })
    .into_iter()
    .collect()
}

/// What makes the declared schemas incompatible with the registered versions, as text per subject.
///
/// # Errors
/// The first [`RegistryError`].
pub fn incompatibilities(
    registry: &RegistryClient,
    topology: &Topology,
) -> Result<Vec<String>, RegistryError> {
    let schemas: Vec<_> = schemas(topology).collect();
    let found = in_parallel(&schemas, |schema| {
        let found = registry.incompatibilities(&schema.subject, &schema.text)?;
        Ok(found
            .into_iter()
            .map(|problem| format!("subject {}: {problem}", schema.subject))
            .collect::<Vec<_>>())
    })
    .into_iter()
    .collect::<Result<Vec<_>, RegistryError>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// Sets the subject's compatibility to the declared one.
///
/// # Errors
/// [`RegistryError`].
pub fn set_compatibility(registry: &RegistryClient, subject: &str) -> Result<(), RegistryError> {
    registry.set_compatibility(subject, COMPATIBILITY)
}

fn schemas(topology: &Topology) -> impl Iterator<Item = &TopicSchema> {
    topology.topics.iter().filter_map(|t| t.schema.as_ref())
}

/// One thread per item: a registry's answers take their time, and there are few subjects.
fn in_parallel<I: Sync, T: Send>(items: &[I], ask: impl Fn(&I) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let ask = &ask;
        let asked: Vec<_> = items
            .iter()
            .map(|item| scope.spawn(move || ask(item)))
            .collect();
        asked
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}
