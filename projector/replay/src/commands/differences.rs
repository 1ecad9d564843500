//! What `verify` says.

use cartwright_read_model::versions::Outcome;
use serde::Serialize;

use crate::verify::{Difference, Findings};

/// Differences told to people; programs get all.
const TOLD: usize = 20;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) projection: &'static str,
    pub(super) version: u32,
    pub(super) against: u32,
    pub(super) outcome: Outcome,
    pub(super) rows: u64,
    pub(super) differences: u64,
    pub(super) comparisons: Vec<Findings>,
}

pub(super) fn text(report: &Report) -> String {
    let Report {
        projection,
        version,
        against,
        rows,
        differences,
        ..
    } = report;
    let outcome = match report.outcome {
        Outcome::Passed => format!("agree: {rows} rows"),
        Outcome::Failed => {
            format!("DIFFER: {differences} rows or parked records of {rows} compared")
        }
        Outcome::Unsettled => format!("did not settle: nothing is proven by {rows} rows"),
    };
    let mut text = format!("{projection}@{version} and {projection}@{against} {outcome}");
    for findings in &report.comparisons {
        let (left, right) = (&findings.left, &findings.right);
        if let Some(stuck) = &findings.stuck {
            text.push_str(&format!("\n  {stuck}"));
        }
        if findings.unsettled > 0 {
            let count = findings.unsettled;
            text.push_str(&format!(
                "\n  {count} rows or parked records kept changing in {left} and {right}"
            ));
        }
        for difference in findings.differences.iter().take(TOLD) {
            text.push_str(&told(left, right, difference));
        }
        let parked = [
            (left, &findings.parked_left_only),
            (right, &findings.parked_right_only),
        ];
        for (side, parked) in parked {
            for (topic, partition, offset) in parked.iter().take(TOLD) {
                text.push_str(&format!(
                    "\n  {topic}[{partition}] offset {offset} is parked in {side} only"
                ));
            }
        }
        if let Some(error) = &findings.events_incomplete {
            text.push_str(&format!("\n  not every event was read: {error}"));
        }
        if findings.count() > TOLD as u64 {
            text.push_str("\n  and more: --json has them");
        }
        if findings.more {
            text.push_str("\n  and the rest was not compared");
        }
    }
    text
}

fn told(left: &str, right: &str, difference: &Difference) -> String {
    let key = serde_json::to_string(&difference.key).unwrap_or_default();
    let mut text = format!("\n  {} {key}", difference.table);
    match (difference.left_seq, difference.right_seq) {
        (Some(_), None) => text.push_str(&format!(": only in {left}")),
        (None, Some(_)) => text.push_str(&format!(": only in {right}")),
        _ => {
            for field in &difference.fields {
                let json = |value| serde_json::to_string(value).unwrap_or_default();
                text.push_str(&format!(
                    "\n    {}: {} in {left}, {} in {right}",
                    field.column,
                    json(&field.left),
                    json(&field.right)
                ));
            }
        }
    }
    for event in &difference.events {
        text.push_str(&format!(
            "\n    {} at {}[{}] offset {}, seq {}, wrote {}",
            event.event,
            event.topic,
            event.partition,
            event.offset,
            event.seq,
            event.columns.join(", ")
        ));
    }
    text
}
