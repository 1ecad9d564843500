//! `parked list`: the keys that wait, and why.

use std::collections::BTreeMap;

use cartwright_events::{Stream, Timestamp};
use cartwright_read_model::PROJECTIONS;
use serde::Serialize;

use super::version_of;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::table;
use crate::parking::{self, Version, Waiting};

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only this projection.
    projection: Option<String>,
    /// Another version than the current one.
    #[arg(long, requires = "projection")]
    version: Option<u32>,
    /// Only keys whose reason holds this text.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct ParkedKey {
    projection: &'static str,
    version: u32,
    topic: &'static str,
    partition: u32,
    key: String,
    records: usize,
    first_offset: u64,
    reason: String,
    parked_at: Option<Timestamp>,
}

pub(super) fn run(context: &Context, arguments: &List) -> anyhow::Result<Exit> {
    let versions = match &arguments.projection {
        Some(name) => vec![version_of(context, name, arguments.version)?],
        None => PROJECTIONS
            .iter()
            .map(|projection| version_of(context, projection.name, None))
            .collect::<anyhow::Result<_>>()?,
    };
    let mut keys = Vec::new();
    for of in versions {
        keys.extend(parked_keys(of, parking::waiting(context, of)?));
    }
    if let Some(part) = &arguments.reason {
        keys.retain(|key| key.reason.contains(part));
    }
    context.output.result(&keys, |keys| match keys.is_empty() {
        true => "nothing is parked".to_owned(),
        false => keys_text(keys),
    });
    Ok(Exit::Done)
}

fn parked_keys(of: Version, waiting: Vec<Waiting>) -> Vec<ParkedKey> {
    let mut keys: BTreeMap<(Stream, u32, String), ParkedKey> = BTreeMap::new();
    for each in waiting {
        let at = (each.stream, each.partition, each.record.key.clone());
        let key = keys.entry(at).or_insert_with(|| ParkedKey {
            projection: of.projection.name,
            version: of.version,
            topic: each.topic,
            partition: each.partition,
            key: each.record.key.clone(),
            records: 0,
            first_offset: each.record.offset,
            reason: each.record.reason.text().to_owned(),
            parked_at: each.parked_at,
        });
        key.records += 1;
    }
    keys.into_values().collect()
}

fn keys_text(keys: &[ParkedKey]) -> String {
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            vec![
                format!("{}@{}", key.projection, key.version),
                key.key.clone(),
                key.records.to_string(),
                format!("{}[{}]", key.topic, key.partition),
                key.first_offset.to_string(),
                key.reason.clone(),
            ]
        })
        .collect();
    let header = [
        "projection",
        "key",
        "records",
        "partition",
        "first at",
        "reason",
    ];
    table(&header, &rows)
}
