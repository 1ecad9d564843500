//! `parked show`: what waits under one key, record by record, and what was given up of it.

use cartwright_event_log::{EventLog as _, ReaderPurpose, TopicPartition};
use cartwright_events::envelope::header;
use cartwright_projector::decode;
use cartwright_read_model::SkippedRow;
use serde::Serialize;

use super::version_of;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::table;
use crate::parking::{self, Waiting};
use crate::reading::record_from;

/// Records of a key that are read.
const MOST_SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    projection: String,
    key: String,
    /// Another version than the current one.
    #[arg(long)]
    version: Option<u32>,
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

pub(super) fn run(context: &Context, arguments: &Show) -> anyhow::Result<Exit> {
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
        let mut reader = log.reader(ReaderPurpose::Recovery)?;
        for pointer in waiting {
            let at = TopicPartition::new(pointer.topic, pointer.partition);
            let offset = pointer.record.offset;
            let record = record_from(&mut reader, &at, offset, offset + 1)?;
            let text = |name: &str| {
                let value = record.as_ref()?.header(name)?;
                Some(String::from_utf8_lossy(value).into_owned())
            };
            let decodes = match record.as_ref().and_then(|record| record.value.as_deref()) {
                None => "no value".to_owned(),
                Some(value) => match decode(&codec, pointer.stream, value) {
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
                format!(
                    "{}[{}]@{}",
                    each.pointer.topic, each.pointer.partition, each.pointer.record.offset
                ),
                each.pointer.record.seq.to_string(),
                each.event_type.clone().unwrap_or_default(),
                each.pointer.record.reason.text().to_owned(),
                each.decodes.clone(),
            ]
        })
        .collect();
    let mut text = match rows.is_empty() {
        true => "nothing waits under this key".to_owned(),
        false => table(
            &["position", "seq", "type", "reason", "reads now as"],
            &rows,
        ),
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
