//! Rows in buckets by their keys, and their digests.

use std::collections::BTreeSet;

use cartwright_read_model::{Row, Value, fnv64};

/// A row's key.
pub(super) fn key(row: &Row) -> &[Value] {
    &row.values[..row.table.key_len().min(row.values.len())]
}

/// The seq of the event that last wrote to a row.
pub(super) fn seq(row: &Row) -> Option<u64> {
    match row.value("row_seq") {
        Value::Int(seq) => u64::try_from(*seq).ok(),
        _ => None,
    }
}

/// The bucket that a key is in, of so many.
pub(super) fn bucket_of(key: &[Value], buckets: usize) -> usize {
    let text = serde_json::to_vec(key).unwrap_or_default();
    (fnv64(&text) % buckets as u64) as usize
}

/// A digest of a row's canonical form: key and compared columns in order, structured data with sorted names.
pub(super) fn digest(row: &Row, columns: &[&'static str]) -> u64 {
    let cells: Vec<&Value> = columns.iter().map(|column| row.value(column)).collect();
    fnv64(&serde_json::to_vec(&(key(row), cells)).unwrap_or_default())
}

/// Buckets in groups of so many rows.
pub(super) fn groups(buckets: &[(usize, u64)], rows: u64) -> Vec<BTreeSet<usize>> {
    let mut groups = Vec::new();
    let (mut group, mut held) = (BTreeSet::new(), 0);
    for (bucket, count) in buckets {
        if held + count > rows && !group.is_empty() {
            groups.push(std::mem::take(&mut group));
            held = 0;
        }
        group.insert(*bucket);
        held += count;
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_held_in_groups_that_fit() {
        let groups = groups(&[(1, 40), (5, 50), (7, 20), (9, 200)], 100);
        let groups: Vec<Vec<usize>> = groups
            .into_iter()
            .map(|of| of.into_iter().collect())
            .collect();
        assert_eq!(groups, [vec![1, 5], vec![7], vec![9]]);
    }

    #[test]
    fn where_no_bucket_differs_nothing_is_read_again() {
        assert!(groups(&[], 100).is_empty());
    }
}
