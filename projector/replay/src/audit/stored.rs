//! The rows of a view in its store.

use std::collections::HashSet;

use cartwright_projector::Plan;
use cartwright_read_model::tables::{PARKED, SKIPPED};
use cartwright_read_model::{Position, PositionKey, Row, Table, Value};

use super::rows::{Place, ViewRows};
use crate::context::Context;
use crate::given_up::places;
use crate::registry::Home;

/// See [`ViewRows`].
pub struct StoredView<'a> {
    context: &'a Context,
    home: Home<'a>,
    plan: Plan,
}

impl<'a> StoredView<'a> {
    /// The version that `plan` builds.
    #[must_use]
    pub const fn new(context: &'a Context, home: Home<'a>, plan: Plan) -> Self {
        Self {
            context,
            home,
            plan,
        }
    }

    fn places(&self, table: &'static Table) -> anyhow::Result<Vec<Place>> {
        let key = [self.plan.projection.name.into(), self.plan.version.into()];
        let rows = self.context.wait(self.home.control.rows(table, &key))?;
        Ok(places(&rows, self.plan.generation).collect())
    }
}

impl ViewRows for StoredView<'_> {
    fn label(&self) -> String {
        self.home.label(self.plan.version)
    }

    fn positions(&self) -> anyhow::Result<Vec<(PositionKey, Position)>> {
        self.home.positions(self.plan.version)
    }

    fn get(&self, table: &'static Table, keys: &[Vec<Value>]) -> anyhow::Result<Vec<Row>> {
        let get = self.home.control.get(table, self.plan.version, keys);
        Ok(self.context.wait(get)?)
    }

    fn scan(
        &self,
        table: &'static Table,
        visit: &mut (dyn FnMut(Row) + Send),
    ) -> anyhow::Result<()> {
        let scan = self.home.control.scan(table, self.plan.version, visit);
        Ok(self.context.wait(scan)?)
    }

    fn put_aside(&self) -> anyhow::Result<HashSet<Place>> {
        let parked = self.places(&PARKED)?.into_iter();
        Ok(parked.chain(self.places(&SKIPPED)?).collect())
    }
}
