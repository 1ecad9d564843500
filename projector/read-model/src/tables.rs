//! Every table of the read model, one file per projection.

mod carts;
mod catalog;
mod control;
mod orders;
mod products;
mod sales;
mod stock;
mod timeline;

pub use carts::{CART_LINES, CARTS};
pub use catalog::CATALOG_PRODUCTS;
pub use control::{CONTROL_VERSION, PARK_REQUESTS, PARKED, POSITIONS, SKIPPED};
pub use orders::{
    ORDER_PAYMENTS, ORDER_REFUNDS_DUE, ORDER_RETURNS, ORDER_SHIPMENTS, ORDERS, ORDERS_BY_CUSTOMER,
};
pub use products::PRODUCTS;
pub use sales::{SALES_LINES, SALES_ORDERS, SALES_REFUND_SHARES, SALES_RETURNED_LINES};
pub use stock::STOCK;
pub use timeline::TIMELINE;

use crate::schema::{Projection, Table};

/// Every projection.
pub const PROJECTIONS: [&Projection; 7] = [
    &products::PROJECTION,
    &stock::PROJECTION,
    &carts::PROJECTION,
    &orders::PROJECTION,
    &catalog::PROJECTION,
    &sales::PROJECTION,
    &timeline::PROJECTION,
];

/// Each projection by its own name, for who reads one and not another.
pub mod projections {
    pub use super::carts::PROJECTION as CARTS;
    pub use super::catalog::PROJECTION as CATALOG;
    pub use super::orders::PROJECTION as ORDERS;
    pub use super::products::PROJECTION as PRODUCTS;
    pub use super::sales::PROJECTION as SALES;
    pub use super::stock::PROJECTION as STOCK;
    pub use super::timeline::PROJECTION as TIMELINE;
}

/// What every store holds besides the projections' tables.
pub const CONTROL_TABLES: [&Table; 4] = [&POSITIONS, &PARKED, &SKIPPED, &PARK_REQUESTS];

/// The projection called `name`.
#[must_use]
pub fn projection(name: &str) -> Option<&'static Projection> {
    PROJECTIONS.into_iter().find(|each| each.name == name)
}

/// The version under which the current code knows `table`: its projection's.
#[must_use]
pub fn version_of(table: &'static Table) -> u32 {
    PROJECTIONS
        .into_iter()
        .find(|each| each.tables.iter().any(|one| one.name == table.name))
        .map_or(CONTROL_VERSION, |each| each.version)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn tables() -> impl Iterator<Item = &'static Table> {
        let declared = PROJECTIONS.into_iter().flat_map(|each| each.tables);
        declared.copied().chain(CONTROL_TABLES)
    }

    #[test]
    fn names_are_unique_and_need_no_quoting() {
        let mut projections = HashSet::new();
        assert!(PROJECTIONS.iter().all(|each| projections.insert(each.name)));
        let mut names = HashSet::new();
        for table in tables() {
            assert!(names.insert(table.name), "{} twice", table.name);
            let mut columns = HashSet::new();
            for column in table.columns() {
                assert!(
                    columns.insert(column.name),
                    "{}.{}",
                    table.name,
                    column.name
                );
                let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
                assert!(column.name.bytes().all(plain), "{}", column.name);
            }
            assert!(!table.partition.is_empty(), "{} has no key", table.name);
        }
    }

    #[test]
    fn every_projection_is_found_by_its_name() {
        for each in PROJECTIONS {
            assert_eq!(projection(each.name), Some(each));
            assert!(!each.streams.is_empty() && !each.tables.is_empty());
        }
        assert_eq!(projection("nothing"), None);
    }
}
