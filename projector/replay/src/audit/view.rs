//! One view of an audit: what is expected of its rows, and what is wrong with them.

use std::collections::{BTreeMap, HashMap, HashSet};

use cartwright_events::{Envelope, Event, Stream};
use cartwright_folds::Outcome;
use cartwright_projector::{Plan, fold};
use cartwright_read_model::{Position, PositionKey, Row, RowOp, Table, Value};

use super::findings::Finding;
use super::made::{Expected, Fault, Made, RowId};
use super::rows::{Place, ViewRows};
use super::strays::KnownStray;
use super::told::{of_fault, of_more, of_stray};
use super::unread::Unread;
use super::written::{Stray, Written};
use crate::part::Part;

/// With more rows of a table to look at, the whole table is read.
const MOST_ASKED_FOR: usize = 20_000;
/// Rows of one projection that no event made, beyond which no more are looked for.
const MOST_STRAYS: usize = 100_000;
/// Rows of one projection that are told of.
const MOST_TOLD: u64 = 1_000;

/// A projection in its current version.
pub(super) struct View<'a> {
    rows: Box<dyn ViewRows + 'a>,
    plan: Plan,
    aside: HashSet<Place>,
    expected: Expected,
    /// Rows that were not what they should be when they were looked at.
    suspects: HashMap<RowId, (Made, Fault)>,
    /// Rows of records that were put aside when the check began, which may have been applied since.
    aside_rows: HashSet<RowId>,
    /// All that was written to, where the whole log is read.
    written: Option<Written>,
    strays: Vec<(Row, Stray)>,
    /// Rows that no event made, by an audit before, and to which none has written since.
    known: HashMap<RowId, KnownStray>,
    /// Those that are there still, and new ones.
    kept: Vec<KnownStray>,
    /// Rows that are wrong, also those that are not told of.
    wrong: u64,
    /// The first event of each partition whose rows are still to be looked at.
    left: BTreeMap<(Stream, u32), u64>,
}

impl<'a> View<'a> {
    /// The rows of the version that `plan` builds; `is_whole`: every event that there is will be taken.
    ///
    /// # Errors
    /// What the store said.
    pub(super) fn new(
        plan: Plan,
        rows: Box<dyn ViewRows + 'a>,
        is_whole: bool,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            aside: rows.put_aside()?,
            rows,
            plan,
            expected: Expected::default(),
            suspects: HashMap::new(),
            aside_rows: HashSet::new(),
            written: is_whole.then(Written::default),
            strays: Vec::new(),
            known: HashMap::new(),
            kept: Vec::new(),
            wrong: 0,
            left: BTreeMap::new(),
        })
    }

    /// What builds it.
    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Rows that are expected and were not looked at yet.
    pub(super) fn held(&self) -> usize {
        self.expected.len()
    }

    /// Whether nothing is wrong with what was looked at.
    pub(super) fn is_right(&self) -> bool {
        self.suspects.is_empty() && self.strays.is_empty()
    }

    /// The first event of each partition whose rows are still to be looked at.
    pub(super) const fn left(&self) -> &BTreeMap<(Stream, u32), u64> {
        &self.left
    }

    /// Looks at a row again that an audit before has found to be of no event. One of a table that there is no
    /// more is gone.
    pub(super) fn look_again_at(&mut self, known: &KnownStray) {
        if let Some(id) = known.row(&self.plan) {
            self.known.insert(id, known.clone());
        }
    }

    /// The rows that no event made and that are there.
    pub(super) fn kept(&self) -> &[KnownStray] {
        &self.kept
    }

    /// Takes what an event makes of the rows in `part`; `is_first`: for the first time.
    pub(super) fn take(&mut self, envelope: &Envelope, event: &Event, part: Part, is_first: bool) {
        let Some(mut ops) = self.fold(envelope, event) else {
            return;
        };
        if is_first {
            if let Some(written) = &mut self.written {
                written.take(envelope.seq, &ops);
            }
            if !self.known.is_empty() {
                for op in &ops {
                    self.known.remove(&RowId::of(op));
                }
            }
        }
        ops.retain(|op| part.has(op.key()));
        let place = (envelope.stream, envelope.partition, envelope.offset);
        if self.aside.contains(&place) {
            self.aside_rows.extend(ops.iter().map(RowId::of));
            return;
        }
        let name = event.body.type_name();
        self.expected.take(envelope, name, &ops);
    }

    /// Forgets rows that are what they should be by now: what is written to them later is a matter of its own.
    /// Answers how many these are.
    pub(super) fn settle(&mut self) -> anyhow::Result<u64> {
        let mut settled = 0;
        for table in self.plan.projection.tables.iter().copied() {
            let (keys, mut deleted) = self.expected.of_table(table);
            let expected = &mut self.expected;
            let mut settle = |row: Row| {
                let id = RowId::of_row(&row);
                deleted.remove(&id);
                settled += u64::from(expected.settle(&id, Some(&row)));
            };
            let few = (keys.len() <= MOST_ASKED_FOR).then_some(&*keys);
            if !keys.is_empty() {
                each(&*self.rows, table, few, &mut settle)?;
            }
            for id in deleted {
                settled += u64::from(self.expected.settle(&id, None));
            }
        }
        Ok(settled)
    }

    /// Forgets what is expected of rows that are not in `part`.
    pub(super) fn keep(&mut self, part: Part) {
        self.expected.keep(part);
    }

    /// What an event makes of the rows, if it makes anything of them.
    pub(super) fn fold(&self, envelope: &Envelope, event: &Event) -> Option<Vec<RowOp>> {
        if !self.plan.projection.streams.contains(&envelope.stream) {
            return None;
        }
        match fold(self.plan.fold, envelope, event) {
            Outcome::Emit(ops) => Some(ops),
            Outcome::Drop(_) | Outcome::Reject(_) => None,
        }
    }

    /// Holds what is expected against the store. Answers how many rows that were.
    pub(super) fn look(&mut self) -> anyhow::Result<u64> {
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
            let left = &mut self.left;
            rows.retain(|(_, made)| {
                let look = is_applied(made);
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

    /// Looks through whole tables for rows that are not as any event left them, where all events are known, and
    /// at those that were found before. What can't be read may have written to any.
    pub(super) fn look_for_strays(&mut self, unread: &Unread) -> anyhow::Result<()> {
        let mut places = unread.places();
        if places.any(|(stream, ..)| self.plan.projection.streams.contains(&stream)) {
            self.kept.extend(self.known.drain().map(|(_, known)| known));
            return Ok(());
        }
        self.look_at_known()?;
        let Some(written) = &self.written else {
            return Ok(());
        };
        let positions = self.rows.positions()?;
        let of_this_log = |(_, at): &(PositionKey, Position)| at.generation == self.plan.generation;
        if !positions.iter().all(of_this_log) {
            return Ok(());
        }
        let strays = &mut self.strays;
        for table in self.plan.projection.tables {
            self.rows.scan(table, &mut |row| {
                if strays.len() < MOST_STRAYS
                    && let Some(stray) = written.stray(&row)
                {
                    strays.push((row, stray));
                }
            })?;
        }
        Ok(())
    }

    fn look_at_known(&mut self) -> anyhow::Result<()> {
        for table in self.plan.projection.tables.iter().copied() {
            let of_table = self.known.keys().filter(|id| id.table() == table.name);
            let keys: Vec<Vec<Value>> = of_table.map(|id| id.key().to_vec()).collect();
            if keys.is_empty() {
                continue;
            }
            for row in self.rows.get(table, &keys)? {
                let known = self.known.get(&RowId::of_row(&row));
                if let Some(stray) = known.and_then(|known| known.stray(&row)) {
                    self.strays.push((row, stray));
                }
            }
        }
        Ok(())
    }

    /// Holds rows of one table against what they should be.
    fn look_at(&mut self, rows: Vec<(RowId, Made)>) -> anyhow::Result<()> {
        let Some((_, first)) = rows.first() else {
            return Ok(());
        };
        let (table, are_few) = (first.table, rows.len() <= MOST_ASKED_FOR);
        let mut left: HashMap<Vec<Value>, (RowId, Made)> = rows
            .into_iter()
            .map(|(id, made)| (made.key.clone(), (id, made)))
            .collect();
        let few: Option<Vec<_>> = are_few.then(|| left.keys().cloned().collect());
        // Where all events are known, all rows are held against them in the end.
        let tells_newer = self.written.is_none();
        let suspects = &mut self.suspects;
        let mut judge = |row: Row| {
            if let Some((id, made)) = left.remove(&row.values[..table.key_len()])
                && let Some(fault) = made.fault(Some(&row))
                && (tells_newer || fault != Fault::Newer)
            {
                suspects.insert(id, (made, fault));
            }
        };
        each(&*self.rows, table, few.as_deref(), &mut judge)?;
        let missing = left.into_values();
        self.suspects.extend(missing.filter_map(|(id, made)| {
            let fault = made.fault(None)?;
            Some((id, (made, fault)))
        }));
        Ok(())
    }

    /// What is wrong, but for rows that have been `touched` since, or may have been by what can't be read: these
    /// are looked at the next time.
    pub(super) fn judge(
        &mut self,
        touched: &HashSet<RowId>,
        unread: &Unread,
    ) -> anyhow::Result<Vec<Finding>> {
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
            // The event that it is newer by is there: it is the next audit's, or was put aside.
            let is_touched = touched.contains(&id);
            if fault == Fault::Newer && (is_touched || self.aside_rows.contains(&id)) {
                continue;
            }
            keep(&mut self.left, &made);
            let may_be = unread.places().any(|(stream, partition, _)| {
                self.plan.projection.streams.contains(&stream)
                    && !is_of_another_partition(&made, stream, partition)
            });
            if !is_touched && !may_be {
                findings.extend(self.tell(|| of_fault(&label, &made, &fault)));
            }
        }
        let strays = std::mem::take(&mut self.strays).into_iter();
        let strays = strays.filter(|(row, _)| !touched.contains(&RowId::of_row(row)));
        for (row, stray) in strays {
            self.kept.push(KnownStray::of(&self.plan, &row, stray));
            findings.extend(self.tell(|| of_stray(&label, &row, stray)));
        }
        Ok(findings)
    }

    /// A finding, as long as there is room for more.
    fn tell(&mut self, finding: impl FnOnce() -> Finding) -> Option<Finding> {
        self.wrong += 1;
        (self.wrong <= MOST_TOLD).then(finding)
    }

    /// What is said of the rows that there was no room for.
    pub(super) fn untold(&self) -> Option<Finding> {
        let more = self.wrong.saturating_sub(MOST_TOLD);
        (more > 0).then(|| of_more(&self.rows.label(), more))
    }
}

/// Gives the rows with these keys to `visit`; where they are not `few`, every row of the table.
fn each(
    rows: &dyn ViewRows,
    table: &'static Table,
    few: Option<&[Vec<Value>]>,
    visit: &mut (dyn FnMut(Row) + Send),
) -> anyhow::Result<()> {
    match few {
        Some(keys) => {
            rows.get(table, keys)?.into_iter().for_each(visit);
            Ok(())
        }
        None => rows.scan(table, visit),
    }
}

/// Whether a row is known to be written from another partition of `stream`: each is from one only.
fn is_of_another_partition(made: &Made, stream: Stream, partition: u32) -> bool {
    let mut from = made.from.iter();
    from.any(|(of, from, _)| *of == stream && *from != partition)
}

/// The rows that `made` stands for are to be looked at another time.
fn keep(left: &mut BTreeMap<(Stream, u32), u64>, made: &Made) {
    for (stream, partition, offset) in &made.from {
        let first = left.entry((*stream, *partition)).or_insert(*offset);
        *first = (*first).min(*offset);
    }
}
