//! The snapshots of one transaction.

use std::collections::BTreeMap;

use cartwright_domain::BoundedContext;
use cartwright_event_log::NewRecord;
use cartwright_events::PositionToken;
use serde::Serialize;

use super::Begin;
use super::format::{Draft, Kind};
use crate::archive::NextPage;
use crate::group::{Group, Place};
use crate::results::Remembered;
use crate::state::ShardState;

/// Records after which a transaction takes no more snapshots: a writer refuses more than 50,000.
const FULL_AT_RECORDS: usize = 40_000;

/// What one transaction writes into the snapshots topic, in the making.
pub(crate) struct Piece<'a, B: BoundedContext> {
    pub(crate) context: &'a B,
    place: &'a Place,
    transaction: u64,
    /// Records that the transaction has beside these.
    before: usize,
    /// What every aggregate in memory holds by now.
    as_of: PositionToken,
    records: Vec<NewRecord>,
    bytes: usize,
    begin: Option<usize>,
    leaving: BTreeMap<String, usize>,
    page: Option<(usize, NextPage)>,
}

impl<'a, B: BoundedContext> Piece<'a, B> {
    /// For the transaction after those that `state` counts, whose events it has; it has `before`
    /// records by now.
    pub(crate) fn new(
        context: &'a B,
        place: &'a Place,
        state: &ShardState<B>,
        before: usize,
    ) -> Self {
        Self {
            context,
            place,
            transaction: state.transaction + 1,
            before,
            as_of: state.as_of(place),
            records: Vec::new(),
            bytes: 0,
            begin: None,
            leaving: BTreeMap::new(),
            page: None,
        }
    }

    /// Bytes of the snapshots so far.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing more should go in that can wait: it has so many bytes, or the transaction has
    /// so many records.
    pub(crate) const fn is_full(&self, full_at_bytes: usize) -> bool {
        self.bytes >= full_at_bytes || self.before + self.records.len() >= FULL_AT_RECORDS
    }

    pub(crate) fn is_leaving(&self, id: &str) -> bool {
        self.leaving.contains_key(id)
    }

    /// The beginning of a round.
    pub(crate) fn begin(&mut self, begin: &Begin) -> Result<(), serde_json::Error> {
        self.begin = Some(self.records.len());
        self.write(Kind::Begin, &parity(begin.round).to_string(), begin)
    }

    /// An aggregate as it is now; a finished one leaves memory with this transaction.
    pub(crate) fn aggregate(
        &mut self,
        state: &ShardState<B>,
        kind: Kind,
        id: &str,
    ) -> Result<(), serde_json::Error> {
        let Some(snapshot) = self.context.snapshot(&state.aggregates, id) else {
            return Ok(());
        };
        if kind == Kind::Finished {
            self.leaving.insert(id.to_owned(), self.records.len());
        }
        self.write(kind, id, &snapshot)
    }

    /// Record `number` of a round's results.
    pub(crate) fn results(
        &mut self,
        round: u64,
        number: u64,
        results: &[Remembered],
    ) -> Result<(), serde_json::Error> {
        let name = format!("{}/{number}", parity(round));
        self.write(Kind::Results, &name, results)
    }

    /// A page of the archive's index.
    pub(crate) fn page(&mut self, page: NextPage, content: &str) -> Result<(), serde_json::Error> {
        self.page = Some((self.records.len(), page));
        self.write(Kind::Page, &self.transaction.to_string(), content)
    }

    fn write(
        &mut self,
        kind: Kind,
        name: &str,
        content: &(impl Serialize + ?Sized),
    ) -> Result<(), serde_json::Error> {
        let as_of = matches!(kind, Kind::Live | Kind::Finished).then_some(&self.as_of);
        let draft = Draft {
            kind,
            name,
            transaction: self.transaction,
            as_of,
        };
        let records = draft.records(B::CONTEXT, self.place, content)?;
        let len = |record: &NewRecord| record.value.as_ref().map_or(0, Vec::len);
        self.bytes += records.iter().map(len).sum::<usize>();
        self.records.extend(records);
        Ok(())
    }

    /// Takes all of it into the transaction.
    pub(crate) fn put_into(self, group: &mut Group<B::Command>) {
        let base = group.records.len();
        group.begin = self.begin.map(|index| base + index);
        group.page = self.page.map(|(index, page)| (base + index, page));
        let leaving = self.leaving.into_iter();
        group.leaving = leaving.map(|(id, index)| (id, base + index)).collect();
        group.records.extend(self.records);
    }
}

/// Two rounds share no keys with the one after them, so that a round stays whole until the next is.
const fn parity(round: u64) -> u64 {
    round % 2
}
