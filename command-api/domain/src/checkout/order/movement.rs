//! Goods on their way, there and back: what shipments and returns share.

use std::collections::BTreeMap;

use cartwright_events::{OrderId, Reference};
use serde_json::{Value, json};

use super::ship::LineQuantity;
use super::state::{Line, Placed, lines_content};
use crate::checks;
use crate::memory::Digest;
use crate::reason::Reason;
use crate::rejection::Rejection;

/// The units asked for, by line; each line once and above zero.
pub(super) fn distinct(lines: &[LineQuantity]) -> Result<BTreeMap<u32, i64>, Rejection> {
    if lines.is_empty() {
        return Err(Rejection::new(Reason::LinesMissing, "no line is named").field("lines"));
    }
    let mut units = BTreeMap::new();
    for (index, asked) in lines.iter().enumerate() {
        let parent = format!("lines[{index}]");
        checks::quantity("quantity", asked.quantity, i64::MAX)
            .map_err(|rejection| rejection.under(&parent))?;
        if units.insert(asked.line, asked.quantity).is_some() {
            let detail = format!("line {} is named twice", asked.line);
            return Err(Rejection::new(Reason::LineRepeated, detail)
                .field("line")
                .under(&parent)
                .with("line", asked.line));
        }
    }
    Ok(units)
}

/// The order's lines that were asked for, with the units.
pub(super) fn known_lines<'a>(
    id: &OrderId,
    placed: &'a Placed,
    asked: &BTreeMap<u32, i64>,
) -> Result<Vec<(&'a Line, i64)>, Rejection> {
    asked
        .iter()
        .map(|(number, quantity)| match placed.line(*number) {
            Some(line) => Ok((line, *quantity)),
            None => {
                let detail = format!("order {id} has no line {number}");
                Err(Rejection::new(Reason::UnknownLine, detail)
                    .field("lines")
                    .with("line", *number))
            }
        })
        .collect()
}

/// The reference was used for something else.
pub(super) fn reused(field: &str, reference: &Reference) -> Rejection {
    crate::inventory::reference_reused(field, Some(reference))
}

/// Lines of which more is asked than there is.
#[derive(Default)]
pub(super) struct Exceeding(Vec<Value>);

impl Exceeding {
    /// Looks at one line.
    pub(super) fn check(&mut self, line: &Line, requested: i64, left: i64) {
        if requested > left {
            self.0.push(
                json!({ "line": line.line, "sku": line.sku, "requested": requested, "left": left }),
            );
        }
    }

    /// A refusal that names them, if there are any.
    pub(super) fn refuse(self, reason: Reason, detail: String) -> Result<(), Rejection> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Rejection::new(reason, detail)
                .field("lines")
                .with("lines", self.0))
        }
    }
}

/// The digest of a return.
pub(super) fn return_content(lines: impl Iterator<Item = (u32, i64)>, restock: bool) -> Digest {
    lines_content(lines).number(i64::from(restock))
}
