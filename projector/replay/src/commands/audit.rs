//! `audit`: the log against the shop's invariants and against the read models.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use cartwright_event_log::{EventLog, Start, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_events::{Stream, Timestamp};
use cartwright_read_model::{PROJECTIONS, Position, PositionKey};
use serde::Serialize;

use super::progress::Progress;
use crate::audit::{
    Evidence, Finding, Limits, RowCheck, Severity, Watch, behind, books, everything, hold, judge,
    load, save,
};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::table;
use crate::parking::{self, Version};
use crate::reading::{read_once, whole_topic};
use crate::registry::{Home, current};

/// How long it is waited for another audit over the same state file.
const STATE_WAIT: Duration = Duration::from_secs(60);

/// Arguments of `audit`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to keep what is open between two audits, so that the next one reads only what is new. Of two
    /// at once over the same file, the second one waits, up to a minute.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Take the broken rules that the state file keeps as known: they are not told again, nor counted
    /// in the exit code.
    #[arg(long, requires = "state")]
    acknowledge: bool,
    /// Take what is owed back under these orders' ids, or has come for them although nobody knows them,
    /// as known: it is no warning any more unless it becomes more, and goes when the payment provider
    /// reports that it went back. Of what the state file holds.
    #[arg(long, value_name = "ORDER", value_delimiter = ',', requires_all = ["state", "reason"])]
    acknowledge_owed: Vec<String>,
    /// What is done about that; the findings tell it from now on.
    #[arg(long, value_name = "WORDS", requires = "acknowledge_owed")]
    reason: Option<String>,
    /// Read the whole log and hold every event against its aggregate's past. Takes memory for
    /// every order that there ever was.
    #[arg(long, conflicts_with = "state")]
    full: bool,
    /// Hold the rows of every read model against the events that are read, also when these are all
    /// that there are: then rows that no event made are found, too, which takes memory for every row that
    /// there ever was, about 30 bytes each. What is new since the last audit is always held against its
    /// events.
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
    let state = arguments.state.as_deref();
    let _held = state.map(|file| hold(file, STATE_WAIT)).transpose()?;
    let mut watch = match state {
        Some(file) => load(file, context.generation())?,
        None => Watch::new(context.generation()),
    };
    let is_first = watch.positions.is_empty();
    let acknowledged = acknowledge(arguments, &mut watch)?;
    let mut rows = match is_first {
        true => RowCheck::of_whole_log(&codec),
        false => RowCheck::none(&codec),
    };
    if arguments.rows || !is_first {
        rows.add_current(context, &PROJECTIONS)?;
        rows.look_again_at(&watch.strays);
    }
    let mut progress = Progress::new(context.output, "audit");
    // Reading may take long. Every topic is read at least up to here, so what is late is judged by it.
    let now = Timestamp::now();
    let (records_read, read_to) = follow(&log, &codec, &mut watch, &mut rows, &mut progress)?;
    progress.say("holding rows against their events");
    let mut findings = rows.finish(&log, &read_to)?;
    watch.keep_rows_from(rows.left());
    watch.keep_strays(rows.strays());
    if arguments.full {
        progress.expect(&log, &everything(&log)?)?;
        findings.extend(books(&log, &codec, |record| progress.read(record))?);
    }
    progress.finish();
    let limits = limits(arguments);
    findings.extend(judge(&watch, now, &limits));
    // Also of what an audit before could read.
    let unread = rows.unread().filter(|unread| !findings.contains(unread));
    findings.extend(unread.cloned().collect::<Vec<_>>());
    findings.extend(read_models(context, &log, &watch, now, &limits)?);
    let mut report = Report {
        records_read,
        rows_checked: rows.rows_checked(),
        acknowledged,
        ..Report::default()
    };
    if let Some(file) = state {
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

/// Takes what an operator says of what the state file holds. Answers how many broken rules are known
/// now.
fn acknowledge(arguments: &Arguments, watch: &mut Watch) -> anyhow::Result<u64> {
    let reason = arguments.reason.as_deref().unwrap_or_default();
    for order in &arguments.acknowledge_owed {
        let is_owed = watch.acknowledge_owed(order, reason, Timestamp::now());
        ensure!(
            is_owed,
            "the state file holds nothing that is owed under {order}"
        );
    }
    Ok(match arguments.acknowledge {
        true => watch.acknowledge(),
        false => 0,
    })
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
    progress: &mut Progress,
) -> anyhow::Result<(u64, Vec<(TopicPartition, u64)>)> {
    let (mut records, mut read_to) = (0, Vec::new());
    let mut to_read = Vec::new();
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
        progress.expect(log, &starts)?;
        to_read.push((stream, starts));
    }
    for (stream, starts) in to_read {
        let ends = read_once(log, &starts, |record| {
            records += 1;
            progress.read(record);
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
    log: &impl EventLog,
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
                // One of the log before has applied nothing of this one.
                let position = position.filter(|at| at.generation == context.generation());
                let at = TopicPartition::new(stream.topic(), *partition);
                let label = home.label(version);
                let limit = (now, limits.settle);
                findings.extend(behind(log, &label, &at, position, *seen, limit)?);
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
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        let words = ["audit"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.arguments)
    }

    fn arguments(line: &str) -> Arguments {
        parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn an_error_is_refused_and_a_warning_warned_of() {
        assert_eq!(exit(0, 0).code(), 0);
        assert_eq!(exit(0, 2).code(), 5);
        assert_eq!(exit(1, 2).code(), 3);
    }

    #[test]
    fn limits_are_what_the_command_line_says_in_its_units() {
        let of = |line| {
            let Limits {
                settle,
                refund,
                shipment,
            } = limits(&arguments(line));
            (settle, refund, shipment)
        };
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        assert_eq!(of(""), (minute, 24 * hour, None));
        let line = "--settle 120 --refund-within 2 --ship-within 3";
        assert_eq!(of(line), (2 * minute, 2 * hour, Some(3 * hour)));
    }

    #[test]
    fn what_is_acknowledged_is_in_a_state_file_and_money_has_a_reason() {
        for line in [
            "--acknowledge",
            "--acknowledge-owed o-1 --reason known",
            "--state f --acknowledge-owed o-1",
            "--state f --reason known",
            "--state f --full",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
        let all = arguments("--state f --acknowledge --acknowledge-owed o-1,o-2 --reason known");
        assert!(all.acknowledge);
        assert_eq!(all.acknowledge_owed, ["o-1", "o-2"]);
    }

    #[test]
    fn broken_rules_are_taken_as_known_when_it_is_asked_for() {
        let mut watch = Watch::new(1);
        watch.more_breaches = 7;
        let told = acknowledge(&arguments("--state f"), &mut watch).unwrap();
        assert_eq!((told, watch.more_breaches), (0, 7));
        let owed = arguments("--state f --acknowledge --acknowledge-owed o-1 --reason known");
        let error = acknowledge(&owed, &mut watch).unwrap_err().to_string();
        assert!(error.contains("o-1"), "{error}");
        assert_eq!(watch.more_breaches, 7, "all of it or nothing");
        let told = acknowledge(&arguments("--state f --acknowledge"), &mut watch).unwrap();
        assert_eq!((told, watch.more_breaches), (7, 0));
    }
}
