//! The rows of every read model against the events that wrote to them since the last audit and, where the whole
//! log is read, against all events, which tells rows that no event made.
//!
//! No row is told of before every event has been taken that writes to it: the row may have seen a later one
//! already, and then says nothing of those before. Where there is no room for as many rows, those that are right
//! by then are let go; where these are too few, a part is held, by the keys, and what was read is read again for
//! the others.

use std::collections::{BTreeMap, HashSet};

use cartwright_event_log::{EventLog, Record, Start, TopicPartition};
use cartwright_events::codec::Codec;
use cartwright_events::{Envelope, Event, Stream};
use cartwright_projector::{Plan, decode, envelope};
use cartwright_read_model::{Position, PositionKey, Projection, Row, Table, Value};

use super::findings::Finding;
use super::made::RowId;
use super::stored::StoredView;
use super::strays::KnownStray;
use super::unread::Unread;
use super::view::View;
use crate::context::Context;
use crate::part::Part;
use crate::reading::{decided, read_again, read_once};
use crate::registry::Home;

/// Rows that are held at a time.
const MOST_ROWS: usize = 500_000;

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
    most_rows: usize,
    /// The rows that are held now.
    part: Part,
    /// Those that there was no room for.
    later: Vec<Part>,
    /// The first record of each partition that was taken, by the order of reading.
    begun: Vec<(Stream, BTreeMap<u32, u64>)>,
    unread: Unread,
    /// Rows that no event made, of versions that are not looked at.
    others: Vec<KnownStray>,
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
            most_rows: MOST_ROWS,
            part: Part::WHOLE,
            later: Vec::new(),
            begun: Vec::new(),
            unread: Unread::new(),
            others: Vec::new(),
        }
    }

    /// The same with so many rows held at a time.
    #[must_use]
    pub fn holding(self, most_rows: usize) -> Self {
        Self { most_rows, ..self }
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

    /// Looks at rows again that an audit before has found to be of no event, unless one writes to them now.
    pub fn look_again_at(&mut self, strays: &[KnownStray]) {
        for known in strays {
            let mut views = self.views.iter_mut();
            match views.find(|view| known.is_of(view.plan())) {
                Some(view) => view.look_again_at(known),
                None => self.others.push(known.clone()),
            }
        }
    }

    /// The rows that are of no event, for the next audit.
    #[must_use]
    pub fn strays(&self) -> Vec<KnownStray> {
        let found = self.views.iter().flat_map(View::kept);
        self.others.iter().chain(found).cloned().collect()
    }

    /// Where events could not be read yet: nothing is said of the rows that these may have written to.
    pub fn unread(&self) -> impl Iterator<Item = &Finding> {
        self.unread.findings()
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

    /// Takes the next record of its topic-partition. One that never can be read writes no row.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub fn take(&mut self, stream: Stream, record: &Record) -> anyhow::Result<()> {
        if self.views.is_empty() {
            return Ok(());
        }
        self.begin(stream, record);
        self.take_in(stream, record, true)
    }

    fn begin(&mut self, stream: Stream, record: &Record) {
        let known = self.begun.iter().position(|(begun, _)| *begun == stream);
        let at = known.unwrap_or_else(|| {
            self.begun.push((stream, BTreeMap::new()));
            self.begun.len() - 1
        });
        let (_, partitions) = &mut self.begun[at];
        partitions.entry(record.partition).or_insert(record.offset);
    }

    fn take_in(&mut self, stream: Stream, record: &Record, is_first: bool) -> anyhow::Result<()> {
        let Some((envelope, event)) = self.read(stream, record)? else {
            return Ok(());
        };
        for view in &mut self.views {
            view.take(&envelope, &event, self.part, is_first);
        }
        if self.held() > self.most_rows {
            self.make_room()?;
        }
        Ok(())
    }

    fn held(&self) -> usize {
        self.views.iter().map(View::held).sum()
    }

    /// Most rows are right, and by their last event already. Where too few are, others are held later, for
    /// which all is read again.
    fn make_room(&mut self) -> anyhow::Result<()> {
        for view in &mut self.views {
            self.rows_checked += view.settle()?;
        }
        while self.held() > self.most_rows.div_ceil(2)
            && let Some(other) = self.part.halve()
        {
            self.later.push(other);
            for view in &mut self.views {
                view.keep(self.part);
            }
        }
        Ok(())
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
        let mut findings = Vec::new();
        loop {
            for view in &mut self.views {
                self.rows_checked += view.look()?;
            }
            if self.later.is_empty() {
                for view in &mut self.views {
                    view.look_for_strays(&self.unread)?;
                }
            }
            findings.extend(self.wrong(log, read_to)?);
            let Some(part) = self.later.pop() else {
                findings.extend(self.views.iter().filter_map(View::untold));
                return Ok(findings);
            };
            self.part = part;
            self.take_again(log, read_to)?;
        }
    }

    /// Takes all that was taken, for another part of the rows.
    fn take_again(
        &mut self,
        log: &impl EventLog,
        read_to: &[(TopicPartition, u64)],
    ) -> anyhow::Result<()> {
        for (stream, partitions) in self.begun.clone() {
            let parts = partitions.into_iter().filter_map(|(partition, offset)| {
                let at = TopicPartition::new(stream.topic(), partition);
                let (_, end) = read_to.iter().find(|(read, _)| *read == at)?;
                Some((at, Start::Offset(offset), *end))
            });
            let parts: Vec<_> = parts.collect();
            read_again(log, &parts, |record| self.take_in(stream, record, false))?;
        }
        Ok(())
    }

    /// What is wrong with the rows that were looked at.
    fn wrong(
        &mut self,
        log: &impl EventLog,
        read_to: &[(TopicPartition, u64)],
    ) -> anyhow::Result<Vec<Finding>> {
        if self.views.iter().all(View::is_right) {
            return Ok(Vec::new());
        }
        let starts: Vec<_> = read_to
            .iter()
            .map(|(at, end)| (at.clone(), Start::Offset(*end)))
            .collect();
        let mut touched: Vec<HashSet<RowId>> = vec![HashSet::new(); self.views.len()];
        read_once(log, &starts, |record| {
            if let Some(stream) = Stream::of_topic(&record.topic)
                && let Some((envelope, event)) = self.read(stream, record)?
            {
                for (view, touched) in self.views.iter().zip(&mut touched) {
                    let ops = view.fold(&envelope, &event);
                    touched.extend(ops.iter().flatten().map(RowId::of));
                }
            }
            Ok(())
        })?;
        let mut findings = Vec::new();
        for (view, touched) in self.views.iter_mut().zip(&touched) {
            findings.extend(view.judge(touched, &self.unread)?);
        }
        Ok(findings)
    }

    /// From where on each topic-partition has to be read again: rows that its events made could not be
    /// looked at, or are wrong.
    #[must_use]
    pub fn left(&self) -> BTreeMap<TopicPartition, u64> {
        let mut all = BTreeMap::new();
        let left = self.views.iter().flat_map(View::left);
        let left = left.map(|((stream, partition), offset)| (*stream, *partition, *offset));
        for (stream, partition, offset) in left.chain(self.unread.places()) {
            let at = TopicPartition::new(stream.topic(), partition);
            let first = all.entry(at).or_insert(offset);
            *first = (*first).min(offset);
        }
        all
    }

    /// The event of a record, where there is one that can be read.
    fn read(
        &mut self,
        stream: Stream,
        record: &Record,
    ) -> anyhow::Result<Option<(Envelope, Event)>> {
        if self.unread.holds(record) {
            return Ok(None);
        }
        let (Ok(envelope), Some(value)) = (envelope(stream, record), record.value.as_deref())
        else {
            return Ok(None);
        };
        match decided(decode(self.codec, stream, value))? {
            Ok(event) => return Ok(Some((envelope, event))),
            Err(error) if Unread::is(&error) => self.unread.add(record, &error),
            Err(_) => {}
        }
        Ok(None)
    }
}
