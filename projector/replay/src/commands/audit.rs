//! `audit`: the log against the shop's invariants and against the read models.

use std::path::PathBuf;
use std::time::Duration;

use cartwright_event_log::{EventLog, Start, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_events::{Context as Bounded, Stream, Timestamp};
use cartwright_ledger::Ledger;
use cartwright_projector::envelope;
use cartwright_read_model::{PROJECTIONS, Position, PositionKey};
use serde::Serialize;

use crate::audit::{Evidence, Finding, Limits, RowCheck, Severity, Watch, judge, load, save};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::table;
use crate::parking::{self, Version};
use crate::reading::{read_once, whole_topic};
use crate::registry::{Home, current};

/// Arguments of `audit`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to keep what is open between two audits, so that the next one reads only what is new.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Take the broken rules that the state file keeps as known: they are not told again, nor counted
    /// in the exit code.
    #[arg(long, requires = "state")]
    acknowledge: bool,
    /// Read the whole log and hold every event against its aggregate's past. Takes memory for
    /// every order that there ever was.
    #[arg(long, conflicts_with = "state")]
    full: bool,
    /// Hold the rows of every read model against the events that are read, also when these are all
    /// that there are. Those that are new since the last audit always are.
    #[arg(long)]
    rows: bool,
    /// Seconds that what needs nobody may take: conversations between shards, timers, projections.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    settle: u64,
    /// Hours within which money owed is paid back.
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    refund_within: u64,
    /// Hours within which paid orders are shipped; without it, as long as it takes.
    #[arg(long, value_name = "HOURS")]
    ship_within: Option<u64>,
    /// Findings that are listed; all are counted.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    max_findings: usize,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    records_read: u64,
    /// Rows of read models that were held against the events that were read.
    rows_checked: u64,
    open_orders: usize,
    open_holds: usize,
    /// Broken rules that were kept until now and are no longer.
    acknowledged: u64,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

/// Audits. Exit codes: 0 nothing is wrong, 5 warnings, 3 errors.
///
/// # Errors
/// When the log, the registry or a store does not answer, or the state cannot be kept.
pub fn run(context: &Context, arguments: &Arguments) -> anyhow::Result<Exit> {
    let (log, codec) = (context.log()?, context.codec()?);
    let mut watch = match &arguments.state {
        Some(file) => load(file, context.generation())?,
        None => Watch::new(context.generation()),
    };
    let is_first = watch.positions.is_empty();
    let acknowledged = match arguments.acknowledge {
        true => watch.acknowledge(),
        false => 0,
    };
    let mut rows = match arguments.rows || !is_first {
        true => RowCheck::new(context, &codec, &PROJECTIONS)?,
        false => RowCheck::none(&codec),
    };
    let (records_read, read_to) = follow(&log, &codec, &mut watch, &mut rows)?;
    let limits = limits(arguments);
    let now = Timestamp::now();
    let mut findings = judge(&watch, now, &limits);
    findings.extend(read_models(context, &watch, now, &limits)?);
    findings.extend(rows.finish(&log, &read_to)?);
    watch.keep_rows_from(rows.left());
    let mut report = Report {
        records_read,
        rows_checked: rows.rows_checked(),
        acknowledged,
        ..Report::default()
    };
    if arguments.full {
        findings.extend(whole_log(&log, &codec)?);
    }
    if let Some(file) = &arguments.state {
        save(file, &watch)?;
    }
    let count = |severity| {
        let of = |finding: &&Finding| finding.severity == severity;
        findings.iter().filter(of).count()
    };
    (report.errors, report.warnings) = (count(Severity::Error), count(Severity::Warning));
    (report.open_orders, report.open_holds) = (watch.orders.len(), watch.holds.len());
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings.truncate(arguments.max_findings);
    report.findings = findings;
    context.output.result(&report, text);
    Ok(exit(report.errors, report.warnings))
}

const fn exit(errors: usize, warnings: usize) -> Exit {
    match (errors, warnings) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Warned,
        _ => Exit::Refused,
    }
}

const fn limits(arguments: &Arguments) -> Limits {
    const HOUR_S: u64 = 3_600;
    Limits {
        settle: Duration::from_secs(arguments.settle),
        refund: Duration::from_secs(arguments.refund_within * HOUR_S),
        shipment: match arguments.ship_within {
            Some(hours) => Some(Duration::from_secs(hours * HOUR_S)),
            None => None,
        },
    }
}

/// Reads what is new. Stock before orders: a hold that is met without its order is younger than
/// the order's absence.
fn follow(
    log: &impl EventLog,
    codec: &Codec,
    watch: &mut Watch,
    rows: &mut RowCheck<'_>,
) -> anyhow::Result<(u64, Vec<(TopicPartition, u64)>)> {
    let (mut records, mut read_to) = (0, Vec::new());
    for stream in [Stream::Product, Stream::Stock, Stream::Cart, Stream::Order] {
        let starts: Vec<(TopicPartition, Start)> = whole_topic(log, stream.topic())?
            .into_iter()
            .map(|(at, _)| {
                let start = match rows.is_empty() {
                    true => watch.start(&at),
                    false => watch.rows_start(&at),
                };
                (at, start)
            })
            .collect();
        let ends = read_once(log, &starts, |record| {
            records += 1;
            watch.take(codec, stream, record)?;
            rows.take(stream, record)
        })?;
        for (at, end) in &ends {
            watch.read_to(at, *end);
        }
        read_to.extend(ends);
    }
    Ok((records, read_to))
}

/// Every projection against the ends of the log that were read.
fn read_models(
    context: &Context,
    watch: &Watch,
    now: Timestamp,
    limits: &Limits,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for projection in PROJECTIONS {
        let home = Home::open(context, projection.name)?;
        let version = current(context, projection)?;
        let of = Version {
            projection,
            version,
        };
        let found = home.positions(version)?;
        for stream in projection.streams {
            let partitions = watch.positions.get(stream.topic());
            for (partition, seen) in partitions.into_iter().flatten() {
                let at = |(key, _): &&(PositionKey, Position)| {
                    (key.stream, key.partition) == (*stream, *partition)
                };
                let position = found.iter().find(at).map(|(_, position)| *position);
                let seq = position.map_or(0, |position| position.seq);
                let settle_us = i64::try_from(limits.settle.as_micros()).unwrap_or(i64::MAX);
                let age_us = seen
                    .recorded_at
                    .map_or(0, |at| now.as_micros() - at.as_micros());
                if seq < seen.seq && age_us > settle_us {
                    findings.push(Finding {
                        severity: Severity::Error,
                        rule: "read_model_behind",
                        subject: home.label(version),
                        detail: format!(
                            "applied seq {seq} of {} in {}[{partition}]",
                            seen.seq,
                            stream.topic()
                        ),
                        evidence: Some(Evidence {
                            topic: stream.topic().to_owned(),
                            partition: *partition,
                            offset: position.map_or(0, |position| position.next_offset),
                        }),
                    });
                }
            }
        }
        let waiting = parking::waiting(context, of)?;
        if let Some(first) = waiting.first() {
            findings.push(Finding {
                severity: Severity::Warning,
                rule: "records_are_parked",
                subject: home.label(version),
                detail: format!("{} records are parked", waiting.len()),
                evidence: Some(Evidence {
                    topic: first.topic.to_owned(),
                    partition: first.partition,
                    offset: first.record.offset,
                }),
            });
        }
    }
    Ok(findings)
}

/// The books over the whole log, as the demo keeps them.
fn whole_log(log: &impl EventLog, codec: &Codec) -> anyhow::Result<Vec<Finding>> {
    let mut ledger = Ledger::default();
    let mut starts = Vec::new();
    for stream in Stream::ALL {
        starts.extend(whole_topic(log, stream.topic())?);
    }
    for context in Bounded::ALL {
        starts.extend(whole_topic(log, context.journal_topic())?);
    }
    read_once(log, &starts, |record| {
        let value = record.value.as_deref().unwrap_or_default();
        if let Some(stream) = Stream::of_topic(&record.topic) {
            // What can't be read is a finding of the other part.
            let envelope = envelope(stream, record);
            if let (Ok(envelope), Ok(event)) = (envelope, codec.decode_event(stream, value)) {
                ledger.event(&envelope, &event);
            }
            return Ok(());
        }
        let context = Bounded::ALL
            .into_iter()
            .find(|context| context.journal_topic() == &*record.topic);
        if let Some(context) = context
            && let Ok(journal) = codec.decode_journal(context, value)
        {
            ledger.journal.take(context, record.partition, &journal);
        }
        Ok(())
    })?;
    let journal = ("transactions are dense", &ledger.journal.dense);
    let rules = ledger.rules().into_iter().chain([journal]);
    let broken = rules.filter(|(_, audit)| audit.broken > 0);
    let mut findings: Vec<Finding> = broken
        .map(|(rule, audit)| Finding {
            severity: Severity::Error,
            rule,
            subject: "the whole log".to_owned(),
            detail: format!(
                "broken {} times in {}: {}",
                audit.broken,
                audit.checked,
                audit.examples.join("; ")
            ),
            evidence: None,
        })
        .collect();
    for (&(stream, partition), &seq) in ledger.last_seqs() {
        let claimed = ledger.journal.claimed(stream, partition);
        if claimed != seq {
            findings.push(Finding {
                severity: Severity::Error,
                rule: "every event belongs to one journaled transaction",
                subject: format!("{}[{partition}]", stream.topic()),
                detail: format!("{seq} in the topic, {claimed} in the journal"),
                evidence: None,
            });
        }
    }
    Ok(findings)
}

fn text(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .findings
        .iter()
        .map(|finding| {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "info",
            };
            let at = finding.evidence.as_ref().map_or(String::new(), |at| {
                format!("{}[{}]@{}", at.topic, at.partition, at.offset)
            });
            vec![
                severity.to_owned(),
                finding.rule.to_owned(),
                finding.subject.clone(),
                at,
                finding.detail.clone(),
            ]
        })
        .collect();
    let listed = match rows.is_empty() {
        true => String::new(),
        false => table(&["severity", "rule", "of", "evidence", "detail"], &rows) + "\n\n",
    };
    let acknowledged = match report.acknowledged {
        0 => String::new(),
        count => format!("; {count} broken rules are taken as known"),
    };
    format!(
        "{listed}{} records read, {} rows held against them, {} orders and {} holds open: {} errors, {} \
         warnings{acknowledged}",
        report.records_read,
        report.rows_checked,
        report.open_orders,
        report.open_holds,
        report.errors,
        report.warnings
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_refused_and_a_warning_warned_of() {
        assert_eq!(exit(0, 0).code(), 0);
        assert_eq!(exit(0, 2).code(), 5);
        assert_eq!(exit(1, 2).code(), 3);
    }
}
