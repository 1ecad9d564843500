//! One prepared SELECT over a table, by the first columns of its key.

use futures::TryStreamExt;
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;

use super::from_cql;
use crate::ddl::names;
use crate::error::ReadModelError;
use crate::row::Row;
use crate::schema::Table;
use crate::value::Value;

pub(crate) struct Reader {
    table: &'static Table,
    statement: PreparedStatement,
}

impl Reader {
    /// Selects by the partition key and what `rest` says (`AND …`, `LIMIT ?`).
    pub(crate) async fn prepare(
        session: &Session,
        keyspace: &str,
        table: &'static Table,
        version: u32,
        rest: &str,
    ) -> Result<Self, ReadModelError> {
        let partition: Vec<String> = table
            .partition
            .iter()
            .map(|column| format!("{} = ?", column.name))
            .collect();
        let condition = format!("WHERE {} {rest}", partition.join(" AND "));
        Self::prepare_where(session, keyspace, table, version, &condition).await
    }

    /// Selects by any condition, `WHERE` included; none selects every row.
    pub(crate) async fn prepare_where(
        session: &Session,
        keyspace: &str,
        table: &'static Table,
        version: u32,
        condition: &str,
    ) -> Result<Self, ReadModelError> {
        let cql = format!(
            "SELECT {} FROM {keyspace}.{} {condition}",
            names(table.columns()),
            table.physical_name(version),
        );
        let mut statement = session
            .prepare(cql)
            .await
            .map_err(ReadModelError::cassandra)?;
        statement.set_is_idempotent(true);
        Ok(Self { table, statement })
    }

    /// All rows that match, in clustering order. Meant for partitions of bounded size.
    pub(crate) async fn rows(
        &self,
        session: &Session,
        values: &[Value],
    ) -> Result<Vec<Row>, ReadModelError> {
        let result = session
            .execute_unpaged(&self.statement, values)
            .await
            .map_err(ReadModelError::cassandra)?
            .into_rows_result()
            .map_err(ReadModelError::cassandra)?;
        let rows = result
            .rows::<scylla::value::Row>()
            .map_err(ReadModelError::cassandra)?;
        rows.map(|row| self.row(row.map_err(ReadModelError::cassandra)?))
            .collect()
    }

    /// Gives every row to `visit`, page by page.
    pub(crate) async fn each(
        &self,
        session: &Session,
        visit: &mut (dyn FnMut(Row) + Send),
    ) -> Result<(), ReadModelError> {
        let pager = session.execute_iter(self.statement.clone(), ()).await;
        let pager = pager.map_err(ReadModelError::cassandra)?;
        let mut rows = pager
            .rows_stream::<scylla::value::Row>()
            .map_err(ReadModelError::cassandra)?;
        while let Some(row) = rows.try_next().await.map_err(ReadModelError::cassandra)? {
            visit(self.row(row)?);
        }
        Ok(())
    }

    fn row(&self, row: scylla::value::Row) -> Result<Row, ReadModelError> {
        let cells = self.table.columns().zip(row.columns);
        let values = cells
            .map(|(column, value)| from_cql(self.table, column, value))
            .collect::<Result<_, _>>()?;
        Ok(Row {
            table: self.table,
            values,
        })
    }
}
