//! Folding the whole log without writing anything.

use std::collections::BTreeMap;

use anyhow::Context as _;
use cartwright_event_log::{EventLog, Record};
use cartwright_events::codec::{Codec, CodecError};
use cartwright_events::{Envelope, Event, Stream, framing};
use cartwright_folds::Outcome;
use cartwright_projector::{Plan, decode, envelope, fold};
use serde::Serialize;

use crate::reading::{read_once, whole_topic};

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Records read.
    pub records: u64,
    /// By topic, event type and schema id.
    pub types: Vec<TypeCount>,
    /// By projection.
    pub projections: Vec<FoldCount>,
    /// By projection, event type and schema id.
    pub outcomes: Vec<OutcomeCount>,
    /// Records that no longer decode, upcast or fold: how many problems there are in all.
    pub problem_count: u64,
    /// The first of them, in the order of the log.
    pub problems: Vec<Problem>,
}

/// How many records of a type were written with a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TypeCount {
    /// The topic.
    pub topic: &'static str,
    /// The event type, as decoded; `?` where it does not decode.
    pub event_type: String,
    /// The schema's id in the registry; `None` where there is no frame.
    pub schema_id: Option<u32>,
    /// Records.
    pub records: u64,
}

/// What a projection's fold makes of the records of one type that were written with one schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutcomeCount {
    /// The projection, as `name@version` of its declaration, which is not the number of a version that was
    /// built by it.
    pub projection: String,
    /// The topic.
    pub topic: &'static str,
    /// The event type, as decoded; `?` where it does not decode.
    pub event_type: &'static str,
    /// The schema's id in the registry; `None` where there is no frame.
    pub schema_id: Option<u32>,
    /// How many ended how.
    #[serde(flatten)]
    pub ends: Ends,
}

/// How records ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// They write rows.
    pub emitted: u64,
    /// The projection has no use for them.
    pub dropped: u64,
    /// The fold can't take them.
    pub rejected: u64,
    /// They do not come as far as the fold.
    pub undecodable: u64,
    /// Operators gave them up, whatever they are.
    pub given_up: u64,
}

/// What a projection's fold makes of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoldCount {
    /// The projection.
    pub projection: &'static str,
    /// The version of the declaration.
    pub version: u32,
    /// Events that write rows.
    pub emitted: u64,
    /// Row operations of these.
    pub row_operations: u64,
    /// Events that it has no use for.
    pub dropped: u64,
    /// Events that it can't fold.
    pub rejected: u64,
    /// Records that operators gave up.
    pub given_up: u64,
}

/// Where reading or folding fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The topic.
    pub topic: &'static str,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// The key.
    pub key: String,
    /// The seq, where there is one.
    pub seq: Option<u64>,
    /// The projection whose fold fails; `None` where the record itself does.
    pub projection: Option<&'static str>,
    /// `envelope`, `decode`, `newer` or `fold`.
    pub stage: &'static str,
    /// What is wrong.
    pub reason: String,
}

struct Run<'a> {
    codec: &'a Codec,
    plans: &'a [Plan],
    max_problems: usize,
    types: BTreeMap<(&'static str, String, Option<u32>), u64>,
    /// By the plan's place among the plans.
    outcomes: BTreeMap<(usize, Type), Ends>,
    report: Report,
}

/// A topic, an event type and a schema id.
type Type = (&'static str, &'static str, Option<u32>);

/// Reads every topic that `plans` consume, from its beginning to its present end, and folds it, but for
/// what was given up under a plan, which is no problem of that one. Keeps at most `max_problems` problems
/// and counts the rest. `progress` is told of every record.
///
/// # Errors
/// When the log or the registry does not answer.
pub fn dry_run(
    log: &impl EventLog,
    codec: &Codec,
    plans: &[Plan],
    max_problems: usize,
    mut progress: impl FnMut(&Record),
) -> anyhow::Result<Report> {
    let mut run = Run {
        codec,
        plans,
        max_problems,
        types: BTreeMap::new(),
        outcomes: BTreeMap::new(),
        report: Report::default(),
    };
    run.report.projections = plans
        .iter()
        .map(|plan| FoldCount {
            projection: plan.projection.name,
            version: plan.version,
            emitted: 0,
            row_operations: 0,
            dropped: 0,
            rejected: 0,
            given_up: 0,
        })
        .collect();
    let consumed = |stream: &Stream| {
        let mut plans = plans.iter();
        plans.any(|plan| plan.projection.streams.contains(stream))
    };
    for stream in Stream::ALL.into_iter().filter(consumed) {
        let starts = whole_topic(log, stream.topic())?;
        read_once(log, &starts, |record| {
            run.take(stream, record)?;
            progress(record);
            Ok(())
        })?;
    }
    let outcomes = run.outcomes.into_iter();
    run.report.outcomes = outcomes
        .map(
            |((index, (topic, event_type, schema_id)), ends)| OutcomeCount {
                projection: plans[index].label(),
                topic,
                event_type,
                schema_id,
                ends,
            },
        )
        .collect();
    run.report.types = run
        .types
        .into_iter()
        .map(|((topic, event_type, schema_id), records)| TypeCount {
            topic,
            event_type,
            schema_id,
            records,
        })
        .collect();
    Ok(run.report)
}

impl Run<'_> {
    fn take(&mut self, stream: Stream, record: &Record) -> anyhow::Result<()> {
        self.report.records += 1;
        let envelope = envelope(stream, record);
        let value = record.value.as_deref().unwrap_or_default();
        let schema_id = framing::split(value).ok().map(|(id, _)| id);
        let decoded = decode(self.codec, stream, value);
        let event_type = match &decoded {
            Ok(event) => event.body.type_name(),
            Err(_) => "?",
        };
        let counted = (stream.topic(), event_type.to_owned(), schema_id);
        *self.types.entry(counted).or_default() += 1;
        let of = (stream.topic(), event_type, schema_id);
        let envelope = match envelope {
            Ok(envelope) => envelope,
            Err(error) => {
                let reason = format!("not written by a shard: {error}");
                self.undecodable(stream, record, of, "envelope", None, reason);
                return Ok(());
            }
        };
        match decoded {
            Ok(event) => self.fold(stream, record, &envelope, &event, of),
            Err(error @ CodecError::RegistryUnavailable(_)) => {
                return Err(error).context("schemas cannot be had");
            }
            Err(error) => {
                let stage = match error {
                    CodecError::NewerWriter { .. } => "newer",
                    _ => "decode",
                };
                let seq = Some(envelope.seq);
                self.undecodable(stream, record, of, stage, seq, error.to_string());
            }
        }
        Ok(())
    }

    /// Counts a record that no fold sees, for every projection that would. It is a problem of the record,
    /// unless it was given up under all of them.
    fn undecodable(
        &mut self,
        stream: Stream,
        record: &Record,
        of: Type,
        stage: &'static str,
        seq: Option<u64>,
        reason: String,
    ) {
        let mut is_missed = false;
        for (index, plan) in self.plans.iter().enumerate() {
            if !plan.projection.streams.contains(&stream) || self.gives_up(index, record, of) {
                continue;
            }
            self.outcomes.entry((index, of)).or_default().undecodable += 1;
            is_missed = true;
        }
        if is_missed {
            self.problem(stream, record, seq, None, stage, reason);
        }
    }

    /// Whether a record was given up under a plan, by its place among the plans; counts it then.
    fn gives_up(&mut self, index: usize, record: &Record, of: Type) -> bool {
        let gives_up = Stream::of_topic(of.0).is_some_and(|stream| {
            let place = (stream, record.partition, record.offset);
            let given_up = self.plans[index].given_up;
            given_up.is_some_and(|given_up| given_up.contains(&place))
        });
        if gives_up {
            self.report.projections[index].given_up += 1;
            self.outcomes.entry((index, of)).or_default().given_up += 1;
        }
        gives_up
    }

    fn fold(
        &mut self,
        stream: Stream,
        record: &Record,
        envelope: &Envelope,
        event: &Event,
        of: Type,
    ) {
        let seq = Some(envelope.seq);
        if record.key.as_deref() != Some(event.aggregate_id.as_bytes()) {
            let reason = format!("is about {:?}, not about its key", event.aggregate_id);
            return self.undecodable(stream, record, of, "decode", seq, reason);
        }
        for (index, plan) in self.plans.iter().enumerate() {
            if !plan.projection.streams.contains(&stream) || self.gives_up(index, record, of) {
                continue;
            }
            let outcome = fold(plan.fold, envelope, event);
            let count = &mut self.report.projections[index];
            let ends = self.outcomes.entry((index, of)).or_default();
            match outcome {
                Outcome::Emit(ops) => {
                    ends.emitted += 1;
                    count.emitted += 1;
                    count.row_operations += ops.len() as u64;
                }
                Outcome::Drop(_) => {
                    ends.dropped += 1;
                    count.dropped += 1;
                }
                Outcome::Reject(reason) => {
                    ends.rejected += 1;
                    count.rejected += 1;
                    let name = Some(plan.projection.name);
                    self.problem(stream, record, seq, name, "fold", reason);
                }
            }
        }
    }

    fn problem(
        &mut self,
        stream: Stream,
        record: &Record,
        seq: Option<u64>,
        projection: Option<&'static str>,
        stage: &'static str,
        reason: String,
    ) {
        self.report.problem_count += 1;
        if self.report.problems.len() >= self.max_problems {
            return;
        }
        let key = record.key.as_deref().unwrap_or_default();
        self.report.problems.push(Problem {
            topic: stream.topic(),
            partition: record.partition,
            offset: record.offset,
            key: String::from_utf8_lossy(key).into_owned(),
            seq,
            projection,
            stage,
            reason,
        });
    }
}
