//! Reads by key.

use std::sync::Arc;

use cartwright_events::Timestamp;
use futures::future::{try_join, try_join_all, try_join4};
use scylla::client::session::Session;

use super::reader::Reader;
use crate::error::ReadModelError;
use crate::parked::{MOST_PARKED, ParkedSeq};
use crate::position::{Position, PositionKey};
use crate::row::{Row, TypedRow};
use crate::rows::{
    CartLineRow, CartRow, CartView, CustomerOrderRow, OrderRow, OrderView, ProductRow, StockRow,
};
use crate::schema::{Projection, Table};
use crate::tables;
use crate::value::Value;

/// The views by key, with every statement prepared. Cheap to clone.
#[derive(Clone)]
pub struct Views(Arc<Inner>);

struct Inner {
    session: Arc<Session>,
    product: Reader,
    stock: Reader,
    cart: Reader,
    cart_lines: Reader,
    order: Reader,
    payments: Reader,
    shipments: Reader,
    returns: Reader,
    refunds_due: Reader,
    customer_orders: Reader,
    customer_orders_at: Reader,
    customer_orders_before: Reader,
    positions: Reader,
    parked: Reader,
}

impl Views {
    /// Prepares every statement over the tables in `keyspace`, which have to exist.
    ///
    /// # Errors
    /// What the store said; also when the projector has not made the tables yet.
    pub async fn prepare(session: Arc<Session>, keyspace: &str) -> Result<Self, ReadModelError> {
        let of = |table: &'static Table, rest: &'static str| {
            let session = Arc::clone(&session);
            async move {
                Reader::prepare(&session, keyspace, table, tables::version_of(table), rest).await
            }
        };
        Ok(Self(Arc::new(Inner {
            product: of(&tables::PRODUCTS, "").await?,
            stock: of(&tables::STOCK, "").await?,
            cart: of(&tables::CARTS, "").await?,
            cart_lines: of(&tables::CART_LINES, "").await?,
            order: of(&tables::ORDERS, "").await?,
            payments: of(&tables::ORDER_PAYMENTS, "").await?,
            shipments: of(&tables::ORDER_SHIPMENTS, "").await?,
            returns: of(&tables::ORDER_RETURNS, "").await?,
            refunds_due: of(&tables::ORDER_REFUNDS_DUE, "").await?,
            customer_orders: of(&tables::ORDERS_BY_CUSTOMER, "LIMIT ?").await?,
            customer_orders_at: of(
                &tables::ORDERS_BY_CUSTOMER,
                "AND occurred_at = ? AND order_id > ? LIMIT ?",
            )
            .await?,
            customer_orders_before: of(&tables::ORDERS_BY_CUSTOMER, "AND occurred_at < ? LIMIT ?")
                .await?,
            positions: of(&tables::POSITIONS, "").await?,
            parked: of(&tables::PARKED, "LIMIT ?").await?,
            session,
        })))
    }

    /// A product.
    ///
    /// # Errors
    /// What the store said.
    pub async fn product(&self, sku: &str) -> Result<Option<ProductRow>, ReadModelError> {
        self.one(&self.0.product, sku).await
    }

    /// The stock of a SKU; `None` when nothing was ever received of it.
    ///
    /// # Errors
    /// What the store said.
    pub async fn stock(&self, sku: &str) -> Result<Option<StockRow>, ReadModelError> {
        self.one(&self.0.stock, sku).await
    }

    /// A cart with its lines. Row and lines are read one after the other: a line may be newer than
    /// the total, never older than the cart's `row_seq` says.
    ///
    /// # Errors
    /// What the store said.
    pub async fn cart(&self, cart_id: &str) -> Result<Option<CartView>, ReadModelError> {
        let Some(cart) = self.one::<CartRow>(&self.0.cart, cart_id).await? else {
            return Ok(None);
        };
        let lines = self
            .many::<CartLineRow>(&self.0.cart_lines, cart_id)
            .await?;
        Ok(Some(CartView { cart, lines }))
    }

    /// An order with all that belongs to it. An order id that only ever got money has none.
    ///
    /// # Errors
    /// What the store said.
    pub async fn order(&self, order_id: &str) -> Result<Option<OrderView>, ReadModelError> {
        let parts = try_join4(
            self.many(&self.0.payments, order_id),
            self.many(&self.0.shipments, order_id),
            self.many(&self.0.returns, order_id),
            self.many(&self.0.refunds_due, order_id),
        );
        let (order, (payments, shipments, returns, refunds_due)) =
            try_join(self.order_row(order_id), parts).await?;
        Ok(order.map(|order| OrderView {
            status: order.status(),
            order,
            payments,
            shipments,
            returns,
            refunds_due,
        }))
    }

    /// An order's own row.
    ///
    /// # Errors
    /// What the store said.
    pub async fn order_row(&self, order_id: &str) -> Result<Option<OrderRow>, ReadModelError> {
        self.one(&self.0.order, order_id).await
    }

    /// The rows of several orders, in the order of `order_ids`; keep those few, they are read at
    /// once.
    ///
    /// # Errors
    /// What the store said.
    pub async fn order_rows(
        &self,
        order_ids: &[&str],
    ) -> Result<Vec<Option<OrderRow>>, ReadModelError> {
        try_join_all(order_ids.iter().map(|id| self.order_row(id))).await
    }

    /// A customer's orders, newest first, after the row with this time and id (keyset paging); at
    /// most `limit`.
    ///
    /// # Errors
    /// What the store said.
    pub async fn customer_orders(
        &self,
        customer_id: &str,
        after: Option<(Timestamp, &str)>,
        limit: u32,
    ) -> Result<Vec<CustomerOrderRow>, ReadModelError> {
        let session = &self.0.session;
        let Some((time, order_id)) = after else {
            let values = [customer_id.into(), as_limit(limit)];
            let rows = self.0.customer_orders.rows(session, &values).await?;
            return Ok(typed(&rows));
        };
        let values = [
            customer_id.into(),
            time.into(),
            order_id.into(),
            as_limit(limit),
        ];
        let mut rows = self.0.customer_orders_at.rows(session, &values).await?;
        let left = limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        if left > 0 {
            let values = [customer_id.into(), time.into(), as_limit(left)];
            rows.extend(self.0.customer_orders_before.rows(session, &values).await?);
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
    ) -> Result<Vec<(PositionKey, Position)>, ReadModelError> {
        let values = [projection.name.into(), projection.version.into()];
        let rows = self.0.positions.rows(&self.0.session, &values).await?;
        Ok(rows
            .iter()
            .filter_map(|row| Position::keyed(row, projection, projection.version))
            .collect())
    }

    /// The records that a projection has parked and that still wait.
    ///
    /// # Errors
    /// What the store said.
    pub async fn parked_seqs(
        &self,
        projection: &'static Projection,
    ) -> Result<Vec<ParkedSeq>, ReadModelError> {
        let values = [
            projection.name.into(),
            projection.version.into(),
            as_limit(MOST_PARKED),
        ];
        let rows = self.0.parked.rows(&self.0.session, &values).await?;
        Ok(rows.iter().filter_map(ParkedSeq::from_row).collect())
    }

    async fn one<T: TypedRow>(
        &self,
        reader: &Reader,
        key: &str,
    ) -> Result<Option<T>, ReadModelError> {
        let rows = reader.rows(&self.0.session, &[key.into()]).await?;
        Ok(rows.first().and_then(T::from_row))
    }

    async fn many<T: TypedRow>(
        &self,
        reader: &Reader,
        key: &str,
    ) -> Result<Vec<T>, ReadModelError> {
        Ok(typed(&reader.rows(&self.0.session, &[key.into()]).await?))
    }
}

fn typed<T: TypedRow>(rows: &[Row]) -> Vec<T> {
    rows.iter().filter_map(T::from_row).collect()
}

/// `LIMIT` takes a 32-bit number.
fn as_limit(limit: u32) -> Value {
    Value::Int(i64::from(limit.min(i32::MAX as u32)))
}
