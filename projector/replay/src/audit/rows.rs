//! The rows of every read model against the events that wrote to them since the last audit.

use std::collections::{BTreeMap, HashMap, HashSet};

use cartwright_event_log::{EventLog, Record, Start, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_events::{Envelope, Event, Stream};
use cartwright_folds::Outcome;
use cartwright_projector::{Plan, decode, envelope, fold};
use cartwright_read_model::{Position, PositionKey, Projection, Row, Table, Value};

use super::findings::{Finding, Severity};
use super::made::{Expected, Fault, Made, RowId};
use super::stored::StoredView;
use crate::context::Context;
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

/// A record: its stream, partition and offset.
pub type Place = (Stream, u32, u64);

/// The rows of one version of a projection.
pub trait ViewRows {
    /// Its name.
    fn label(&self) -> String;

    /// How far it is.
    ///
    /// # Errors
    /// What the store said.
    fn positions(&self) -> anyhow::Result<Vec<(PositionKey, Position)>>;

    /// The rows with these keys that there are.
    ///
    /// # Errors
    /// What the store said.
    fn get(&self, table: &'static Table, keys: &[Vec<Value>]) -> anyhow::Result<Vec<Row>>;

    /// Gives every row of a table to `visit`.
    ///
    /// # Errors
    /// What the store said.
    fn scan(
        &self,
        table: &'static Table,
        visit: &mut (dyn FnMut(Row) + Send),
    ) -> anyhow::Result<()>;

    /// The records that are parked or were given up: they have made nothing of its rows.
    ///
    /// # Errors
    /// What the store said.
    fn put_aside(&self) -> anyhow::Result<HashSet<Place>>;
}

/// The check of one audit: [`RowCheck::take`] every record, then [`RowCheck::finish`].
pub struct RowCheck<'a> {
    codec: &'a Codec,
    views: Vec<View<'a>>,
    rows_checked: u64,
}

/// A projection in its current version.
struct View<'a> {
    rows: Box<dyn ViewRows + 'a>,
    plan: Plan,
    aside: HashSet<Place>,
    expected: Expected,
    /// Rows that were not what they should be when they were looked at; what is written to them later
    /// is held against them together with it.
    suspects: HashMap<RowId, (Made, Fault)>,
    /// The first event of each partition whose rows are still to be looked at.
    left: BTreeMap<(Stream, u32), u64>,
}

impl<'a> RowCheck<'a> {
    /// Over nothing.
    #[must_use]
    pub const fn none(codec: &'a Codec) -> Self {
        Self {
            codec,
            views: Vec::new(),
            rows_checked: 0,
        }
    }

    /// Over each of `projections` that has a version which this code knows how to build.
    ///
    /// # Errors
    /// What a store said.
    pub fn new(
        context: &'a Context,
        codec: &'a Codec,
        projections: &[&'static Projection],
    ) -> anyhow::Result<Self> {
        let mut check = Self::none(codec);
        for projection in projections {
            let home = Home::open(context, projection.name)?;
            let Some(versions) = home.find()? else {
                continue;
            };
            let current = versions.get(versions.current);
            match current.map(|version| home.plan(version)).transpose() {
                Ok(None) => {}
                Ok(Some(plan)) => {
                    let rows = StoredView::new(context, home, plan);
                    check.add(plan, Box::new(rows))?;
                }
                Err(error) => context.output.remark(format!(
                    "rows of {} are not audited: {error}",
                    projection.name
                )),
            }
        }
        Ok(check)
    }

    /// Over one more view.
    ///
    /// # Errors
    /// What its store said.
    pub fn add(&mut self, plan: Plan, rows: Box<dyn ViewRows + 'a>) -> anyhow::Result<()> {
        self.views.push(View {
            aside: rows.put_aside()?,
            rows,
            plan,
            expected: Expected::default(),
            suspects: HashMap::new(),
            left: BTreeMap::new(),
        });
        Ok(())
    }

    /// Rows that were held against their events.
    #[must_use]
    pub const fn rows_checked(&self) -> u64 {
        self.rows_checked
    }

    /// Whether there is anything to look at.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.views.is_empty()
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
            if let Some(ops) = view.fold(&envelope, &event) {
                for op in &ops {
                    let id = RowId::of(op);
                    if let Some((made, _)) = view.suspects.remove(&id) {
                        view.expected.take_back(id, made);
                    }
                }
                view.expected.take(&envelope, name, &ops);
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
                    let ops = view.fold(&envelope, &event);
                    touched.extend(ops.iter().flatten().map(RowId::of));
                }
            }
            Ok(())
        })?;
        let mut findings = Vec::new();
        for (view, touched) in self.views.iter_mut().zip(&touched) {
            findings.extend(view.judge(touched)?);
        }
        Ok(findings)
    }

    /// From where on each topic-partition has to be read again: rows that its events made could not be
    /// looked at, or are wrong.
    #[must_use]
    pub fn left(&self) -> BTreeMap<TopicPartition, u64> {
        let mut all = BTreeMap::new();
        for ((stream, partition), offset) in self.views.iter().flat_map(|view| &view.left) {
            let at = TopicPartition::new(stream.topic(), *partition);
            let first = all.entry(at).or_insert(*offset);
            *first = (*first).min(*offset);
        }
        all
    }

    fn read(&self, stream: Stream, record: &Record) -> Option<(Envelope, Event)> {
        let envelope = envelope(stream, record).ok()?;
        let event = decode(self.codec, stream, record.value.as_deref()?);
        Some((envelope, event.ok()?))
    }

    /// Holds what is expected against the stores.
    fn look(&mut self) -> anyhow::Result<()> {
        for view in &mut self.views {
            self.rows_checked += view.look()?;
        }
        Ok(())
    }
}

/// The rows that `made` stands for are to be looked at another time.
fn keep(left: &mut BTreeMap<(Stream, u32), u64>, made: &Made) {
    for (stream, partition, offset) in &made.from {
        let first = left.entry((*stream, *partition)).or_insert(*offset);
        *first = (*first).min(*offset);
    }
}

impl View<'_> {
    /// What an event makes of the rows, if it makes anything of them.
    fn fold(
        &self,
        envelope: &Envelope,
        event: &Event,
    ) -> Option<Vec<cartwright_read_model::RowOp>> {
        let place = (envelope.stream, envelope.partition, envelope.offset);
        let reads = self.plan.projection.streams.contains(&envelope.stream);
        if !reads || self.aside.contains(&place) {
            return None;
        }
        match fold(self.plan.fold, envelope, event) {
            Outcome::Emit(ops) => Some(ops),
            Outcome::Drop(_) | Outcome::Reject(_) => None,
        }
    }

    fn look(&mut self) -> anyhow::Result<u64> {
        // Before the rows: they are at least as new.
        let positions = self.rows.positions()?;
        let generation = self.plan.generation;
        let is_applied = |made: &Made| {
            positions.iter().any(|(key, position)| {
                (key.stream.topic(), key.partition) == (&*made.at.topic, made.at.partition)
                    && position.generation == generation
                    && position.seq >= made.seq
            })
        };
        let mut looked = 0;
        for mut rows in self.expected.drain().into_values() {
            // Enough to know that the view is not what it should be.
            let enough = self.suspects.len() > MOST_SUSPECTS;
            let left = &mut self.left;
            rows.retain(|(_, made)| {
                let look = is_applied(made) && !enough;
                if !look {
                    keep(left, made);
                }
                look
            });
            looked += rows.len() as u64;
            self.look_at(rows)?;
        }
        Ok(looked)
    }

    /// Holds rows of one table against what they should be.
    fn look_at(&mut self, rows: Vec<(RowId, Made)>) -> anyhow::Result<()> {
        let Some((_, first)) = rows.first() else {
            return Ok(());
        };
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
        match by_key {
            true => self
                .rows
                .get(table, &keys)?
                .into_iter()
                .for_each(&mut judge),
            false => self.rows.scan(table, &mut judge)?,
        }
        let missing = left.into_values();
        self.suspects.extend(missing.filter_map(|(id, made)| {
            let fault = made.fault(None)?;
            Some((id, (made, fault)))
        }));
        Ok(())
    }

    /// What is wrong, but for rows that have been `touched` since: these are looked at the next time.
    fn judge(&mut self, touched: &HashSet<RowId>) -> anyhow::Result<Vec<Finding>> {
        // Some may have been put aside while the log was read.
        let aside = self.rows.put_aside()?;
        let label = self.rows.label();
        let mut findings = Vec::new();
        for (id, (made, fault)) in std::mem::take(&mut self.suspects) {
            let stream = Stream::of_topic(&made.at.topic);
            let place = stream.map(|stream| (stream, made.at.partition, made.at.offset));
            if place.is_some_and(|place| aside.contains(&place)) {
                continue;
            }
            keep(&mut self.left, &made);
            if !touched.contains(&id) && findings.len() < MOST_TOLD {
                findings.push(finding(&label, &made, &fault));
            }
        }
        Ok(findings)
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
