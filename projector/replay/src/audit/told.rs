//! What is said of rows that are wrong.

use cartwright_read_model::{Row, Table, Value};

use super::findings::{Evidence, Finding, Severity};
use super::made::{Fault, Made};
use super::written::Stray;

const RULE: &str = "read_model_differs";

/// A row that is not what the events that were read make it.
pub(super) fn of_fault(label: &str, made: &Made, fault: &Fault) -> Finding {
    let said = match fault {
        Fault::Missing => "is not there".to_owned(),
        Fault::StillThere => "is there although it was deleted".to_owned(),
        Fault::Older => "has not seen it although its position is past it".to_owned(),
        Fault::Newer => "says that it has seen a later one, and there is none".to_owned(),
        Fault::Differs(fields) => {
            let json = |value| serde_json::to_string(value).unwrap_or_default();
            let fields = fields.iter().map(|(column, is, should)| {
                format!("{column} is {}, it made it {}", json(is), json(should))
            });
            fields.collect::<Vec<_>>().join("; ")
        }
    };
    let said = format!("last written by {}: {said}", made.event);
    finding(label, made.table, &made.key, &said, Some(made.at.clone()))
}

/// A row that is not as any event left it.
pub(super) fn of_stray(label: &str, row: &Row, stray: Stray) -> Finding {
    let said = match stray {
        Stray::Unwritten => "no event of the log has written to it".to_owned(),
        Stray::Newer { seq, last } => {
            format!("it has seq {seq}, and the last event that has written to it has seq {last}")
        }
    };
    let key = &row.values[..row.table.key_len()];
    finding(label, row.table, key, &said, None)
}

/// Rows of a view that are wrong, too, and are not told of one by one.
pub(super) fn of_more(label: &str, count: u64) -> Finding {
    Finding {
        severity: Severity::Error,
        rule: RULE,
        subject: label.to_owned(),
        detail: format!("{count} more rows differ"),
        evidence: None,
    }
}

fn finding(
    label: &str,
    table: &Table,
    key: &[Value],
    said: &str,
    evidence: Option<Evidence>,
) -> Finding {
    let key = serde_json::to_string(key).unwrap_or_default();
    Finding {
        severity: Severity::Error,
        rule: RULE,
        subject: label.to_owned(),
        detail: format!("{} {key}, {said}", table.name),
        evidence,
    }
}
