//! `parked`: what is put aside, and what is to become of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use cartwright_event_log::TopicPartition;
use cartwright_events::envelope::header;
use cartwright_events::{Stream, Timestamp};
use cartwright_read_model::{
    PROJECTIONS, ParkAction, ParkRequest, RequestOutcome, RequestState, SkippedRow,
};
use clap::Subcommand;
use serde::Serialize;

use crate::context::{Context, known};
use crate::exit::Exit;
use crate::output::table;
use crate::parking::{self, Version, Waiting};
use crate::reading::record_at;
use crate::registry::current;

/// Requests that may wait at a time; a projector looks at a thousand.
const MOST_OPEN: usize = 500;
/// Records of a key that `show` reads.
const MOST_SHOWN: usize = 20;
const POLL: Duration = Duration::from_millis(200);

/// Arguments of `parked`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Parked,
}

#[derive(Debug, Subcommand)]
enum Parked {
    /// Keys that are parked, with the reason of their first record.
    List(List),
    /// What waits under one key, record by record, and what was given up of it.
    Show(Show),
    /// Fold what waits again, with the code that the projector runs now.
    Retry(Retry),
    /// Give records up, for a reason that is kept, and go on with what is behind them.
    Skip(Skip),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only this projection.
    projection: Option<String>,
    /// Another version than the current one.
    #[arg(long, requires = "projection")]
    version: Option<u32>,
    /// Only keys whose reason holds this text.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Show {
    projection: String,
    key: String,
    /// Another version than the current one.
    #[arg(long)]
    version: Option<u32>,
}

#[derive(Debug, clap::Args)]
struct Chosen {
    projection: String,
    /// Another version than the current one.
    #[arg(long)]
    version: Option<u32>,
    /// Only this key.
    #[arg(long)]
    key: Option<String>,
    /// Only keys whose first record's reason holds this text.
    #[arg(long, value_name = "TEXT", conflicts_with = "key")]
    reason: Option<String>,
    /// Every key.
    #[arg(long, conflicts_with_all = ["key", "reason"])]
    all: bool,
    /// Who asks; kept with the request.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "unknown")]
    by: String,
    /// Seconds to wait until the projector has carried it out; 0: don't.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
}

#[derive(Debug, clap::Args)]
struct Retry {
    #[command(flatten)]
    chosen: Chosen,
}

#[derive(Debug, clap::Args)]
struct Skip {
    #[command(flatten)]
    chosen: Chosen,
    /// Why; kept for the record.
    #[arg(long, value_name = "TEXT")]
    because: String,
    /// Only if the key's first record is the one at this offset.
    #[arg(long, requires = "key")]
    offset: Option<u64>,
    /// Everything that waits under the keys, not only what cannot be folded.
    #[arg(long)]
    whole_queue: bool,
}

/// Runs `parked`.
///
/// # Errors
/// An unknown projection, or a store that does not answer.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    match &arguments.command {
        Parked::List(arguments) => list(context, arguments),
        Parked::Show(arguments) => show(context, arguments),
        Parked::Retry(arguments) => {
            carry_out(context, &arguments.chosen, ParkAction::Retry, None, None)
        }
        Parked::Skip(arguments) => {
            let because = arguments.because.trim();
            ensure!(!because.is_empty(), "--because needs a reason");
            let action = match arguments.whole_queue {
                true => ParkAction::SkipAll,
                false => ParkAction::Skip,
            };
            let note = Some(because.to_owned());
            carry_out(context, &arguments.chosen, action, note, arguments.offset)
        }
    }
}

/// The version asked for, or the current one.
fn version_of(context: &Context, name: &str, version: Option<u32>) -> anyhow::Result<Version> {
    let projection = known(name)?;
    Ok(Version {
        projection,
        version: match version {
            Some(version) => version,
            None => current(context, projection)?,
        },
    })
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

fn list(context: &Context, arguments: &List) -> anyhow::Result<Exit> {
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

#[derive(Debug, Serialize)]
struct Shown {
    waiting: Vec<ShownRecord>,
    more: usize,
    given_up: Vec<SkippedRow>,
}

#[derive(Debug, Serialize)]
struct ShownRecord {
    #[serde(flatten)]
    pointer: Waiting,
    event_type: Option<String>,
    command_id: Option<String>,
    /// What reading it says now.
    decodes: String,
}

fn show(context: &Context, arguments: &Show) -> anyhow::Result<Exit> {
    let of = version_of(context, &arguments.projection, arguments.version)?;
    let mut waiting = parking::waiting(context, of)?;
    waiting.retain(|each| each.record.key == arguments.key);
    let more = waiting.len().saturating_sub(MOST_SHOWN);
    waiting.truncate(MOST_SHOWN);
    let mut given_up = parking::skipped(context, of)?;
    given_up.retain(|row| row.key == arguments.key);
    let mut records = Vec::new();
    if !waiting.is_empty() {
        let (log, codec) = (context.log()?, context.codec()?);
        for pointer in waiting {
            let at = TopicPartition::new(pointer.topic, pointer.partition);
            let record = record_at(&log, &at, pointer.record.offset)?;
            let text = |name: &str| {
                let value = record.as_ref()?.header(name)?;
                Some(String::from_utf8_lossy(value).into_owned())
            };
            let decodes = match record.as_ref().and_then(|record| record.value.as_deref()) {
                None => "no value".to_owned(),
                Some(value) => match codec.decode_event(pointer.stream, value) {
                    Ok(event) => format!("ok, version {}", event.version),
                    Err(error) => error.to_string(),
                },
            };
            records.push(ShownRecord {
                event_type: text(header::CE_TYPE),
                command_id: text(header::COMMAND_ID),
                decodes,
                pointer,
            });
        }
    }
    let shown = Shown {
        waiting: records,
        more,
        given_up,
    };
    context.output.result(&shown, shown_text);
    Ok(Exit::Done)
}

fn shown_text(shown: &Shown) -> String {
    let rows: Vec<Vec<String>> = shown
        .waiting
        .iter()
        .map(|each| {
            vec![
                each.pointer.record.offset.to_string(),
                each.pointer.record.seq.to_string(),
                each.event_type.clone().unwrap_or_default(),
                each.pointer.record.reason.text().to_owned(),
                each.decodes.clone(),
            ]
        })
        .collect();
    let mut text = match rows.is_empty() {
        true => "nothing waits under this key".to_owned(),
        false => table(&["offset", "seq", "type", "reason", "reads now as"], &rows),
    };
    if shown.more > 0 {
        text += &format!("\nand {} more behind them", shown.more);
    }
    for row in &shown.given_up {
        text += &format!(
            "\ngiven up: offset {} ({}) by {} at {}: {}",
            row.offset, row.reason, row.skipped_by, row.skipped_at, row.note
        );
    }
    text
}

#[derive(Debug, Serialize)]
struct Asked {
    request: Option<String>,
    partitions: usize,
    finished: bool,
    retried: u64,
    skipped: u64,
    still_parked: u64,
    refused: Vec<String>,
}

fn carry_out(
    context: &Context,
    chosen: &Chosen,
    action: ParkAction,
    note: Option<String>,
    offset: Option<u64>,
) -> anyhow::Result<Exit> {
    if !chosen.all && chosen.key.is_none() && chosen.reason.is_none() {
        bail!("say which: --key KEY, --reason TEXT or --all");
    }
    let of = version_of(context, &chosen.projection, chosen.version)?;
    let asked_at = Timestamp::now();
    let id = parking::request_id(asked_at);
    let partitions: BTreeSet<(Stream, u32)> = parking::waiting(context, of)?
        .into_iter()
        .filter(|each| {
            chosen
                .key
                .as_ref()
                .is_none_or(|key| *key == each.record.key)
        })
        .map(|each| (each.stream, each.partition))
        .collect();
    let asked: Vec<ParkRequest> = partitions
        .into_iter()
        .map(|(stream, partition)| ParkRequest {
            id: id.clone(),
            stream,
            partition,
            action,
            key: chosen.key.clone(),
            offset,
            reason_part: chosen.reason.clone(),
            note: note.clone(),
            asked_by: chosen.by.clone(),
            asked_at,
        })
        .collect();
    check_room(context, of, asked.len())?;
    parking::ask(context, of, &asked)?;
    let result = wait(
        context,
        of,
        &id,
        asked.len(),
        Duration::from_secs(chosen.wait),
    )?;
    context.output.result(&result, asked_text);
    Ok(match &result {
        _ if !result.finished => Exit::Unfinished,
        _ if result.still_parked > 0 || !result.refused.is_empty() => Exit::Refused,
        _ => Exit::Done,
    })
}

/// Keeps one projector's list of requests short.
fn check_room(context: &Context, of: Version, more: usize) -> anyhow::Result<()> {
    const DAY_US: i64 = 86_400_000_000;
    let since = parking::request_id(Timestamp::from_micros(
        Timestamp::now().as_micros() - DAY_US,
    ));
    let requests = parking::requests(context, of, &since)?;
    let open = requests
        .iter()
        .filter(|(_, outcome)| outcome.state == RequestState::Asked)
        .count();
    ensure!(
        open + more <= MOST_OPEN,
        "{open} requests wait already: is the projector running?"
    );
    Ok(())
}

/// Waits until every partition has answered.
fn wait(
    context: &Context,
    of: Version,
    id: &str,
    partitions: usize,
    limit: Duration,
) -> anyhow::Result<Asked> {
    let until = Instant::now() + limit;
    // Names sort: a name without its last letter comes before it.
    let after = &id[..id.len().saturating_sub(1)];
    loop {
        let answers: Vec<RequestOutcome> = match partitions {
            0 => Vec::new(),
            _ => parking::requests(context, of, after)?
                .into_iter()
                .filter(|(request, _)| request.id == id)
                .map(|(_, outcome)| outcome)
                .collect(),
        };
        let answered = |outcome: &&RequestOutcome| outcome.state != RequestState::Asked;
        let finished = answers.iter().filter(answered).count() == partitions;
        if finished || Instant::now() >= until {
            return Ok(sum(id, partitions, finished, &answers));
        }
        std::thread::sleep(POLL);
    }
}

fn sum(id: &str, partitions: usize, finished: bool, answers: &[RequestOutcome]) -> Asked {
    let refused = answers
        .iter()
        .filter(|outcome| outcome.state == RequestState::Refused)
        .filter_map(|outcome| outcome.detail.clone());
    Asked {
        request: (partitions > 0).then(|| id.to_owned()),
        partitions,
        finished,
        retried: answers.iter().map(|outcome| outcome.retried).sum(),
        skipped: answers.iter().map(|outcome| outcome.skipped).sum(),
        still_parked: answers.iter().map(|outcome| outcome.still_parked).sum(),
        refused: refused.collect(),
    }
}

fn asked_text(asked: &Asked) -> String {
    if asked.partitions == 0 {
        return "nothing that this asks for is parked".to_owned();
    }
    let mut text = match asked.finished {
        true => format!(
            "{} records applied, {} given up, {} still parked",
            asked.retried, asked.skipped, asked.still_parked
        ),
        false => format!(
            "asked for in {} partitions and not carried out yet: is the projector running? \
             It will do so when it is",
            asked.partitions
        ),
    };
    for refusal in &asked.refused {
        text += &format!("\nrefused: {refusal}");
    }
    text
}
