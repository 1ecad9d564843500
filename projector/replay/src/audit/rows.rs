//! The rows of every read model against the events that wrote to them since the last audit and, where the whole
//! log is read, against all events, which tells rows that no event made.

use std::collections::{BTreeMap, HashSet};

use cartwright_event_log::{EventLog, Record, Start, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_events::{Envelope, Event, Stream};
use cartwright_projector::{Plan, decode, envelope};
use cartwright_read_model::{Position, PositionKey, Projection, Row, Table, Value};

use super::findings::Finding;
use super::made::RowId;
use super::stored::StoredView;
use super::view::View;
use crate::context::Context;
use crate::reading::read_once;
use crate::registry::Home;

/// Rows that are held before they are looked at.
const MOST_ROWS: usize = 200_000;

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
    /// Whether the records are those of the whole log.
    is_whole: bool,
    views: Vec<View<'a>>,
    rows_checked: u64,
}

impl<'a> RowCheck<'a> {
    /// Over nothing.
    #[must_use]
    pub const fn none(codec: &'a Codec) -> Self {
        Self::new(codec, false)
    }

    /// Over nothing yet, for every record from the log's beginning on: rows that no event made are found too.
    /// That takes memory for every row that there ever was, about 30 bytes each.
    #[must_use]
    pub const fn of_whole_log(codec: &'a Codec) -> Self {
        Self::new(codec, true)
    }

    const fn new(codec: &'a Codec, is_whole: bool) -> Self {
        Self {
            codec,
            is_whole,
            views: Vec::new(),
            rows_checked: 0,
        }
    }

    /// Over each of `projections` that has a version which this code knows how to build, too.
    ///
    /// # Errors
    /// What a store said.
    pub fn add_current(
        &mut self,
        context: &'a Context,
        projections: &[&'static Projection],
    ) -> anyhow::Result<()> {
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
                    self.add(plan, Box::new(rows))?;
                }
                Err(error) => context.output.remark(format!(
                    "rows of {} are not audited: {error}",
                    projection.name
                )),
            }
        }
        Ok(())
    }

    /// Over one more view.
    ///
    /// # Errors
    /// What its store said.
    pub fn add(&mut self, plan: Plan, rows: Box<dyn ViewRows + 'a>) -> anyhow::Result<()> {
        self.views.push(View::new(plan, rows, self.is_whole)?);
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
        for view in &mut self.views {
            view.take(&envelope, &event);
        }
        let held: usize = self.views.iter().map(View::held).sum();
        match held > MOST_ROWS {
            true => self.look(false),
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
        self.look(true)?;
        for view in &mut self.views {
            view.look_for_strays()?;
        }
        if self.views.iter().all(View::is_right) {
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
        for ((stream, partition), offset) in self.views.iter().flat_map(View::left) {
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

    /// Holds what is expected against the stores; `is_last`: no record is taken any more.
    fn look(&mut self, is_last: bool) -> anyhow::Result<()> {
        for view in &mut self.views {
            self.rows_checked += view.look(is_last)?;
        }
        Ok(())
    }
}
