//! Every table of the read model, one file per projection.

mod carts;
mod catalog;
mod causal;
mod control;
mod orders;
mod products;
mod sales;
mod stock;
mod timeline;

pub use carts::{CART_LINES, CARTS};
pub use catalog::CATALOG_PRODUCTS;
pub use causal::CAUSAL_EVENTS;
pub use control::{
    BUILDS, CONTROL_VERSION, PARK_REQUESTS, PARKED, POSITIONS, READERS, SKIPPED, VERSIONS, WORKERS,
};
pub(crate) use control::{SHORT_GC_GRACE_S, SHORT_LIVED};
pub use orders::{
    ORDER_DUES, ORDER_DUES_1, ORDER_PAYMENTS, ORDER_RETURNS, ORDER_SHIPMENTS, ORDERS,
    ORDERS_BY_CUSTOMER,
};
pub use products::PRODUCTS;
pub use sales::{
    SALES_LINES, SALES_ORDERS, SALES_ORDERS_1, SALES_REFUND_SHARES, SALES_RETURNED_LINES,
};
pub use stock::STOCK;
pub use timeline::TIMELINE;

use crate::schema::{Projection, Table};

/// Every projection, in the newest version that this code declares.
pub const PROJECTIONS: [&Projection; 8] = [
    &products::PROJECTION,
    &stock::PROJECTION,
    &carts::PROJECTION,
    &orders::PROJECTION,
    &catalog::PROJECTION,
    &sales::PROJECTION,
    &timeline::PROJECTION,
    &causal::PROJECTION,
];

/// Versions that came before those of [`PROJECTIONS`] and that may still have rows somewhere: each
/// is kept, with its fold, until it is retired everywhere.
pub const OLDER: [&Projection; 2] = [&orders::PROJECTION_1, &sales::PROJECTION_1];

/// Each projection by its own name, for who reads one and not another.
pub mod projections {
    pub use super::carts::PROJECTION as CARTS;
    pub use super::catalog::PROJECTION as CATALOG;
    pub use super::causal::PROJECTION as CAUSAL;
    pub use super::orders::{PROJECTION as ORDERS, PROJECTION_1 as ORDERS_1};
    pub use super::products::PROJECTION as PRODUCTS;
    pub use super::sales::{PROJECTION as SALES, PROJECTION_1 as SALES_1};
    pub use super::stock::PROJECTION as STOCK;
    pub use super::timeline::PROJECTION as TIMELINE;
}

/// What every store holds besides the projections' tables.
pub const CONTROL_TABLES: [&Table; 8] = [
    &POSITIONS,
    &PARKED,
    &SKIPPED,
    &PARK_REQUESTS,
    &VERSIONS,
    &READERS,
    &BUILDS,
    &WORKERS,
];

/// Those of [`CONTROL_TABLES`] whose rows are about a version of a projection, and go with it.
pub fn tables_about_versions() -> impl Iterator<Item = &'static Table> {
    let about_one = |table: &&Table| table.partition == control::OF_A_VERSION;
    CONTROL_TABLES.into_iter().filter(about_one)
}

/// Those of [`CONTROL_TABLES`] that a reader needs.
pub const READERS_TABLES: [&Table; 4] = [&POSITIONS, &PARKED, &VERSIONS, &READERS];

/// The projection called `name`.
#[must_use]
pub fn projection(name: &str) -> Option<&'static Projection> {
    PROJECTIONS.into_iter().find(|each| each.name == name)
}

/// The declaration of `version` of the projection called `name`.
#[must_use]
pub fn declaration(name: &str, version: u32) -> Option<&'static Projection> {
    let declared = PROJECTIONS.into_iter().chain(OLDER);
    let mut declared = declared.filter(|each| each.name == name);
    declared.find(|each| each.version == version)
}

/// Whether a column is meant to hold other values in one of two versions of a projection than in the other: a
/// version after the older one says so, up to the newer.
#[must_use]
pub fn is_meant_to_differ(one: &Projection, other: &Projection, table: &str, column: &str) -> bool {
    let declared = PROJECTIONS.into_iter().chain(OLDER);
    let of_it = declared.filter(|each| each.name == one.name);
    differs_between(of_it, one.version, other.version, (table, column))
}

fn differs_between<'a>(
    mut declared: impl Iterator<Item = &'a Projection>,
    one: u32,
    other: u32,
    cell: (&str, &str),
) -> bool {
    let (older, newer) = (one.min(other), one.max(other));
    declared.any(|each| (older + 1..=newer).contains(&each.version) && each.differs.contains(&cell))
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
    fn what_is_kept_of_a_version_goes_with_it_and_nothing_of_others_does() {
        let about: Vec<&Table> = tables_about_versions().collect();
        let all = [
            &POSITIONS,
            &PARKED,
            &SKIPPED,
            &PARK_REQUESTS,
            &BUILDS,
            &WORKERS,
        ];
        assert_eq!(about, all);
    }

    #[test]
    fn every_projection_is_found_by_its_name() {
        for each in PROJECTIONS {
            assert_eq!(projection(each.name), Some(each));
            assert_eq!(declaration(each.name, each.version), Some(each));
            assert!(!each.streams.is_empty() && !each.tables.is_empty());
        }
        assert_eq!(projection("nothing"), None);
    }

    #[test]
    fn an_older_version_is_of_a_projection_and_has_another_number_and_fold_or_tables() {
        for old in OLDER {
            let newest = projection(old.name).expect("a newer version");
            assert!(old.version < newest.version, "{}", old.name);
            assert_ne!(old.identity(), newest.identity(), "{}", old.name);
            assert_eq!(old.store, newest.store, "{}", old.name);
        }
    }

    #[test]
    fn what_is_meant_to_differ_is_what_any_version_between_two_says() {
        let newest = projection("sales").expect("the sales");
        let version = |version, differs| Projection {
            version,
            differs,
            ..*newest
        };
        let declared = [
            version(1, &[]),
            version(2, &[("sales_orders", "units")]),
            version(3, &[("sales_orders", "country")]),
        ];
        let differs = |one, other, column| {
            differs_between(declared.iter(), one, other, ("sales_orders", column))
        };
        assert!(differs(1, 3, "units") && differs(3, 1, "units") && differs(1, 3, "country"));
        assert!(differs(2, 3, "country") && !differs(2, 3, "units"));
        assert!(!differs(2, 2, "units") && !differs(1, 3, "currency"));
    }

    #[test]
    fn what_is_meant_to_differ_is_a_column_or_the_seq_of_a_row() {
        for each in PROJECTIONS.into_iter().chain(OLDER) {
            for (table, column) in each.differs {
                let table = each.tables.iter().find(|one| one.name == *table);
                let table = table.expect("a table of the projection");
                assert!(table.columns().any(|one| one.name == *column), "{column}");
            }
        }
    }
}
