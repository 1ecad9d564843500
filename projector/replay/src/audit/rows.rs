//! The rows of every read model against the events that wrote to them since the last audit.

use std::collections::{HashMap, HashSet};

use cartwright_event_log::{EventLog, Record, Start, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_events::{Envelope, Event, Stream};
use cartwright_folds::Outcome;
use cartwright_projector::{Plan, envelope};
use cartwright_read_model::{PROJECTIONS, Row, Value};

use super::findings::{Finding, Severity};
use super::made::{Expected, Fault, Made, RowId};
use crate::context::Context;
use crate::parking::{self, Version};
use crate::reading::read_once;
use crate::registry::Home;

/// Rows that are held before they are looked at.
const MOST_ROWS: usize = 200_000;
/// With more rows of a table to look at, the whole table is read.
const MOST_ASKED_FOR: usize = 20_000;
/// Suspects of one projection beyond which no more are looked for at a time.
const MOST_SUSPECTS: usize = 100_000;
/// Rows of one projection that are told of.
const MOST_TOLD: usize = 1_000;

/// The check of one audit: [`RowCheck::take`] every record, then [`RowCheck::finish`].
pub struct RowCheck<'a> {
    context: &'a Context,
    codec: &'a Codec,
    views: Vec<View<'a>>,
    rows_checked: u64,
}

/// A projection in its current version.
struct View<'a> {
    home: Home<'a>,
    plan: Plan,
    expected: Expected,
    /// Rows that were not what they should be when they were looked at; what is written to them later
    /// clears them.
    suspects: HashMap<RowId, (Made, Fault)>,
}

impl<'a> RowCheck<'a> {
    /// Over nothing.
    #[must_use]
    pub const fn none(context: &'a Context, codec: &'a Codec) -> Self {
        Self {
            context,
            codec,
            views: Vec::new(),
            rows_checked: 0,
        }
    }

    /// Over every projection that has a version which this code knows how to build.
    ///
    /// # Errors
    /// What a store said.
    pub fn new(context: &'a Context, codec: &'a Codec) -> anyhow::Result<Self> {
        let mut check = Self::none(context, codec);
        for projection in PROJECTIONS {
            let home = Home::open(context, projection.name)?;
            let Some(versions) = home.find()? else {
                continue;
            };
            let current = versions.get(versions.current);
            match current.map(|version| home.plan(version)).transpose() {
                Ok(plan) => check.views.extend(plan.map(|plan| View {
                    home,
                    plan,
                    expected: Expected::default(),
                    suspects: HashMap::new(),
                })),
                Err(error) => context.output.remark(format!(
                    "rows of {} are not audited: {error}",
                    projection.name
                )),
            }
        }
        Ok(check)
    }

    /// Rows that were held against their events.
    #[must_use]
    pub const fn rows_checked(&self) -> u64 {
        self.rows_checked
    }

    /// Takes the next record of its topic-partition. One that can't be read writes no row.
    ///
    /// # Errors
    /// What a store said.
    pub fn take(&mut self, stream: Stream, record: &Record) -> anyhow::Result<()> {
        if self.views.is_empty() {
            return Ok(());
        }
        let Some((envelope, event)) = self.read(stream, record) else {
            return Ok(());
        };
        let name = event.body.type_name();
        for view in &mut self.views {
            if let Some(Outcome::Emit(ops)) = view.fold(&envelope, &event) {
                view.expected.take(&envelope, name, &ops);
                if !view.suspects.is_empty() {
                    for op in &ops {
                        view.suspects.remove(&RowId::of(op));
                    }
                }
            }
        }
        let held: usize = self.views.iter().map(|view| view.expected.len()).sum();
        match held > MOST_ROWS {
            true => self.look(),
            false => Ok(()),
        }
    }

    /// The rows that are wrong. `read_to` is where the records that were taken end: what has been
    /// written since may have changed a row rightly.
    ///
    /// # Errors
    /// What a store or the log said.
    pub fn finish(
        &mut self,
        log: &impl EventLog,
        read_to: &[(TopicPartition, u64)],
    ) -> anyhow::Result<Vec<Finding>> {
        self.look()?;
        if self.views.iter().all(|view| view.suspects.is_empty()) {
            return Ok(Vec::new());
        }
        let starts: Vec<_> = read_to
            .iter()
            .map(|(at, end)| (at.clone(), Start::Offset(*end)))
            .collect();
        let mut touched: Vec<HashSet<RowId>> = vec![HashSet::new(); self.views.len()];
        read_once(log, &starts, |record| {
            let stream = Stream::of_topic(&record.topic);
            if let Some((envelope, event)) = stream.and_then(|stream| self.read(stream, record)) {
                for (view, touched) in self.views.iter().zip(&mut touched) {
                    if let Some(Outcome::Emit(ops)) = view.fold(&envelope, &event) {
                        touched.extend(ops.iter().map(RowId::of));
                    }
                }
            }
            Ok(())
        })?;
        let mut findings = Vec::new();
        for (view, touched) in self.views.iter_mut().zip(&touched) {
            let aside = view.put_aside(self.context)?;
            let suspects = std::mem::take(&mut view.suspects).into_iter();
            let wrong = suspects.filter(|(id, (made, _))| {
                !touched.contains(id) && !aside.contains(&(made.at.offset, made.seq))
            });
            let label = view.home.label(view.plan.version);
            findings.extend(
                wrong
                    .take(MOST_TOLD)
                    .map(|(_, (made, fault))| finding(&label, &made, &fault)),
            );
        }
        Ok(findings)
    }

    fn read(&self, stream: Stream, record: &Record) -> Option<(Envelope, Event)> {
        let envelope = envelope(stream, record).ok()?;
        let event = self.codec.decode_event(stream, record.value.as_deref()?);
        Some((envelope, event.ok()?))
    }

    /// Holds what is expected against the stores.
    fn look(&mut self) -> anyhow::Result<()> {
        for view in &mut self.views {
            self.rows_checked += view.look(self.context)?;
        }
        Ok(())
    }
}

impl View<'_> {
    fn fold(&self, envelope: &Envelope, event: &Event) -> Option<Outcome> {
        let reads = self.plan.projection.streams.contains(&envelope.stream);
        reads.then(|| (self.plan.fold)(envelope, event))
    }

    fn look(&mut self, context: &Context) -> anyhow::Result<u64> {
        // Before the rows: they are at least as new.
        let positions = self.home.positions(self.plan.version)?;
        let is_applied = |made: &Made| {
            positions.iter().any(|(key, position)| {
                (key.stream.topic(), key.partition) == (&*made.at.topic, made.at.partition)
                    && position.seq >= made.seq
            })
        };
        let mut looked = 0;
        for mut rows in self.expected.drain().into_values() {
            rows.retain(|(_, made)| is_applied(made));
            let Some((_, first)) = rows.first() else {
                continue;
            };
            looked += rows.len() as u64;
            let (table, by_key) = (first.table, rows.len() <= MOST_ASKED_FOR);
            let mut left: HashMap<Vec<Value>, (RowId, Made)> = rows
                .into_iter()
                .map(|(id, made)| (made.key.clone(), (id, made)))
                .collect();
            let keys: Vec<Vec<Value>> = match by_key {
                true => left.keys().cloned().collect(),
                false => Vec::new(),
            };
            let suspects = &mut self.suspects;
            let mut judge = |row: Row| {
                if let Some((id, made)) = left.remove(&row.values[..table.key_len()])
                    && let Some(fault) = made.fault(Some(&row))
                {
                    suspects.insert(id, (made, fault));
                }
            };
            let (control, version) = (&self.home.control, self.plan.version);
            if by_key {
                let stored = context.wait(control.get(table, version, &keys))?;
                stored.into_iter().for_each(&mut judge);
            } else {
                context.wait(control.scan(table, version, &mut judge))?;
            }
            let missing = left.into_values();
            self.suspects.extend(missing.filter_map(|(id, made)| {
                let fault = made.fault(None)?;
                Some((id, (made, fault)))
            }));
            // Enough to know that the view is not what it should be.
            if self.suspects.len() > MOST_SUSPECTS {
                break;
            }
        }
        Ok(looked)
    }

    /// Records that were parked or given up, by offset and seq.
    fn put_aside(&self, context: &Context) -> anyhow::Result<HashSet<(u64, u64)>> {
        let of = Version {
            projection: self.plan.projection,
            version: self.plan.version,
        };
        let waiting = parking::waiting(context, of)?.into_iter();
        let waiting = waiting.map(|each| (each.record.offset, each.record.seq));
        let skipped = parking::skipped(context, of)?.into_iter();
        let skipped = skipped.map(|each| (each.offset, each.seq));
        Ok(waiting.chain(skipped).collect())
    }
}

fn finding(label: &str, made: &Made, fault: &Fault) -> Finding {
    let key = serde_json::to_string(&made.key).unwrap_or_default();
    let said = match fault {
        Fault::Missing => "is not there".to_owned(),
        Fault::StillThere => "is there although it was deleted".to_owned(),
        Fault::Older => "has not seen it although its position is past it".to_owned(),
        Fault::Differs(fields) => {
            let json = |value| serde_json::to_string(value).unwrap_or_default();
            let fields = fields.iter().map(|(column, is, should)| {
                format!("{column} is {}, it made it {}", json(is), json(should))
            });
            fields.collect::<Vec<_>>().join("; ")
        }
    };
    Finding {
        severity: Severity::Error,
        rule: "read_model_differs",
        subject: label.to_owned(),
        detail: format!(
            "{} {key}, last written by {}: {said}",
            made.table.name, made.event
        ),
        evidence: Some(made.at.clone()),
    }
}
