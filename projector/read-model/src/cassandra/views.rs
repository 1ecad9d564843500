//! Reads by key.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use cartwright_events::{Stream, Timestamp};
use futures::future::{try_join, try_join_all, try_join4};
use scylla::client::session::Session;

use super::reader::Reader;
use crate::error::ReadModelError;
use crate::parked::{ParkedLook, ParkedSeq};
use crate::position::{Position, PositionKey};
use crate::row::{Row, TypedRow};
use crate::rows::{
    CartLineRow, CartRow, CartView, CustomerOrderRow, OrderRow, OrderView, ProductRow, StockRow,
};
use crate::schema::{Projection, Table};
use crate::tables::{self, CONTROL_VERSION};
use crate::value::Value;

/// The views by key. Statements are prepared when they are first used, for each version once. Cheap
/// to clone.
#[derive(Clone)]
pub struct Views(Arc<Inner>);

struct Inner {
    session: Arc<Session>,
    keyspace: String,
    /// As many as there are queries here and versions that were read.
    readers: RwLock<HashMap<QueryKey, Arc<Reader>>>,
}

/// Table, version, and what follows the condition on the partition key.
type QueryKey = (&'static str, u32, &'static str);

impl Views {
    /// Reads the tables in `keyspace`.
    #[must_use]
    pub fn new(session: Arc<Session>, keyspace: &str) -> Self {
        Self(Arc::new(Inner {
            session,
            keyspace: keyspace.to_owned(),
            readers: RwLock::default(),
        }))
    }

    /// Prepares what a version of a projection is read with, so that its first reads need not wait
    /// for that, and shows that its tables are there.
    ///
    /// # Errors
    /// What the store said; also when nobody has made the tables yet.
    pub async fn prepare(
        &self,
        projection: &'static Projection,
        version: u32,
    ) -> Result<(), ReadModelError> {
        for table in projection.tables {
            self.reader(table, version, "").await?;
        }
        Ok(())
    }

    async fn reader(
        &self,
        table: &'static Table,
        version: u32,
        rest: &'static str,
    ) -> Result<Arc<Reader>, ReadModelError> {
        let key = (table.name, version, rest);
        let known = self.0.readers.read();
        let known = known
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(reader) = known {
            return Ok(reader);
        }
        let (session, keyspace) = (&self.0.session, &self.0.keyspace);
        let reader = Reader::prepare(session, keyspace, table, version, rest).await?;
        let reader = Arc::new(reader);
        let readers = self.0.readers.write();
        let mut readers = readers.unwrap_or_else(PoisonError::into_inner);
        readers.insert(key, Arc::clone(&reader));
        drop(readers);
        Ok(reader)
    }

    async fn rows(
        &self,
        table: &'static Table,
        version: u32,
        rest: &'static str,
        values: &[Value],
    ) -> Result<Vec<Row>, ReadModelError> {
        let reader = self.reader(table, version, rest).await?;
        reader.rows(&self.0.session, values).await
    }

    /// A product, in `version` of its projection, as everywhere below.
    ///
    /// # Errors
    /// What the store said.
    pub async fn product(
        &self,
        version: u32,
        sku: &str,
    ) -> Result<Option<ProductRow>, ReadModelError> {
        self.one(version, sku).await
    }

    /// The stock of a SKU; `None` when nothing was ever received of it.
    ///
    /// # Errors
    /// What the store said.
    pub async fn stock(&self, version: u32, sku: &str) -> Result<Option<StockRow>, ReadModelError> {
        self.one(version, sku).await
    }

    /// A cart with its lines. Row and lines are read one after the other: a line may be newer than
    /// the total, never older than the cart's `row_seq` says.
    ///
    /// # Errors
    /// What the store said.
    pub async fn cart(
        &self,
        version: u32,
        cart_id: &str,
    ) -> Result<Option<CartView>, ReadModelError> {
        let Some(cart) = self.one::<CartRow>(version, cart_id).await? else {
            return Ok(None);
        };
        let lines = self.many::<CartLineRow>(version, cart_id).await?;
        Ok(Some(CartView { cart, lines }))
    }

    /// An order with all that belongs to it, from tables as `declared` has them. An order id that only
    /// ever got money has none.
    ///
    /// # Errors
    /// What the store said.
    pub async fn order(
        &self,
        declared: &'static Projection,
        version: u32,
        order_id: &str,
    ) -> Result<Option<OrderView>, ReadModelError> {
        let is_older = declared.tables.contains(&&tables::ORDER_DUES_1);
        let dues: &'static Table = match is_older {
            true => &tables::ORDER_DUES_1,
            false => &tables::ORDER_DUES,
        };
        let key = [order_id.into()];
        let parts = try_join4(
            self.many(version, order_id),
            self.many(version, order_id),
            self.many(version, order_id),
            self.rows(dues, version, "", &key),
        );
        let (order, (payments, shipments, returns, dues)) =
            try_join(self.order_row(version, order_id), parts).await?;
        Ok(order.map(|order| OrderView {
            status: order.status(),
            order,
            payments,
            shipments,
            returns,
            refunds_due: typed(&dues),
        }))
    }

    /// An order's own row.
    ///
    /// # Errors
    /// What the store said.
    pub async fn order_row(
        &self,
        version: u32,
        order_id: &str,
    ) -> Result<Option<OrderRow>, ReadModelError> {
        self.one(version, order_id).await
    }

    /// The rows of several orders, in the order of `order_ids`; keep those few, they are read at
    /// once.
    ///
    /// # Errors
    /// What the store said.
    pub async fn order_rows(
        &self,
        version: u32,
        order_ids: &[&str],
    ) -> Result<Vec<Option<OrderRow>>, ReadModelError> {
        try_join_all(order_ids.iter().map(|id| self.order_row(version, id))).await
    }

    /// A customer's orders, newest first, after the row with this time and id (keyset paging); at
    /// most `limit`.
    ///
    /// # Errors
    /// What the store said.
    pub async fn customer_orders(
        &self,
        version: u32,
        customer_id: &str,
        after: Option<(Timestamp, &str)>,
        limit: u32,
    ) -> Result<Vec<CustomerOrderRow>, ReadModelError> {
        let table = &tables::ORDERS_BY_CUSTOMER;
        let Some((time, order_id)) = after else {
            let values = [customer_id.into(), as_limit(limit)];
            let rows = self.rows(table, version, "LIMIT ?", &values).await?;
            return Ok(typed(&rows));
        };
        let values = [
            customer_id.into(),
            time.into(),
            order_id.into(),
            as_limit(limit),
        ];
        let at = "AND occurred_at = ? AND order_id > ? LIMIT ?";
        let mut rows = self.rows(table, version, at, &values).await?;
        let left = limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        if left > 0 {
            let values = [customer_id.into(), time.into(), as_limit(left)];
            let before = "AND occurred_at < ? LIMIT ?";
            rows.extend(self.rows(table, version, before, &values).await?);
        }
        Ok(typed(&rows))
    }

    /// How far a projection is, in every partition that it has begun.
    ///
    /// # Errors
    /// What the store said.
    pub async fn positions(
        &self,
        projection: &'static Projection,
        version: u32,
    ) -> Result<Vec<(PositionKey, Position)>, ReadModelError> {
        let values = [projection.name.into(), version.into()];
        let rows = self.rows(&tables::POSITIONS, CONTROL_VERSION, "", &values);
        let rows = rows.await?;
        Ok(rows
            .iter()
            .filter_map(|row| Position::keyed(row, projection, version))
            .collect())
    }

    /// The records that a projection has parked and that still wait, at most `most`.
    ///
    /// # Errors
    /// What the store said.
    pub async fn parked_records(
        &self,
        projection: &'static Projection,
        version: u32,
        most: u32,
    ) -> Result<ParkedLook, ReadModelError> {
        let limit = as_limit(most.saturating_add(1));
        let values = [projection.name.into(), version.into(), limit];
        let rows = self.rows(&tables::PARKED, CONTROL_VERSION, "LIMIT ?", &values);
        Ok(ParkedLook::of(&rows.await?, most))
    }

    /// Whether a projection has parked the record at `place`, however many others it has. Reads what
    /// is parked of one partition of the log.
    ///
    /// # Errors
    /// What the store said.
    pub async fn is_parked(
        &self,
        projection: &'static Projection,
        version: u32,
        place: ParkedSeq,
    ) -> Result<bool, ReadModelError> {
        let values = [
            projection.name.into(),
            version.into(),
            place.stream.topic().into(),
            place.partition.into(),
            place.generation.into(),
            place.seq.into(),
        ];
        let at = "AND topic = ? AND log_partition = ? AND generation = ? AND seq = ? \
                  ALLOW FILTERING";
        let rows = self.rows(&tables::PARKED, CONTROL_VERSION, at, &values);
        Ok(!rows.await?.is_empty())
    }

    /// How many records a projection has parked under `key` in `partitions` of the log.
    ///
    /// # Errors
    /// What the store said.
    pub async fn parked_under(
        &self,
        projection: &'static Projection,
        version: u32,
        key: &str,
        partitions: &[(Stream, u32)],
    ) -> Result<u64, ReadModelError> {
        let counts = partitions.iter().map(async |(stream, partition)| {
            let values = [
                projection.name.into(),
                version.into(),
                stream.topic().into(),
                (*partition).into(),
                key.into(),
            ];
            let at = "AND topic = ? AND log_partition = ? AND record_key = ?";
            let rows = self.rows(&tables::PARKED, CONTROL_VERSION, at, &values);
            Ok::<_, ReadModelError>(rows.await?.len() as u64)
        });
        Ok(try_join_all(counts).await?.into_iter().sum())
    }

    async fn one<T: TypedRow>(&self, version: u32, key: &str) -> Result<Option<T>, ReadModelError> {
        let rows = self.rows(T::TABLE, version, "", &[key.into()]).await?;
        Ok(rows.first().and_then(T::from_row))
    }

    async fn many<T: TypedRow>(&self, version: u32, key: &str) -> Result<Vec<T>, ReadModelError> {
        let rows = self.rows(T::TABLE, version, "", &[key.into()]).await?;
        Ok(typed(&rows))
    }
}

fn typed<T: TypedRow>(rows: &[Row]) -> Vec<T> {
    rows.iter().filter_map(T::from_row).collect()
}

/// `LIMIT` takes a 32-bit number.
fn as_limit(limit: u32) -> Value {
    Value::Int(i64::from(limit.min(i32::MAX as u32)))
}
