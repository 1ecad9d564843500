//! The statements that make tables, from their declarations.

use crate::schema::{Column, ColumnType, Order, Table};
use crate::tables::{SHORT_GC_GRACE_S, SHORT_LIVED};

/// The type's name in PostgreSQL.
pub(crate) const fn sql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Text => "text",
        ColumnType::Int => "bigint",
        ColumnType::Bool => "boolean",
        ColumnType::Time => "timestamp with time zone",
        ColumnType::Json => "jsonb",
    }
}

/// The type's name in CQL.
pub(crate) const fn cql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Text | ColumnType::Json => "text",
        ColumnType::Int | ColumnType::Time => "bigint",
        ColumnType::Bool => "boolean",
    }
}

pub(crate) fn names(columns: impl Iterator<Item = Column>) -> String {
    columns
        .map(|column| column.name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The statements that make `table` and its indexes in PostgreSQL where they are not there yet.
///
/// Text is compared byte by byte, so that keyset paging agrees with Rust's order whatever the
/// database's locale.
#[must_use]
pub fn create_table_sql(table: &Table, version: u32) -> Vec<String> {
    let name = table.physical_name(version);
    let mut statements = vec![format!(
        "CREATE TABLE IF NOT EXISTS {name} ({}, PRIMARY KEY ({}))",
        columns_sql(table),
        names(table.key()),
    )];
    statements.extend(table.indexes.iter().map(|index| {
        format!(
            "CREATE INDEX IF NOT EXISTS {name}_{} ON {name} {}",
            index.suffix, index.definition
        )
    }));
    statements
}

/// The statement that makes `table` in PostgreSQL without its key and indexes.
pub(crate) fn create_bare_table_sql(table: &Table, version: u32) -> String {
    let name = table.physical_name(version);
    format!("CREATE TABLE IF NOT EXISTS {name} ({})", columns_sql(table))
}

/// The statement that gives such a table its key, where it has none yet.
pub(crate) fn add_missing_key_sql(table: &Table, version: u32) -> String {
    let name = table.physical_name(version);
    let key = names(table.key());
    format!(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_index \
         WHERE indrelid = to_regclass('{name}') AND indisprimary) \
         THEN ALTER TABLE {name} ADD PRIMARY KEY ({key}); END IF; END $$"
    )
}

fn columns_sql(table: &Table) -> String {
    let key: Vec<Column> = table.key().collect();
    let columns = table.columns().map(|column| {
        let collation = match column.kind {
            ColumnType::Text => " COLLATE \"C\"",
            _ => "",
        };
        let required = if key.contains(&column) {
            " NOT NULL"
        } else {
            ""
        };
        format!(
            "{} {}{collation}{required}",
            column.name,
            sql_type(column.kind)
        )
    });
    columns.collect::<Vec<_>>().join(", ")
}

/// The statement that makes `table` in `keyspace` where it is not there yet.
#[must_use]
pub fn create_table_cql(keyspace: &str, table: &Table, version: u32) -> String {
    let name = table.physical_name(version);
    let columns: Vec<String> = table
        .columns()
        .map(|column| format!("{} {}", column.name, cql_type(column.kind)))
        .collect();
    let partition = names(table.partition.iter().copied());
    let clustering: String = table
        .clustering
        .iter()
        .map(|(column, _)| format!(", {}", column.name))
        .collect();
    let order: Vec<String> = table
        .clustering
        .iter()
        .map(|(column, order)| match order {
            Order::Ascending => format!("{} ASC", column.name),
            Order::Descending => format!("{} DESC", column.name),
        })
        .collect();
    let order = (!order.is_empty()).then(|| format!("CLUSTERING ORDER BY ({})", order.join(", ")));
    let options: Vec<String> = order.into_iter().chain(gc_grace_option(table)).collect();
    let options = match options.is_empty() {
        true => String::new(),
        false => format!(" WITH {}", options.join(" AND ")),
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {keyspace}.{name} ({}, PRIMARY KEY (({partition}){clustering})){options}",
        columns.join(", "),
    )
}

/// For how many seconds Cassandra is to remember what was removed from `table`; `None`: as long as it
/// does by itself.
pub(crate) fn gc_grace_s(table: &Table) -> Option<i32> {
    let is_short_lived = SHORT_LIVED.iter().any(|each| each.name == table.name);
    is_short_lived.then_some(SHORT_GC_GRACE_S)
}

fn gc_grace_option(table: &Table) -> Option<String> {
    gc_grace_s(table).map(|seconds| format!("gc_grace_seconds = {seconds}"))
}

/// The statement that makes a `table` that is there, with another time or none of its own, remember no
/// longer than it should.
pub(crate) fn set_gc_grace_cql(keyspace: &str, table: &Table, version: u32) -> Option<String> {
    let option = gc_grace_option(table)?;
    let name = table.physical_name(version);
    Some(format!("ALTER TABLE {keyspace}.{name} WITH {option}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables;

    #[test]
    fn cql_has_partition_key_clustering_order_and_version() {
        assert_eq!(
            create_table_cql("shop", &tables::ORDERS_BY_CUSTOMER, 1),
            "CREATE TABLE IF NOT EXISTS shop.orders_by_customer_v1 (customer_id text, \
             occurred_at bigint, order_id text, currency text, ship_to_country text, \
             external_reference text, units bigint, total_minor bigint, row_seq bigint, \
             PRIMARY KEY ((customer_id), occurred_at, order_id)) \
             WITH CLUSTERING ORDER BY (occurred_at DESC, order_id ASC)"
        );
    }

    #[test]
    fn cassandra_does_not_remember_for_long_what_was_removed_where_rows_come_and_go() {
        assert_eq!(
            create_table_cql("shop", &tables::WORKERS, 1),
            "CREATE TABLE IF NOT EXISTS shop.workers_v1 (projection text, \
             projection_version bigint, instance text, address text, feeds text, seen_at bigint, \
             row_seq bigint, PRIMARY KEY ((projection, projection_version), instance)) \
             WITH CLUSTERING ORDER BY (instance ASC) AND gc_grace_seconds = 14400"
        );
        for table in [&tables::PARKED, &tables::READERS] {
            let made = create_table_cql("shop", table, 1);
            assert!(made.ends_with(" AND gc_grace_seconds = 14400"), "{made}");
        }
        assert_eq!(
            set_gc_grace_cql("shop", &tables::PARKED, 1).as_deref(),
            Some("ALTER TABLE shop.parked_records_v1 WITH gc_grace_seconds = 14400")
        );
        assert_eq!(set_gc_grace_cql("shop", &tables::POSITIONS, 1), None);
    }

    #[test]
    fn sql_has_key_bytewise_text_and_indexes() {
        let statements = create_table_sql(&tables::SALES_ORDERS, 2);
        assert_eq!(
            statements,
            [
                "CREATE TABLE IF NOT EXISTS sales_orders_v2 (order_id text COLLATE \"C\" NOT NULL, \
                 customer_id text COLLATE \"C\", country text COLLATE \"C\", \
                 currency text COLLATE \"C\", occurred_at timestamp with time zone, units bigint, \
                 total_minor bigint, paid_at timestamp with time zone, \
                 shipped_at timestamp with time zone, row_seq bigint, \
                 PRIMARY KEY (order_id))",
                "CREATE INDEX IF NOT EXISTS sales_orders_v2_sold ON sales_orders_v2 \
                 USING btree (currency, occurred_at) WHERE paid_at IS NOT NULL",
            ]
        );
    }
}
